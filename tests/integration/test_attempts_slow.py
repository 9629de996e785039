"""Providers that are slow, limited or down for good: given up, waited for, put before a human."""

import asyncio
from pathlib import Path

import pytest

from proxy.core import events as ev
from tests.integration.attempts_kit import asked, log_of, metrics_of, only, two_targets
from tests.integration.kit import frames, sidecar

SLOW = "breakers: {slow_seconds: 0.2, answer_seconds: 0.2}\n"
streamed_or_not = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@pytest.mark.parametrize(
    ("stream", "fault"),
    [(False, "slow_head=60"), (True, "slow_head=60"), (True, "slow_first_token=60")],
)
async def test_a_slow_target_is_given_up_for_another_and_booked(
    tmp_path: Path, stream: bool, fault: str
) -> None:
    async with two_targets(tmp_path, SLOW) as on:
        on.sim.fail(fault, model="one")
        answer = await on.call("chat", model="one", stream=stream)

        assert answer.status == 200
        assert answer.headers["x-holdfast-upstream"] == "second"
        await on.sim.wait_for(lambda sim: sim.journal[0].client_disconnected_at is not None)
        failed, settled = only(await log_of(on))
        assert [one.reason for one in failed] == ["slow"]
        assert failed[0].cost_micro_usd > 0
        assert settled.cost_micro_usd > failed[0].cost_micro_usd
        assert 'holdfast_fallbacks_total{reason="slow_first_token"} 1.0' in await metrics_of(on)


async def test_nobody_waits_for_one_who_asks_for_time_while_another_answers(tmp_path: Path) -> None:
    """A 503 may say Retry-After, too; a second target can answer at once."""
    async with two_targets(tmp_path) as on:
        on.sim.fail("status=503;retry_after=15", model="one")
        answer = await asyncio.wait_for(on.call("chat", model="one"), 5)

        assert answer.headers["x-holdfast-upstream"] == "second"
        assert asked(on) == ["one", "two"]


@streamed_or_not
async def test_a_slow_answer_is_waited_for_where_nobody_else_gives_one(
    tmp_path: Path, stream: bool
) -> None:
    rules = SLOW.replace("}", ", consecutive_failures: 1}") + "retries: {max: 0}\n"
    async with two_targets(tmp_path, rules) as on:
        on.sim.fail("status=503")
        await on.call("chat", model="two", session="s0")  # shuts both
        await on.app.breakers.close("first", "one")
        on.sim.heal()
        on.sim.fail("slow_head=0.6", model="one")
        answer = await on.call("chat", model="one", stream=stream)

        assert answer.status == 200
        assert answer.headers["x-holdfast-upstream"] == "first"


@streamed_or_not
async def test_slow_calls_in_a_row_send_the_next_ones_elsewhere_at_once(
    tmp_path: Path, stream: bool
) -> None:
    rules = SLOW.replace("}", ", minimum_calls: 2}")
    async with two_targets(tmp_path, rules) as on:
        on.sim.fail("slow_head=60", model="one")
        for number in range(3):
            await on.call("chat", model="one", stream=stream, session=f"s{number}")

        assert asked(on) == ["one", "two", "one", "two", "two"]


async def test_what_is_only_slow_is_asked_where_nothing_else_is_left(tmp_path: Path) -> None:
    """A slow answer beats none."""
    rules = SLOW.replace("}", ", minimum_calls: 1, consecutive_failures: 1}")
    async with two_targets(tmp_path, rules + "retries: {max: 0}\n") as on:
        on.sim.fail("slow_head=0.5", model="one")
        await on.call("chat", model="one")
        on.sim.fail("status=503", model="two")
        for number in range(2):  # the first finds that the other is down
            answer = await on.call("chat", model="one", session=f"t{number}")

            assert answer.status == 200
            assert answer.headers["x-holdfast-upstream"] == "first"


@pytest.mark.parametrize("end", ["client", "kill", "deadline"])
async def test_a_slow_attempt_that_is_cut_is_no_fallback(tmp_path: Path, end: str) -> None:
    rules = "breakers: {slow_seconds: 30}\n" + (
        "deadline_seconds: 0.5" if end == "deadline" else ""
    )
    async with two_targets(tmp_path, rules) as on:
        on.sim.fail("slow_head=60", model="one")
        call = asyncio.ensure_future(on.call("chat", model="one", stream=True))
        await on.sim.wait_for(lambda sim: len(sim.journal) == 1)
        if end == "client":
            call.cancel()
        elif end == "kill":
            await on.admin("POST", "/sessions/s1/kill")
        await asyncio.wait([call])
        while len(on.app.calls):
            await asyncio.wait([asyncio.ensure_future(on.app.ledger.drained())])

        failed, settled = only(await log_of(on))
        assert (failed, asked(on)) == ([], ["one"])
        assert settled.outcome == ("client_left" if end == "client" else "cut")
        counted = next(one for one in on.app.breakers.news() if one.model == "one")
        assert counted.slow == (1 if end == "deadline" else 0)


@streamed_or_not
async def test_a_known_reset_is_waited_for(tmp_path: Path, stream: bool) -> None:
    async with sidecar(tmp_path) as on:
        on.sim.fail("status=429;retry_after=1", times=1)
        answer = await on.call("chat", stream=stream)
        reset = await on.call("chat", session="s2", stream=stream)

        assert (answer.status, reset.status) == (200, 200)
        one, two, _ = on.sim.journal
        assert two.started - one.started >= 1.0
        failed, _ = only(await log_of(on))
        assert [each.reason for each in failed] == ["rate_limited"]


