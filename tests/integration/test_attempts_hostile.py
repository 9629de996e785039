"""What one caller does must not close a provider to others, nor be done twice to itself."""

import asyncio
from pathlib import Path

from proxy.clock import SystemClock
from proxy.core import events as ev
from tests.integration.attempts_kit import log_of, two_targets
from tests.integration.kit import sidecar

ONE_IS_ENOUGH = "breakers: {consecutive_failures: 1, open_seconds: 0.2, slow_seconds: 0.3}\n"


async def test_a_trial_that_hangs_keeps_nobody_out(tmp_path: Path) -> None:
    """The call that tries a broken provider may take minutes; nobody else waits for its end."""
    async with sidecar(tmp_path, ONE_IS_ENOUGH + "retries: {max: 0}\n") as on:
        on.sim.fail("status=503", times=1)
        await on.call("chat", session="s0")
        on.sim.fail("slow_head=60", times=1)
        await SystemClock().sleep(0.3)
        hangs = asyncio.ensure_future(on.call("chat", session="s1"))
        await on.sim.wait_for(lambda sim: len(sim.journal) == 2)
        shut = await on.call("chat", session="s2")
        await SystemClock().sleep(0.5)
        answer = await on.call("chat", session="s3")
        hangs.cancel()

        assert (shut.status, answer.status) == (503, 200)


async def test_a_prompt_over_a_rate_limit_by_itself_is_its_callers_own(tmp_path: Path) -> None:
    """OpenAI says 429 of a prompt that no minute has room for: others' fit."""
    said = "Request too large for gpt-5 in organization org-1 on tokens per min (TPM)"
    async with sidecar(tmp_path) as on:
        on.sim.fail(f"status=429;message={said}", times=1)
        own = await on.call("chat", session="s1")
        other = await on.call("chat", session="s2")

        assert own.status == 429
        assert said in str(own.error["message"])
        assert other.status == 200
        assert len(on.sim.journal) == 2


async def test_two_calls_of_a_session_that_nobody_serves_stand_once_before_a_human(
    tmp_path: Path,
) -> None:
    rules = "retries: {max: 0}\n"
    async with two_targets(tmp_path, rules, route="on_unavailable: handoff") as on:
        await on.call("chat", model="one")
        on.sim.fail("status=503;seconds=0, slow_head=0.3")
        calls = [on.call("chat", model="one", n=1, seed=number) for number in range(3)]
        told = await asyncio.gather(*calls)
        handed = [e for e in await log_of(on) if isinstance(e, ev.HandedOff)]

        assert {answer.error["code"] for answer in told} == {"awaiting_human"}
        assert len(handed) == 1


async def test_a_call_without_a_key_shuts_nobody_else_out(tmp_path: Path) -> None:
    """Its provider says 401, where callers bring their own keys."""
    async with sidecar(tmp_path) as on:
        on.sim.fail("status=401")
        own = await on.call("chat", session="s1", headers={"authorization": ""})
        on.sim.heal()
        other = await on.call("chat", session="s2")

        assert (own.status, other.status) == (401, 200)
