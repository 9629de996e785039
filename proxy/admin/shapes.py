"""Sessions, events and policies as the admin API's JSON. Pure; money in USD, times in seconds."""

import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import TypeAlias

import msgspec

from proxy.core.events import HandedOff
from proxy.core.limits.base import maximum, usd
from proxy.core.limits.registry import EXTENDABLE_COUNTS
from proxy.core.policy import Limits
from proxy.core.session import SessionKey, SessionState
from proxy.core.tree import lowered
from proxy.errors import MalformedRequest
from proxy.stores import SessionRow, Stored

Json: TypeAlias = dict[str, "Json"] | list["Json"] | str | int | float | bool | None

STATES = ("active", "warned", "paused", "awaiting_human", "killed", "finished", "deleted")
"""That sessions are listed by."""

_LOGIN = re.compile(r"://[^/]*@")
_SECRET = frozenset({"api_key", "key_hashes", "url"})


def session_json(key: SessionKey, state: SessionState, limits: Limits) -> dict[str, Json]:
    """One session, whole."""
    per_tool: dict[str, Json] = dict(state.per_tool)
    return {
        "session": key.session,
        "tenant": key.tenant,
        "agent": state.agent,
        "parent": state.parent,
        "state": state.status,
        "generation": state.generation,
        "source": state.source,
        "model": state.model,
        "steps": state.steps,
        "calls": state.calls,
        "tokens": state.tokens,
        "input_tokens": state.input_tokens,
        "output_tokens": state.output_tokens,
        "cost_usd": usd(state.cost_micro_usd),
        "held_usd": usd(state.held_micro_usd),
        "in_flight": len(state.held),
        "limits": limits_json(limits, state),
        "tool_calls": state.tool_calls,
        "per_tool": per_tool,
        "cycles": state.cycles,
        "rung": state.rung,
        "refusals": state.refusals,
        "handoffs": [handoff.handoff for handoff in state.handoffs],
        "guidance": [*state.guidance],
        "resumable": state.resumable,
        "created_at": timestamp(state.created_at),
        "updated_at": timestamp(state.updated_at),
    }


def limits_json(limits: Limits, state: SessionState) -> dict[str, Json]:
    """The limits in force for a session, with what it brought along and what was added to them."""
    limits = lowered(limits, state.budget_micro_usd, state.budget_steps)
    money = {
        "cost_usd": limits.cost_micro_usd,
        "request_cost_usd": limits.request_cost_micro_usd,
        "cost_usd_per_minute": limits.cost_micro_usd_per_minute,
    }
    shown: dict[str, Json] = {}
    for name in EXTENDABLE_COUNTS:
        shown[name] = maximum(getattr(limits, name), state, name)
    for name, amount in money.items():
        most = maximum(amount, state, name)
        shown[name] = None if most is None else usd(most)
    return shown


def row_json(row: SessionRow) -> dict[str, Json]:
    """One line of a listing."""
    head = row.head
    return {
        "session": row.key.session,
        "tenant": row.key.tenant,
        "agent": head.agent,
        "parent": head.parent,
        "state": head.state,
        "generation": head.generation,
        "steps": head.steps,
        "tokens": head.tokens,
        "cost_usd": usd(head.cost_micro_usd),
        "held_usd": usd(head.held_micro_usd),
        "created_at": timestamp(head.created_at),
        "updated_at": timestamp(head.updated_at),
    }


def event_json(stored: Stored) -> dict[str, Json]:
    """One event of the log, with its place and its link of the chain. What an event itself tells of
    a chain (of its messages, of where it came from) is `own_chain` here."""
    event = msgspec.to_builtins(stored.event)
    if isinstance(told := event.pop("chain", None), str):
        event["own_chain"] = b64decode(told).hex()
    return {"seq": stored.seq, "chain": stored.chain.hex(), **event}


def handoff_json(
    key: SessionKey, state: SessionState, handoff: HandedOff, now: float
) -> dict[str, Json]:
    """One thing that stands before a human, and the ways to answer it."""
    held = handoff.held
    ways = ("approve", "deny", "kill") if held is not None else ("extend", "guide", "kill")
    return {
        "handoff": handoff.handoff,
        "session": key.session,
        "tenant": key.tenant,
        "agent": state.agent,
        "state": state.status,
        "blocking": handoff.blocking,
        "code": handoff.code,
        "limit": handoff.limit,
        "message": handoff.message,
        "tool_call": None
        if held is None
        else {"id": held.call_id, "tool": held.tool, "arguments": held.arguments},
        "answers": [*ways],
        "steps": state.steps,
        "cost_usd": usd(state.cost_micro_usd),
        "handed_off_at": timestamp(handoff.at),
        "age_seconds": max(0.0, round(now - handoff.at, 3)),
    }


def whole_number(text: str, most: int, name: str) -> int:
    """A parameter of a query. Raises MalformedRequest."""
    if not (text.isascii() and text.isdigit() and len(text) < 20) or int(text) > most:
        said = f"{text[:32]!r}: expected a whole number up to {most}"
        raise MalformedRequest(f"{name}: {said}")
    return int(text)


def policy_json(value: object) -> Json:
    """A policy value without its secrets."""
    if isinstance(value, str) and "@" in value:
        return _LOGIN.sub("://", value)
    if is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: "(hidden)" if f.name in _SECRET and getattr(value, f.name) else
            policy_json(getattr(value, f.name))
            for f in fields(value)
        }  # fmt: skip
    if isinstance(value, Mapping):
        return {str(k): policy_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [policy_json(v) for v in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)


def timestamp(seconds: float) -> str | None:
    """Epoch seconds as ISO 8601 in UTC; None for never."""
    if not seconds:
        return None
    return datetime.fromtimestamp(seconds, tz=UTC).isoformat(timespec="milliseconds")
