"""`holdfast check FILE`: every problem of a policy, or what it bounds."""

import argparse
import os
from pathlib import Path

from proxy.config import PolicyInvalid, load_policy
from proxy.core.policy import MICRO, Limits, Policy

_PER: dict[str, str] = {"1h": "hour", "1d": "day", "1w": "week", "1mo": "month"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Validates a policy: every problem at once, with its place; exit code 1 if there is one. "
        "Warns of rules that can never fire."
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="the policy (YAML)")


def run(args: argparse.Namespace) -> int:
    file: Path = args.file
    try:
        loaded = load_policy(file, os.environ)
    except PolicyInvalid as error:
        print(error)
        count = len(error.problems)
        print(f"{file}: {count} {'problem' if count == 1 else 'problems'}")
        return 1
    for warning in loaded.warnings:
        print(warning)
    print(f"{file}: OK: {summary(loaded.policy)}")
    return 0


def summary(policy: Policy) -> str:
    """What a policy bounds, in one line for a human."""
    parts = [f"a session: {_session(policy.limits)}"]
    for budget in policy.budgets:
        who = "all sessions" if budget.scope == "global" else f"a {budget.scope}"
        who = "an agent" if budget.scope == "agent" else who
        parts.append(f"{who}: {_usd(budget.cost_micro_usd)} per {_PER[budget.window]}")
    for count, one in ((len(policy.tenants), "tenant"), (len(policy.profiles), "profile")):
        if count:
            parts.append(f"{count} {one if count == 1 else one + 's'}")
    if backed := sum(len(route.to) + len(route.fallback) > 1 for route in policy.routes):
        parts.append(f"{backed} of {len(policy.routes)} routes with a fallback")
    return "; ".join(parts)


def _session(limits: Limits) -> str:
    bounds = [
        (limits.steps, "{} steps"),
        (limits.tokens, "{} tokens"),
        (limits.duration_seconds, "{} s"),
        (limits.tool_calls, "{} tool calls"),
        (limits.parallel, "{} calls at once"),
    ]
    said = [form.format(value) for value, form in bounds if value is not None]
    if limits.cost_micro_usd is not None:
        said.insert(0, _usd(limits.cost_micro_usd))
    if limits.request_cost_micro_usd is not None:
        said.append(f"{_usd(limits.request_cost_micro_usd)} per call")
    if limits.cost_micro_usd_per_minute is not None:
        said.append(f"{_usd(limits.cost_micro_usd_per_minute)} per minute")
    said += [f"{count} × {glob}" for glob, count in limits.per_tool.items()]
    return ", ".join(said) or "no limit"


def _usd(micro_usd: int) -> str:
    """Cents, or as many places as a small amount has."""
    whole, fraction = divmod(micro_usd, MICRO)
    places = f"{fraction:06d}"
    return f"${whole}.{places[:2]}{places[2:].rstrip('0')}"
