"""Calls that fail, are cut and left at random: each is booked once, at no less than its bill."""

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest

from proxy.clock import SystemClock
from proxy.core import events as ev
from proxy.core.session import SessionKey
from tests.integration.attempts_kit import metrics_of, two_targets
from tests.integration.kit import DIALECTS, Sidecar

RULES = """
breakers: {slow_seconds: 0.15, answer_seconds: 0.2, open_seconds: 0.1, open_seconds_max: 0.2}
retries: {wait_seconds: 1, ratio: 0.5}
deadline_seconds: 1.5
timeouts: {idle: 1}
limits: {cost_usd: 1, parallel: 3}
tools: {deny: ["rm"]}
"""
FAULTS = [
    *("status=503", "status=429;retry_after=0.1", "status=529", "status=400", "status=401"),
    *("reset", "empty", "malformed_json", "cut_events=2", "cut_events=6", "cut_events=6;how=reset"),
    *("slow_head=0.1", "slow_head=0.4", "slow_head=5", "slow_first_token=0.3", "stall=2"),
    *("error_event=0", "error_event=5", "malformed_sse=1"),
]
PRICES = {"one": (1, 2), "two": (3, 5)}
SESSIONS = 30
_ESTIMATED = 5
"""Tokens of a call's name, of a stream that broke off right after it: those are estimated."""
ROUNDS = 10


async def one_call(on: Sidecar, chance: random.Random) -> None:
    """Asked, and left, killed or waited for."""
    session = f"s{chance.randrange(SESSIONS)}"
    headers = {"x-test-session": session}
    if chance.random() < 0.2:  # an SDK that will ask again: its call may go on without it
        headers |= {"x-stainless-retry-count": "0", "x-stainless-read-timeout": "0.3"}
    asks = on.call(
        chance.choice(DIALECTS),
        model="one",
        session=session,
        stream=chance.random() < 0.6,
        tools=("rm", "ls") if chance.random() < 0.3 else (),
        headers=headers,
    )
    call, end = asyncio.ensure_future(asks), chance.random()
    if end < 0.3:
        await asyncio.wait([call], timeout=chance.random() * 0.4)
        if end < 0.25:
            call.cancel()
        else:
            await on.admin("POST", f"/sessions/{session}/kill")
    await asyncio.wait([call], timeout=20)
    assert call.done()


async def booked_of(on: Sidecar, session: str) -> int:
    """What a session came to, each of whose reservations has ended once."""
    booked = 0
    for tenant in await on.app.store.find_tenants(session):
        log = await on.app.store.read(SessionKey(tenant, session))
        events = [stored.event for stored in log]
        settled = [event for event in events if isinstance(event, ev.StepSettled)]
        ended = [event.call_id for event in settled]
        ended += [event.call_id for event in events if isinstance(event, ev.StepReleased)]
        reserved = [event.call_id for event in events if isinstance(event, ev.StepReserved)]
        assert sorted(reserved) == sorted(ended)
        booked += sum(event.cost_micro_usd for event in settled)
    return booked


def _is_overspent(line: str) -> bool:
    return line.startswith("holdfast_overspend_usd_total{") and not line.endswith(" 0.0")


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("route", ["", "hedge: {after_seconds: 0.08}"], ids=["", "hedged"])
async def test_whatever_fails_is_booked_once_and_nothing_is_left(
    tmp_path: Path, route: str, seed: int
) -> None:
    chance = random.Random(seed)
    async with two_targets(tmp_path, RULES, route=route) as on:
        for _ in range(ROUNDS):
            on.sim.heal()
            for model in PRICES:
                if chance.random() < 0.8:
                    on.sim.fail(chance.choice(FAULTS), model=model)
            await asyncio.gather(*[one_call(on, chance) for _ in range(10)])
        on.sim.heal()
        async with asyncio.timeout(10):
            while len(on.app.calls) or on.app.ledger.running:
                await SystemClock().sleep(0.02)
        await on.app.ledger.drained()

        assert await on.app.store.open_holds() == []
        billed = Counter[str]()
        for entry in on.sim.journal:
            own, output = PRICES[entry.model]
            told = entry.output_tokens - (_ESTIMATED if entry.status == 200 else 0)
            cost = own * entry.input_tokens + output * max(0, told)
            billed[entry.header("x-test-session") or ""] += cost
        for number in range(SESSIONS):
            assert await booked_of(on, f"s{number}") >= billed[f"s{number}"]
        assert not [line for line in await metrics_of(on) if _is_overspent(line)]
        assert not any(breaker.trying for breaker in on.app.breakers.keeper.all())
        async with asyncio.timeout(5):
            while any(one.finished is None for one in on.sim.journal):
                await SystemClock().sleep(0.02)