async def test_a_reset_that_is_waited_for_lets_one_try_and_then_all(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as on:
        on.sim.fail("status=429;retry_after=1", times=1)
        first = asyncio.ensure_future(on.call("chat"))
        await on.sim.wait_for(lambda sim: bool(sim.journal and sim.journal[0].finished))
        calls = [on.call("chat", session=f"t{number}") for number in range(8)]
        answers = await asyncio.gather(first, *calls)

        assert {answer.status for answer in answers} == {200}
        assert len(on.sim.journal) == 10


async def test_a_reset_that_is_too_far_is_told(tmp_path: Path) -> None:
    async with sidecar(tmp_path, "retries: {wait_seconds: 1}") as on:
        on.sim.fail("status=429;retry_after=30")
        told = await on.call("chat")
        after = await on.call("chat", session="s2")

        assert (told.status, told.headers["retry-after"]) == (429, "30")
        assert after.status == 429  # it is said of the caller's own key
        assert 20_000 < int(after.headers["retry-after-ms"]) <= 30_000
        assert len(on.sim.journal) == 1


async def test_a_dead_key_is_told_to_its_caller_alone_and_not_sent_again(tmp_path: Path) -> None:
    async with two_targets(tmp_path) as on:
        on.sim.fail("status=401", model="one", times=1)
        await on.call("chat", model="one")
        again = await on.call("chat", model="one", session="s2")
        other = await on.call(
            "chat", model="one", session="s3", headers={"authorization": "Bearer key-9"}
        )

        assert (again.status, other.status) == (401, 200)
        assert "does not take the key" in str(again.error["message"])
        assert asked(on) == ["one", "one"]


async def test_a_run_that_is_low_goes_on_with_the_cheaper_target(tmp_path: Path) -> None:
    limits = "limits: {cost_usd: 0.002, warn_at: 1}\n"
    async with two_targets(tmp_path, limits, route="downgrade_below: 0.99") as on:
        policy = on.app.watcher.current
        assert policy.routes[0].downgrade_below == 0.99
        dear = await on.call("chat", model="one")
        cheap = await on.call("chat", model="one")

        assert dear.headers["x-holdfast-upstream"] == "first"
        assert cheap.headers["x-holdfast-upstream"] == "first"  # `two` is no cheaper
    cheaper = limits + "prices: {one: {input: 1, output: 2}, two: {input: 0.5, output: 1}}\n"
    async with two_targets(tmp_path, cheaper, route="downgrade_below: 0.99", prices=False) as on:
        dear = await on.call("chat", model="one")
        cheap = await on.call("chat", model="one")

        assert dear.headers["x-holdfast-decision"] == "allow"
        assert cheap.headers["x-holdfast-decision"] == "downgrade"
        assert cheap.headers["x-holdfast-upstream"] == "second"
        reserved = [e for e in await log_of(on) if isinstance(e, ev.StepReserved)]
        assert [event.model for event in reserved] == ["one", "two"]
        assert 'holdfast_fallbacks_total{reason="budget_low"} 1.0' in await metrics_of(on)


@pytest.mark.parametrize("begun", [False, True], ids=["all shut", "all fail"])
async def test_a_session_that_nobody_serves_is_put_before_a_human(
    tmp_path: Path, begun: bool
) -> None:
    rules = "breakers: {consecutive_failures: 1}\nretries: {max: 0}\n"
    async with two_targets(tmp_path, rules, route="on_unavailable: handoff") as on:
        await on.call("chat", model="one")
        on.sim.fail("status=503")
        if not begun:
            await on.call("chat", model="one", session="s0")
        told = await on.call("chat", model="one")
        waiting = await on.call("chat", model="one")
        on.sim.heal()
        for name in ("first", "second"):
            await on.app.breakers.close(name, "one" if name == "first" else "two")
        await on.admin("POST", "/sessions/s1/guide", {"message": "go on"})
        after = await on.call("chat", model="one")

        assert (told.status, told.error["code"]) == (422, "awaiting_human")
        assert "holdfast sessions guide s1" in str(told.error["message"])
        assert waiting.error["code"] == "awaiting_human"
        assert after.status == 200


@streamed_or_not
async def test_a_call_in_flight_ends_with_the_time_of_its_session(
    tmp_path: Path, stream: bool
) -> None:
    async with sidecar(tmp_path, "limits: {duration_seconds: 1}") as on:
        on.sim.fail("stall=6" if stream else "slow_head=60")
        answer = await on.call("chat", stream=stream)

        if stream:
            assert '"code":"duration_exceeded"' in frames(answer.body)[-1][1]
        else:
            assert (answer.status, answer.error["code"]) == (422, "duration_exceeded")
        _, settled = only(await log_of(on))
        assert settled.outcome == "cut"


async def test_a_route_has_a_deadline_of_its_own(tmp_path: Path) -> None:
    async with two_targets(tmp_path, route="deadline_seconds: 0.3") as on:
        on.sim.fail("slow_head=60", model="one")
        answer = await on.call("chat", model="one")

        assert (answer.status, answer.error["code"]) == (504, "deadline_exceeded")
        assert answer.facts["max"] == 0.3


async def test_a_stream_that_stalls_is_ended_and_counted_as_slow(tmp_path: Path) -> None:
    async with two_targets(tmp_path, "breakers: {stall_seconds: 0.2}") as on:
        on.sim.fail("stall=6", model="one")
        answer = await on.call("chat", model="one", stream=True)

        assert answer.status == 200
        assert '"code":"upstream_truncated"' in frames(answer.body)[-1][1]
        counted = next(one for one in on.app.breakers.news() if one.model == "one")
        assert (counted.slow, counted.failures) == (1, 0)
