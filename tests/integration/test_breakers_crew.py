"""Breakers of several workers are one: what one finds, all know, whoever of them is killed."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from proxy.admin.shapes import Json
from tests.integration.crew_kit import Client, crew
from tests.integration.test_workers import until_ready

pytestmark = [pytest.mark.process, pytest.mark.timeout(40)]

MANY = 16
"""Questions, each to whichever worker is free: enough that all are asked."""


async def states(on: Client) -> set[tuple[Json, Json, Json]]:
    """What all of them say of breakers."""
    answers = await asyncio.gather(*(on.admin("GET", "/breakers") for _ in range(MANY)))
    said: set[tuple[Json, Json, Json]] = set()
    for answer in answers:
        found = answer["breakers"]
        assert isinstance(found, list)
        for one in found:
            assert isinstance(one, dict)
            said.add((one["model"], one["state"], one["why"]))
    return said


async def gauge(on: Client) -> list[str]:
    _, text = await on.text("/metrics")
    return [line for line in text.splitlines() if line.startswith("holdfast_breaker_state{")]


async def test_what_a_human_says_holds_in_every_worker(tmp_path: Path) -> None:
    async with crew(tmp_path) as (on, _):
        await on.admin("POST", "/breakers/openai/some/model/open")
        assert await states(on) == {("some/model", "open", "manual")}
        assert await gauge(on) == ['holdfast_breaker_state{model="",upstream="openai"} 2.0']

        await on.admin("POST", "/breakers/openai/some/model/close")
        assert await states(on) == {("some/model", "closed", None)}
        assert await gauge(on) == ['holdfast_breaker_state{model="",upstream="openai"} 0.0']


async def test_a_worker_that_takes_anothers_place_is_told(tmp_path: Path) -> None:
    """It would send the next calls to what all the others leave alone."""
    async with crew(tmp_path, 2) as (on, _):
        await on.admin("POST", "/breakers/openai/m/open")
        for pid in on.pids():
            os.kill(pid, signal.SIGKILL)
            await on.told_of(pid)
            await until_ready(on)

        assert await states(on) == {("m", "open", "manual")}
