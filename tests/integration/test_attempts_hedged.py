"""A second target asked beside a slow first: the quicker answer is given, the other is booked."""

import asyncio
from pathlib import Path

import pytest

from proxy.core.request import DialectName
from tests.integration.attempts_kit import asked, log_of, metrics_of, only, two_targets
from tests.integration.kit import DIALECTS, Sidecar
from tests.integration.test_garbage import garbage

HEDGE = "hedge: {after_seconds: 0.2}"
GUARD = 'tools: {deny: ["rm"]}\n'
streamed_or_not = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


async def ended(on: Sidecar) -> None:
    """No call is in flight, and nothing is held."""
    while len(on.app.calls) or on.app.ledger.running:
        await asyncio.wait([asyncio.ensure_future(on.app.ledger.drained())])
    assert await on.app.store.open_holds() == []


@streamed_or_not
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_call_that_is_answered_in_time_asks_one_target(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    async with two_targets(tmp_path, route=HEDGE) as on:
        answer = await on.call(dialect, model="one", stream=stream)

        assert answer.status == 200
        assert answer.headers["x-holdfast-decision"] == "allow"
        assert asked(on) == ["one"]


@streamed_or_not
@pytest.mark.parametrize("policy", ["", GUARD], ids=["plain", "guarded"])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_the_second_is_quicker(
    tmp_path: Path, dialect: DialectName, policy: str, stream: bool
) -> None:
    async with two_targets(tmp_path, policy, route=HEDGE) as on:
        on.sim.fail("slow_head=60", model="one")
        answer = await on.call(dialect, model="one", stream=stream, tools=("rm", "ls"))

        assert answer.status == 200
        assert answer.headers["x-holdfast-upstream"] in ("second", "ant-two")
        assert answer.headers["x-holdfast-decision"] == "fallback"
        await on.sim.wait_for(lambda sim: sim.journal[0].client_disconnected_at is not None)
        failed, settled = only(await log_of(on))
        assert [(one.model, one.reason) for one in failed] == [("one", "slow")]
        won = on.sim.journal[1]
        own = 3 * won.input_tokens + 5 * won.output_tokens
        assert settled.cost_micro_usd == own + failed[0].cost_micro_usd
        assert failed[0].cost_micro_usd > 0
        assert settled.model == "two"
        assert 'holdfast_fallbacks_total{reason="hedge"} 1.0' in await metrics_of(on)


@streamed_or_not
async def test_the_first_is_quicker_after_all(tmp_path: Path, stream: bool) -> None:
    async with two_targets(tmp_path, route=HEDGE) as on:
        on.sim.fail("slow_head=0.6", model="one")
        on.sim.fail("slow_head=60", model="two")
        answer = await on.call("chat", model="one", stream=stream)

        assert answer.status == 200
        assert answer.headers["x-holdfast-upstream"] == "first"
        await on.sim.wait_for(lambda sim: sim.journal[1].client_disconnected_at is not None)
        failed, settled = only(await log_of(on))
        assert [one.model for one in failed] == ["two"]
        won = on.sim.journal[0]
        own = won.input_tokens + 2 * won.output_tokens
        assert settled.cost_micro_usd == own + failed[0].cost_micro_usd
        assert settled.model == ""


async def test_the_first_fails_while_the_second_is_asked(tmp_path: Path) -> None:
    async with two_targets(tmp_path, route=HEDGE) as on:
        on.sim.fail("slow_head=0.4,status=503", model="one")
        on.sim.fail("slow_head=0.6", model="two")
        answer = await on.call("chat", model="one")

        assert answer.headers["x-holdfast-upstream"] == "second"
        assert asked(on) == ["one", "two"]
        failed, settled = only(await log_of(on))
        assert [(one.model, one.status) for one in failed] == [("one", 503)]
        won = on.sim.journal[1]
        assert settled.cost_micro_usd == 3 * won.input_tokens + 5 * won.output_tokens


async def test_the_second_fails_while_the_first_is_waited_for(tmp_path: Path) -> None:
    async with two_targets(tmp_path, route=HEDGE) as on:
        on.sim.fail("slow_head=0.6", model="one")
        on.sim.fail("status=503", model="two")
        answer = await on.call("chat", model="one")

        assert answer.headers["x-holdfast-upstream"] == "first"
        failed, settled = only(await log_of(on))
        assert [(one.model, one.status) for one in failed] == [("two", 503)]
        won = on.sim.journal[0]
        assert settled.cost_micro_usd == won.input_tokens + 2 * won.output_tokens


async def test_both_fail_and_both_are_named(tmp_path: Path) -> None:
    async with two_targets(tmp_path, "retries: {max: 0}", route=HEDGE) as on:
        on.sim.fail("slow_head=0.4,status=503", model="one")
        on.sim.fail("slow_head=0.3,status=529", model="two")
        answer = await on.call("chat", model="one")

        message = str(answer.error["message"])
        assert answer.status == 503
        assert "first/one answered 503" in message
        assert "second/two answered 529" in message
        assert asked(on) == ["one", "two"]
        failed, settled = only(await log_of(on))
        assert (len(failed), settled.cost_micro_usd) == (1, 0)


@streamed_or_not
@pytest.mark.parametrize("end", ["client", "kill", "deadline"])
async def test_what_ends_the_call_ends_both(tmp_path: Path, end: str, stream: bool) -> None:
    policy = "deadline_seconds: 0.6" if end == "deadline" else ""
    async with two_targets(tmp_path, policy, route=HEDGE) as on:
        on.sim.fail("slow_head=60")
        call = asyncio.ensure_future(on.call("chat", model="one", stream=stream))
        await on.sim.wait_for(lambda sim: len(sim.journal) == 2)
        if end == "client":
            call.cancel()
        elif end == "kill":
            await on.admin("POST", "/sessions/s1/kill")
        await asyncio.wait([call])
        await ended(on)

        await on.sim.wait_for(lambda sim: all(e.client_disconnected_at for e in sim.journal))
        failed, settled = only(await log_of(on))
        assert [one.model for one in failed] == ["two"]
        assert settled.outcome == ("client_left" if end == "client" else "cut")
        assert settled.cost_micro_usd > failed[0].cost_micro_usd > 0


async def test_where_only_one_can_be_held_one_is_asked(tmp_path: Path) -> None:
    limits = "limits: {request_cost_usd: 0.0008}\naccounting: {min_output_tokens: 100}"
    async with two_targets(tmp_path, limits, route=HEDGE) as on:
        on.sim.fail("slow_head=0.5", model="one")
        answer = await on.call("chat", model="one")

        assert answer.headers["x-holdfast-upstream"] == "first"
        assert asked(on) == ["one"]
        failed, _ = only(await log_of(on))
        assert failed == []


@streamed_or_not
@pytest.mark.parametrize("quick", ["one", "two"])
async def test_neither_leaves_garbage(tmp_path: Path, quick: str, stream: bool) -> None:
    slow = "two" if quick == "one" else "one"
    async with two_targets(tmp_path, route=HEDGE) as on:
        await on.call("chat", model="one", stream=stream)
        on.sim.fail("slow_head=60", model=slow)
        if quick == "one":
            on.sim.fail("slow_head=0.5", model="one")
        with garbage() as found:
            for number in range(3):
                await on.call("chat", model="one", stream=stream, session=f"t{number}")
            await ended(on)

        assert not found
