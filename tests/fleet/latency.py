"""How soon every replica has heard of a kill, a pause and a reload that one of them was told."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import aiohttp

from proxy.simulator import Turn
from tests.fleet.stage import Stage, stage

_ENDLESS = (Turn(text_tokens=100_000, chunk_gap_seconds=0.02),)
_BOUND_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Asked:
    replicas: int = 4
    rounds: int = 100


@dataclass(slots=True)
class Heard:
    """Seconds from the command until the last of the replicas had done it."""

    asked: Asked
    kill: list[float] = field(default_factory=list)
    pause: list[float] = field(default_factory=list)
    reload: list[float] = field(default_factory=list)

    def faults(self) -> list[str]:
        found = []
        for what, took in (("kill", self.kill), ("pause", self.pause), ("reload", self.reload)):
            if max(took) > _BOUND_SECONDS:
                found.append(f"a {what} took {max(took) * 1e3:.0f} ms")
        return found

    def shown(self) -> str:
        def of(took: list[float]) -> str:
            middle = sorted(took)[len(took) // 2]
            return f"p50 {middle * 1e3:.1f} ms, max {max(took) * 1e3:.1f} ms of {len(took)}"

        return (
            f"{self.asked.replicas} replicas: the last stream was cut {of(self.kill)} after a kill;"
            f" every replica refused {of(self.pause)} after a pause; every replica had the new"
            f" policy {of(self.reload)} after a reload"
        )


async def latency(asked: Asked, url: str, folder: Path) -> Heard:
    heard = Heard(asked)
    async with stage(folder, url, _ENDLESS, "", asked.replicas) as on:
        for number in range(asked.rounds):
            heard.kill.append(await _kill(on, f"k{number}", number % asked.replicas))
        for number in range(asked.rounds):
            heard.pause.append(await _pause(on, f"p{number}", number % asked.replicas))
        for number in range(asked.rounds):
            heard.reload.append(await _reload(on, number, number % asked.replicas))
    return heard


async def _kill(on: Stage, session: str, teller: int) -> float:
    """A stream of one session on each replica."""
    streams = [await one.streaming(session) for one in on.on.values()]

    async def rest(stream: aiohttp.ClientResponse) -> float:
        body = await stream.content.read()
        assert b"session_killed" in body, body[-300:]
        return perf_counter()

    rests = [asyncio.ensure_future(rest(stream)) for stream in streams]
    began = perf_counter()
    told = await on.on[teller].admin("POST", f"/sessions/{session}/kill")
    assert told["state"] == "killed"
    return max(await asyncio.gather(*rests)) - began


async def _pause(on: Stage, session: str, teller: int) -> float:
    """With a stream on each replica, so that each has the session at hand. It is answered when all
    have heard of it: no replica takes another call."""
    streams = [await one.streaming(session) for one in on.on.values()]
    began = perf_counter()
    told = await on.on[teller].admin("POST", f"/sessions/{session}/pause")
    took = perf_counter() - began
    assert told["state"] == "paused"
    answers = await asyncio.gather(*(one.call(session=session) for one in on.on.values()))
    assert {answer.error["code"] for answer in answers} == {"session_paused"}
    for stream in streams:
        stream.close()
    return took


async def _reload(on: Stage, number: int, teller: int) -> float:
    """Each has a file of its own, which has just been changed. As with a pause."""
    wanted = 1_000 + number
    for one in on.on.values():
        file = one.folder / "policy.yaml"
        head = file.read_text().split("sessions:")[0]
        file.write_text(f"{head}sessions: {{idle_seconds: {wanted}}}\n")
    began = perf_counter()
    await on.on[teller].admin("POST", "/policy/reload")
    took = perf_counter() - began
    shown = await asyncio.gather(*(one.admin("GET", "/policy") for one in on.on.values()))
    assert all(f"'idle_seconds': {wanted}" in str(policy) for policy in shown)
    return took
