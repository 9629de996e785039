"""A provider that fails: tried again, then the next target, invisibly; booked once each."""

import asyncio
import json
from pathlib import Path

import pytest

from proxy.core import events as ev
from proxy.core.request import DialectName
from tests.integration.attempts_kit import POLICY, asked, log_of, metrics_of, only, two_targets
from tests.integration.kit import DIALECTS, sidecar

every_dialect = pytest.mark.parametrize("dialect", DIALECTS)
streamed_or_not = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@every_dialect
@streamed_or_not
async def test_a_failure_that_passes_is_tried_again_unseen(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    async with two_targets(tmp_path) as on:
        on.sim.fail("status=503", times=1)
        answer = await on.call(dialect, stream=stream, model="one")

        assert answer.status == 200
        assert answer.headers["x-holdfast-decision"] == "allow"
        assert asked(on) == ["one", "one"]
        failed, settled = only(await log_of(on))
        assert [(one.reason, one.status, one.cost_micro_usd) for one in failed] == [
            ("error", 503, 0)
        ]
        billed = on.sim.journal[1]
        assert settled.cost_micro_usd == billed.input_tokens + 2 * billed.output_tokens
        assert (settled.upstream, settled.model) == ("", "")


@every_dialect
@streamed_or_not
async def test_the_next_target_answers_and_is_the_one_that_is_paid(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    async with two_targets(tmp_path) as on:
        on.sim.fail("status=503", model="one")
        answer = await on.call(dialect, stream=stream, model="one")

        served = "ant-two" if dialect == "messages" else "second"
        assert answer.status == 200
        assert answer.headers["x-holdfast-decision"] == "fallback"
        assert answer.headers["x-holdfast-upstream"] == served
        assert asked(on) == ["one", "one", "one", "two"]
        failed, settled = only(await log_of(on))
        assert len(failed) == 3
        billed = on.sim.journal[3]
        assert settled.cost_micro_usd == 3 * billed.input_tokens + 5 * billed.output_tokens
        assert (settled.upstream, settled.model) == (served, "two")


async def test_a_fallback_is_asked_for_no_more_than_it_can_write(tmp_path: Path) -> None:
    """What the client bounded was another model."""
    policy = POLICY.replace("second/two", "second/gpt-4o")
    async with sidecar(tmp_path, policy % {"more": ""}) as on:
        on.sim.fail("status=503", model="one")
        await on.call("chat", model="one", max_completion_tokens=64_000)

        bounds = [json.loads(entry.body)["max_completion_tokens"] for entry in on.sim.journal]
        assert bounds == [64_000, 64_000, 64_000, 16_384]


async def test_the_callers_key_goes_to_its_own_provider_only(tmp_path: Path) -> None:
    async with two_targets(tmp_path) as on:
        headers = {"openai-organization": "org-1"}
        on.sim.fail("status=503", model="one")
        answer = await on.call("chat", model="one", headers=headers)

        assert answer.status == 200
        first, *_, last = on.sim.journal
        assert first.header("authorization") == "Bearer key-1"
        assert last.header("authorization") == "Bearer key-of-second"
        assert last.header("openai-organization") is None


@streamed_or_not
@pytest.mark.parametrize("status", [401, 403])
async def test_a_callers_own_dead_key_is_told_and_falls_back_nowhere(
    tmp_path: Path, status: int, stream: bool
) -> None:
    """Whoever pays with it has to hear of it."""
    async with two_targets(tmp_path) as on:
        on.sim.fail(f"status={status}", model="one")
        answer = await on.call("chat", model="one", stream=stream)

        assert answer.status == status
        assert asked(on) == ["one"]


async def test_what_is_the_callers_fault_is_asked_of_nobody_else(tmp_path: Path) -> None:
    async with two_targets(tmp_path) as on:
        on.sim.fail("status=422", model="one")
        answer = await on.call("chat", model="one")

        assert answer.status == 422
        assert asked(on) == ["one"]
        failed, settled = only(await log_of(on))
        assert (failed, settled.outcome) == ([], "failed")


async def test_attempts_that_may_be_billed_are_booked_each(tmp_path: Path) -> None:
    """Cut after its head, a stream has cost its input at least."""
    async with two_targets(tmp_path) as on:
        on.sim.fail("cut_events=1;how=reset", model="one")
        answer = await on.call("chat", model="one", stream=True)

        assert answer.status == 200
        failed, settled = only(await log_of(on))
        assert [one.reason for one in failed] == ["reset"] * 3
        assert all(one.cost_micro_usd > 0 for one in failed)
        last = on.sim.journal[-1]
        own = 3 * last.input_tokens + 5 * last.output_tokens
        assert settled.cost_micro_usd == own + sum(one.cost_micro_usd for one in failed)
        shown = await on.admin("GET", "/sessions/s1")
        assert (shown["steps"], shown["held_usd"]) == (1, 0)


async def test_a_target_that_is_too_dear_for_what_is_left_is_not_asked(tmp_path: Path) -> None:
    limit = "limits: {request_cost_usd: 0.0006}\naccounting: {min_output_tokens: 100}"
    async with two_targets(tmp_path, limit) as on:
        on.sim.fail("status=503", model="one")
        answer = await on.call("chat", model="one")

        assert answer.status == 503
        assert "second/two: too little is left for it" in str(answer.error["message"])
        assert asked(on) == ["one"] * 3
        _, settled = only(await log_of(on))
        assert settled.cost_micro_usd == 0


async def test_all_that_fail_are_named(tmp_path: Path) -> None:
    async with two_targets(tmp_path) as on:
        on.sim.fail("status=503")
        answer = await on.call("chat", model="one")

        message = str(answer.error["message"])
        assert (answer.status, answer.error["code"]) == (503, "upstream_unavailable")
        assert answer.headers["x-should-retry"] == "false"
        assert "first/one failed 3 times, and last answered 503" in message
        assert "second/two answered 503" in message
        assert asked(on) == ["one"] * 3 + ["two"]
        failed, settled = only(await log_of(on))
        assert (len(failed), settled.cost_micro_usd) == (3, 0)


async def test_a_provider_known_to_be_down_is_not_asked_again(tmp_path: Path) -> None:
    rules = "breakers: {consecutive_failures: 2}"
    async with two_targets(tmp_path, rules) as on:
        on.sim.fail("status=503", model="one")
        await on.call("chat", model="one")
        before = asked(on).count("one")
        answer = await on.call("chat", model="one", session="s2")
        reserved = next(e for e in await log_of(on, "s2") if isinstance(e, ev.StepReserved))

        assert answer.status == 200
        assert answer.headers["x-holdfast-decision"] == "fallback"
        assert asked(on).count("one") == before == 2
        assert (reserved.upstream, reserved.model) == ("second", "two")
        metrics = await metrics_of(on)
        assert 'holdfast_fallbacks_total{reason="breaker_open"} 1.0' in metrics
        assert 'holdfast_fallbacks_total{reason="error"} 1.0' in metrics


async def test_nobody_asked_means_nothing_held_and_says_when(tmp_path: Path) -> None:
    rules = "breakers: {consecutive_failures: 1}\nretries: {max: 0}"
    async with two_targets(tmp_path, rules) as on:
        on.sim.fail("status=503")
        await on.call("chat", model="one")
        answer = await on.call("chat", model="one", session="s2")

        assert (answer.status, answer.error["code"]) == (503, "upstream_unavailable")
        seconds = answer.facts["next_try_seconds"]
        assert isinstance(seconds, float)
        assert 10 < seconds <= 15
        assert f"The next try is in {seconds:.0f} s." in str(answer.error["message"])
        assert asked(on) == ["one", "two"]
        assert await on.app.store.find_tenants("s2") == []


async def test_a_killed_session_hears_of_the_kill_while_all_are_down(tmp_path: Path) -> None:
    rules = "breakers: {consecutive_failures: 1}\nretries: {max: 0}"
    async with two_targets(tmp_path, rules) as on:
        on.sim.fail("status=503")
        await on.call("chat", model="one")
        await on.admin("POST", "/sessions/s1/kill")
        answer = await on.call("chat", model="one")

        assert (answer.status, answer.error["code"]) == (422, "session_killed")


async def test_what_only_its_provider_has_kept_goes_nowhere_else(tmp_path: Path) -> None:
    async with two_targets(tmp_path) as on:
        first = await on.call("responses", model="one")
        on.sim.fail("status=503", model="one")
        answer = await on.call("responses", model="one", previous_response_id=first.json["id"])

        assert answer.status == 503
        assert "only first has the previous_response_id" in str(answer.error["message"])
        assert asked(on) == ["one"] * 4


@pytest.mark.parametrize("wait", ["attempt", "backoff"])
@pytest.mark.parametrize("end", ["client", "kill"])
async def test_a_call_that_ends_while_it_is_tried_again_is_booked_once(
    tmp_path: Path, wait: str, end: str
) -> None:
    async with two_targets(tmp_path) as on:
        on.sim.fail("status=503", model="one", times=1)
        on.sim.fail("slow_head=60", model="one")
        if wait == "backoff":
            on.app.clock.sleep = forever  # type: ignore[method-assign]
        call = asyncio.ensure_future(on.call("chat", model="one"))
        count = 1 if wait == "backoff" else 2
        await on.sim.wait_for(lambda sim: len(sim.journal) == count)
        await on.sim.wait_for(lambda sim: sim.journal[0].finished is not None)
        if end == "kill":
            await on.admin("POST", "/sessions/s1/kill")
            answer = await call
            assert (answer.status, answer.error["code"]) == (422, "session_killed")
        else:
            call.cancel()
            await asyncio.wait([call])
            while len(on.app.calls):
                await asyncio.wait([asyncio.ensure_future(on.app.ledger.drained())])

        failed, settled = only(await log_of(on))
        assert len(failed) == 1
        assert settled.outcome == ("cut" if end == "kill" else "client_left")
        assert (settled.cost_micro_usd > 0) == (wait == "attempt")


async def test_a_call_that_lost_its_client_is_kept_through_a_fallback(tmp_path: Path) -> None:
    """Its retry gets the answer of whoever gave one, and the call is paid once."""
    gives_up = {"x-stainless-timeout": "0", "x-stainless-retry-count": "0"}
    again = {"x-stainless-read-timeout": "60", "x-stainless-retry-count": "1"}
    async with two_targets(tmp_path, "retries: {max: 0}") as on:
        on.sim.fail("slow_head=0.3,status=503", model="one")
        call = asyncio.ensure_future(on.call("chat", model="one", headers=gives_up))
        await on.sim.wait_for(lambda sim: len(sim.journal) == 1)
        call.cancel()
        await asyncio.wait([call])
        answer = await on.call("chat", model="one", headers=again)

        assert answer.status == 200
        assert answer.headers["x-holdfast-decision"] == "replay"
        assert asked(on) == ["one", "two"]
        assert (await on.admin("GET", "/sessions/s1"))["steps"] == 1


async def test_retries_are_a_share_of_all_calls(tmp_path: Path) -> None:
    """A provider that is down is not asked three times as often by everybody."""
    rules = "breakers: {minimum_calls: 10000, consecutive_failures: 10000}\nretries: {ratio: 0.1}"
    async with two_targets(tmp_path, rules) as on:
        on.sim.fail("status=503", model="one")
        for number in range(30):
            await on.call("chat", model="one", session=f"s{number}")

        assert asked(on).count("one") <= 30 + 10 + 3


async def forever(seconds: float) -> None:
    await asyncio.get_running_loop().create_future()
