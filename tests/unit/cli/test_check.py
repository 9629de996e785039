"""holdfast check."""

import argparse
from pathlib import Path

import pytest

from proxy.cli import check
from proxy.config import parse_policy


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    check.add_arguments(parser)
    return check.run(parser.parse_args(words))


def test_every_problem_is_printed_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pipeline stops on it, and one run shows all."""
    path = tmp_path / "p.yaml"
    path.write_text("limits: {steps: no, cost_usd: x}\n")

    assert run(str(path)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[1] for line in lines[:2]] == ["1", "1"]
    assert lines[-1] == f"{path}: 2 problems"


def test_a_file_that_is_not_there_is_a_problem(capsys: pytest.CaptureFixture[str]) -> None:
    """No traceback for a typing error."""
    assert run("nowhere.yaml") == 1
    assert capsys.readouterr().out.splitlines() == [
        "nowhere.yaml: cannot be read: No such file or directory",
        "nowhere.yaml: 1 problem",
    ]


def test_warnings_are_printed_and_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are advice."""
    path = tmp_path / "p.yaml"
    path.write_text("timeouts: {head: 700}\n")

    assert run(str(path)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{path}:1:18: warning: timeouts.head: never fires: ")
    assert lines[1].startswith(f"{path}: OK: ")


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        (
            "version: 1",
            (
                "a session: $10.00, 150 steps, 5000000 tokens, 14400 s, 32 calls at once; "
                "all sessions: $100.00 per day"
            ),
        ),
        (
            (
                "limits: {steps: 2, cost_usd: 0.000125, tokens: null, duration_seconds: null, "
                "tool_calls: 3, parallel: null, per_tool: {a: 2}, request_cost_usd: 0.01, "
                "cost_usd_per_minute: 0.5}\n"
                "budgets: [{scope: tenant, cost_usd: 1, window: 1h},"
                " {scope: agent, cost_usd: 1, window: 1mo}]\n"
                "tenants: {a: {}, b: {}}\nprofiles: [{match: {}}]"
            ),
            (
                "a session: $0.000125, 2 steps, 3 tool calls, $0.01 per call, $0.50 per minute, "
                "2 × a; a tenant: $1.00 per hour; an agent: $1.00 per month; 2 tenants; 1 profile"
            ),
        ),
        (
            (
                "limits: {steps: null, cost_usd: null, tokens: null, duration_seconds: null, "
                "parallel: null}\nbudgets: []"
            ),
            "a session: no limit",
        ),
        (
            (
                "limits: {steps: null, cost_usd: null, tokens: null, duration_seconds: null, "
                "parallel: null}\nbudgets: []\n"
                "routes: [{match: {model: a}, to: [openai, local/x]}, "
                "{match: {model: b}, to: [local], fallback: [openai/x]}, {match: {}, to: [local]}]"
            ),
            "a session: no limit; 2 of 3 routes with a fallback",
        ),
    ],
)
def test_the_summary_says_what_is_bounded(text: str, summary: str) -> None:
    """A policy that checks out and bounds nothing should look like it."""
    assert check.summary(parse_policy(text, "f", {}).policy) == summary
