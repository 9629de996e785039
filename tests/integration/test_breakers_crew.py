"""Breakers of several workers are one: what one finds, all know, whoever of them is killed."""

import asyncio
import os
import signal
from itertools import pairwise
from pathlib import Path

import pytest

from proxy.simulator import Turn
from proxy.simulator.conversation import Conversation
from proxy.simulator.faults import Fault, FaultKind
from tests.integration.crew_kit import Client, crew
from tests.integration.kit import MODEL, Answer
from tests.integration.test_workers import until_ready

pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]

RULES = """
limits: {parallel: null}
breakers: {open_seconds: %s, open_seconds_max: 300, consecutive_failures: 3}
retries: {max: 0, wait_seconds: 0, join_seconds: 0}
"""
WELL = Turn(text="Hello.")
BROKEN = Turn(faults=(Fault(FaultKind.STATUS, 500),))


class Provider:
    """Well at first. at: when each request came."""

    def __init__(self) -> None:
        self.now = WELL
        self.at: list[float] = []

    def turn(self, conversation: Conversation) -> Turn:
        self.at.append(asyncio.get_running_loop().time())
        return self.now


async def refused(client: Client) -> bool:
    """Whether its worker lets nobody ask."""
    answer = await client.call()
    if answer.status == 200:
        return False
    assert answer.status in (500, 503), answer.body
    return answer.status == 503


async def opened(provider: Provider, clients: list[Client]) -> int:
    """One worker finds that the provider is broken; returns once all know, and how often it was
    asked until then."""
    provider.now = BROKEN
    while not await refused(clients[0]):
        pass
    for client in clients:
        while not await refused(client):
            pass
    return len(provider.at)


async def test_what_one_worker_finds_all_leave_alone(tmp_path: Path) -> None:
    """Three failures in one of them, and no one else tries it."""
    provider = Provider()
    async with crew(tmp_path, 3, RULES % 300, provider) as (on, _):
        clients = await on.pinned(3)
        before = len(provider.at)
        asked = await opened(provider, clients)
        assert 3 <= asked - before <= 5  # news may come a call later
        refusals = await asyncio.gather(*(client.call() for client in clients * 10))

        assert {answer.status for answer in refusals} == {503}
        assert len(provider.at) == asked
        assert refusals[0].error["code"] == "upstream_unavailable"


async def test_what_a_human_says_holds_in_every_worker_at_once(tmp_path: Path) -> None:
    async with crew(tmp_path, 3, RULES % 300, Provider()) as (on, _):
        clients = await on.pinned(3)
        model = MODEL
        await on.admin("POST", f"/breakers/openai/{model}/open")
        assert [await refused(client) for client in clients] == [True] * 3
        _, metrics = await on.text("/metrics")
        assert 'holdfast_breaker_state{model="",upstream="openai"} 2.0' in metrics

        await on.admin("POST", f"/breakers/openai/{model}/close")
        assert [await refused(client) for client in clients] == [False] * 3


async def test_a_worker_that_takes_anothers_place_is_told(tmp_path: Path) -> None:
    """It would send its calls to what all the others leave alone."""
    provider = Provider()
    async with crew(tmp_path, 2, RULES % 300, provider) as (on, _):
        asked = await opened(provider, await on.pinned(2))
        for pid in on.pids():
            os.kill(pid, signal.SIGKILL)
            await on.told_of(pid)
            await until_ready(on)
        answers: list[Answer] = [await on.call() for _ in range(8)]

        assert {answer.status for answer in answers} == {503}
        assert len(provider.at) == asked


async def test_one_call_of_all_workers_tries(tmp_path: Path) -> None:
    """Four workers are asked all the time: they try one after another, as each probe ends."""
    provider = Provider()
    async with crew(tmp_path, 4, RULES % 0.2, provider) as (on, _):
        clients = await on.pinned(4)
        asked = await opened(provider, clients)
        provider.now = Turn(latency_seconds=0.3, faults=(Fault(FaultKind.STATUS, 500),))

        async def ask(client: Client) -> None:
            while len(provider.at) < asked + 5:
                await client.call()

        await asyncio.gather(*(ask(client) for client in clients))
        probes = provider.at[asked + 1 :]
        gaps = [later - earlier for earlier, later in pairwise(probes)]
        print(f"{len(probes)} probes, {min(gaps):.3f} s apart at least")

        assert len(probes) >= 2
        assert min(gaps) >= 0.3


async def test_a_killed_worker_does_not_keep_others_from_trying(tmp_path: Path) -> None:
    """It was trying when it died. The next one tries at once, and all let calls go again."""
    provider = Provider()
    async with crew(tmp_path, 2, RULES % 0.2, provider) as (on, _):
        clients = await on.pinned(2)
        await opened(provider, clients)
        provider.now = Turn(latency_seconds=300.0)
        trying = await _probe(provider, clients[0])
        assert [await refused(clients[1]) for _ in range(5)] == [True] * 5
        provider.now = WELL
        victim = on.pids()[0]
        os.kill(victim, signal.SIGKILL)
        await on.told_of(victim)
        loop = asyncio.get_running_loop()
        began = loop.time()
        while await refused(clients[1]):
            pass
        print(f"tried again {loop.time() - began:.3f} s after the kill was known")

        trying.cancel()
        await until_ready(on)
        answers = [await on.call() for _ in range(8)]
        assert {answer.status for answer in answers} == {200}


async def _probe(provider: Provider, client: Client) -> "asyncio.Future[Answer]":
    """A call that tries, on its way."""
    before = len(provider.at)
    while True:
        call = asyncio.ensure_future(client.call())
        while not call.done() and len(provider.at) == before:
            await asyncio.wait({call}, timeout=0.01)
        if not call.done():
            return call
