"""Every limit in every dialect, streamed and not: what the client is told, and the way on."""

import asyncio
from pathlib import Path

import pytest

from proxy.admin.shapes import Json
from proxy.core.request import DialectName
from proxy.simulator import Script, ToolCall, Turn
from tests.integration.kit import DIALECTS, PATHS, Answer, Sidecar, body_of, sidecar

every_dialect = pytest.mark.parametrize("dialect", DIALECTS)
streamed_or_not = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])

ASKS_FOR_A_TOOL = Script((Turn(tool_calls=(ToolCall("search", '{"q": "x"}'),)),))
LONG_ANSWER = Script((Turn(text_tokens=90),))
"""Costs some 190 micro-USD; a call holds some 460: 257 for "hi", which is estimated with room for
what a provider puts around a prompt, and 200 for a bound of 100 tokens."""


def check(
    answer: Answer, dialect: DialectName, code: str, limit: str, *, status: int = 422
) -> None:
    """What holds of every refusal: the status, the dialect's shape, and the headers."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"] == answer.headers["request-id"]
    assert answer.headers["x-holdfast-session"] == "s1"
    assert "retry-after" not in answer.headers
    if status == 422:
        assert answer.headers["x-should-retry"] == "false"
    else:
        assert float(answer.headers["retry-after-ms"]) > 0
        assert "x-should-retry" not in answer.headers
    assert answer.error["code"] == code
    assert answer.facts["limit"] == limit
    assert answer.facts["session"] == "s1"
    if dialect == "messages":
        assert answer.json["type"] == "error"
        assert answer.json["request_id"] == answer.headers["request-id"]
    message = answer.error["message"]
    assert isinstance(message, str)
    assert "s1" in message


async def passes_then_stops(
    on: Sidecar, dialect: DialectName, *, stream: bool, tools: tuple[str, ...] = ()
) -> Answer:
    """The first call is served, the second refused; the provider hears of the first only."""
    first = await on.call(dialect, stream=stream, tools=tools)
    assert first.status == 200, first.body
    second = await on.call(dialect, stream=stream, tools=tools)
    assert len(on.sim.journal) == 1
    return second


async def goes_on(on: Sidecar, dialect: DialectName, *, stream: bool, **amount: Json) -> None:
    """After a human has extended the limit, the same session is served."""
    await on.admin("POST", "/sessions/s1/extend", dict(amount))
    again = await on.call(dialect, stream=stream)
    assert again.status == 200, again.body
    assert again.headers["x-holdfast-session"] == "s1"


@every_dialect
@streamed_or_not
async def test_steps(tmp_path: Path, dialect: DialectName, stream: bool) -> None:
    async with sidecar(tmp_path, "limits: {steps: 1}") as on:
        refused = await passes_then_stops(on, dialect, stream=stream)
        check(refused, dialect, "step_limit_exceeded", "steps")
        assert (refused.facts["used"], refused.facts["max"]) == (1, 1)
        await goes_on(on, dialect, stream=stream, steps=1)


@every_dialect
@streamed_or_not
async def test_cost(tmp_path: Path, dialect: DialectName, stream: bool) -> None:
    policy = "limits: {cost_usd: 0.00055}\naccounting: {min_output_tokens: 100}"
    async with sidecar(tmp_path, policy, script=LONG_ANSWER) as on:
        refused = await passes_then_stops(on, dialect, stream=stream)
        check(refused, dialect, "budget_exceeded", "cost_usd")
        assert refused.facts["max"] == 0.00055
        await goes_on(on, dialect, stream=stream, cost_usd=0.001)


@every_dialect
@streamed_or_not
async def test_tokens(tmp_path: Path, dialect: DialectName, stream: bool) -> None:
    policy = "limits: {tokens: 420}\naccounting: {min_output_tokens: 100}"
    async with sidecar(tmp_path, policy, script=LONG_ANSWER) as on:
        refused = await passes_then_stops(on, dialect, stream=stream)
        check(refused, dialect, "token_limit_exceeded", "tokens")
        await goes_on(on, dialect, stream=stream, tokens=1000)


@every_dialect
@streamed_or_not
async def test_tool_calls(tmp_path: Path, dialect: DialectName, stream: bool) -> None:
    async with sidecar(tmp_path, "limits: {tool_calls: 1}", script=ASKS_FOR_A_TOOL) as on:
        refused = await passes_then_stops(on, dialect, stream=stream, tools=("search",))
        check(refused, dialect, "tool_call_limit_exceeded", "tool_calls")
        conclusion = await on.call(dialect, stream=stream)
        assert conclusion.status == 200
        await on.admin("POST", "/sessions/s1/extend", {"tool_calls": 5})
        assert (await on.call(dialect, stream=stream, tools=("search",))).status == 200


@every_dialect
@streamed_or_not
async def test_per_tool(tmp_path: Path, dialect: DialectName, stream: bool) -> None:
    policy = "limits: {per_tool: {'sea*': 1}}"
    async with sidecar(tmp_path, policy, script=ASKS_FOR_A_TOOL) as on:
        refused = await passes_then_stops(on, dialect, stream=stream, tools=("search",))
        check(refused, dialect, "tool_call_limit_exceeded", "per_tool.sea*")
        assert (await on.call(dialect, stream=stream, tools=("read",))).status == 200
        await on.admin("POST", "/sessions/s1/extend", {"per_tool.sea*": 5})
        assert (await on.call(dialect, stream=stream, tools=("search",))).status == 200


@every_dialect
@streamed_or_not
async def test_request_cost(tmp_path: Path, dialect: DialectName, stream: bool) -> None:
    policy = "limits: {request_cost_usd: 0.0001}\naccounting: {min_output_tokens: 100}"
    async with sidecar(tmp_path, policy) as on:
        refused = await on.call(dialect, stream=stream)
        check(refused, dialect, "request_cost_exceeded", "request_cost_usd")
        assert not on.sim.journal


@every_dialect
@streamed_or_not
async def test_velocity(tmp_path: Path, dialect: DialectName, stream: bool) -> None:
    policy = "limits: {cost_usd_per_minute: 0.00055}\naccounting: {min_output_tokens: 100}"
    async with sidecar(tmp_path, policy, script=LONG_ANSWER) as on:
        refused = await passes_then_stops(on, dialect, stream=stream)
        check(refused, dialect, "velocity_exceeded", "cost_usd_per_minute")
        await goes_on(on, dialect, stream=stream, cost_usd_per_minute=0.001)


@every_dialect
@streamed_or_not
async def test_parallel(tmp_path: Path, dialect: DialectName, stream: bool) -> None:
    async with sidecar(tmp_path, "limits: {parallel: 1}") as on:
        on.sim.fail("slow_head=60", times=1)
        first = asyncio.ensure_future(on.call(dialect, stream=stream))
        await on.sim.wait_for(lambda sim: len(sim.journal) == 1)
        refused = await on.call(dialect, stream=stream)
        check(refused, dialect, "parallel_limit_exceeded", "parallel", status=429)
        first.cancel()
        await asyncio.wait([first])


@every_dialect
async def test_a_budget_that_sessions_share(tmp_path: Path, dialect: DialectName) -> None:
    policy = (
        "budgets: [{scope: global, cost_usd: 0.00055, window: 1d}]\n"
        "accounting: {min_output_tokens: 100}"
    )
    async with sidecar(tmp_path, policy, script=LONG_ANSWER) as on:
        assert (await on.call(dialect, session="other")).status == 200
        refused = await on.call(dialect)
        check(refused, dialect, "budget_exceeded", "budgets.global.1d")
        assert refused.facts["scope"] == "global"


@every_dialect
async def test_a_bound_that_does_not_fit_is_lowered_and_said(
    tmp_path: Path, dialect: DialectName
) -> None:
    """The session still gets its answer, only a shorter one."""
    policy = "limits: {cost_usd: 0.0004}\naccounting: {min_output_tokens: 10}"
    async with sidecar(tmp_path, policy, script=Script((Turn(text_tokens=500),))) as on:
        answer = await on.call(dialect, bound=1000)
        assert answer.status == 200
        assert answer.headers["x-holdfast-decision"] == "clamp"
        assert float(answer.headers["x-holdfast-spent-usd"]) <= 0.0004


@every_dialect
async def test_the_run_carries_its_own_smaller_budget(tmp_path: Path, dialect: DialectName) -> None:
    async with sidecar(tmp_path) as on:
        own = {"x-holdfast-steps": "1"}
        assert (await on.call(dialect, headers=own)).status == 200
        refused = await on.call(dialect, headers=own)
        check(refused, dialect, "step_limit_exceeded", "steps")


@pytest.mark.parametrize("own", [{"x-holdfast-steps": "0"}, {"x-holdfast-budget-usd": "0.0001"}])
async def test_a_refused_first_call_leaves_nothing_to_extend(
    tmp_path: Path, own: dict[str, str]
) -> None:
    """A message that names a command which then finds no session sends a human round in circles."""
    async with sidecar(tmp_path) as on:
        refused = await on.call(headers=own)

        message = str(refused.error["message"])
        assert "first call" in message
        assert "sessions extend" not in message
        assert refused.facts["resumable"] is False
        assert "error" in await on.admin("GET", "/sessions/s1")


async def test_the_limits_that_are_shown_are_those_in_force(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as on:
        await on.call(headers={"x-holdfast-steps": "3", "x-holdfast-budget-usd": "0.5"})
        extended = await on.admin("POST", "/sessions/s1/extend", {"steps": 2})

        for shown in (extended, await on.admin("GET", "/sessions/s1")):
            limits = shown["limits"]
            assert isinstance(limits, dict)
            assert (limits["steps"], limits["cost_usd"]) == (5, 0.5)


async def test_codex_and_aider_are_refused_with_400(tmp_path: Path) -> None:
    """Codex sends a 422 six times; aider crashes on it. Both show a 400's message."""
    async with sidecar(tmp_path, "limits: {steps: 0}") as on:
        codex = await on.call("responses", headers={"user-agent": "codex_exec/0.169.0 (Linux)"})
        aider = await on.call("chat", headers={"x-holdfast-agent": "aider"})
        assert (codex.status, aider.status) == (400, 400)
        assert codex.error["code"] == "step_limit_exceeded"


@every_dialect
async def test_a_large_body_is_read_beside_the_loop_and_served(
    tmp_path: Path, dialect: DialectName
) -> None:
    """400 KB is a long session's context; reading it must not hold up anybody's stream."""
    body = body_of(dialect, text="word " * 100_000)
    async with sidecar(tmp_path, "limits: {tokens: null}") as on:
        answer = await on.send(f"/s/s1{PATHS[dialect]}", body)

        assert answer.status == 200
        assert on.sim.journal[0].json == body
