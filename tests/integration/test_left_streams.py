"""Streams that are left: what the provider had sent by then is booked, whoever has read it."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.core import events as ev
from proxy.core.request import DialectName
from proxy.simulator import Simulator, Turn
from proxy.simulator.conversation import Conversation
from proxy.simulator.journal import Entry
from tests.crash.books import in_file, read_ledger
from tests.integration.crew_kit import Serving, serving
from tests.integration.kit import DIALECTS, PATHS, body_of

pytestmark = pytest.mark.process

_CHUNK_TOKENS = 2
_GUARDS = "tools: {side_effects: [send_*]}\n"
_TRANSLATES = """
upstreams:
  openai: {base_url: "${HOLDFAST_OPENAI_URL}"}
routes: [{match: {model: "*"}, to: [openai]}]
"""


@dataclass
class Pace:
    """A model that says so many tokens at this pace. late: seconds until its head comes."""

    tokens: int
    gap_seconds: float = 0.0
    late_seconds: float = 0.0

    def turn(self, conversation: Conversation) -> Turn:
        return Turn(
            text_tokens=self.tokens,
            chunk_tokens=_CHUNK_TOKENS,
            chunk_gap_seconds=self.gap_seconds,
            latency_seconds=self.late_seconds,
        )


def asks(on: Serving, dialect: DialectName, bound: int) -> socket.socket:
    """A client that asks for a stream, has room for very little, and reads nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", on.ports[0]))
    told = body_of(dialect, stream=True, bound=bound, tools=("send_mail",))
    body = json.dumps(told).encode()
    head = (
        f"POST /s/s1{PATHS[dialect]} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer k\r\n"
        "Anthropic-Version: 2023-06-01\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    client.sendall(head.encode() + body)
    return client


async def settled(on: Serving) -> ev.StepSettled:
    while True:
        log = (await read_ledger(in_file(on.folder / "ledger.db"))).logs.get("s1", ())
        found = [s.event for s in log if isinstance(s.event, ev.StepSettled)]
        if found:
            return found[0]
        await asyncio.sleep(0.02)  # noqa: TID251 - another process


async def left(on: Serving, sim: Simulator, client: socket.socket) -> tuple[ev.StepSettled, Entry]:
    """What was booked and what was billed."""
    client.close()
    booked = await settled(on)
    await sim.wait_for(lambda sim: sim.journal[0].finished is not None)
    return booked, sim.journal[0]


def covers(booked: ev.StepSettled, billed: Entry, late_chunks: int = 0) -> bool:
    """late_chunks: that the provider made after it was left."""
    assert booked.outcome == "client_left"
    assert booked.usage is not None
    return booked.usage.output_tokens >= billed.output_tokens - late_chunks * _CHUNK_TOKENS


@pytest.mark.parametrize(
    ("dialect", "policy"),
    [*((dialect, "") for dialect in DIALECTS), ("chat", _GUARDS), ("messages", _TRANSLATES)],
    ids=[*DIALECTS, "guarded", "translated"],
)
async def test_what_came_before_its_head_was_read_is_booked(
    tmp_path: Path, dialect: DialectName, policy: str
) -> None:
    """A sidecar that stood still for a moment hears at once that its provider has begun and that
    its client has left."""
    pace = Pace(400, gap_seconds=0.005, late_seconds=0.1)
    async with (
        Simulator(pace, seed=1) as sim,
        serving(tmp_path, sim.url, 1, policy=policy) as on,
    ):
        client = asks(on, dialect, 1_000)
        await sim.wait_for(lambda sim: len(sim.journal) == 1)
        os.kill(on.process.pid, signal.SIGSTOP)
        await sim.wait_for(_has_sent(40))
        client.close()
        os.kill(on.process.pid, signal.SIGCONT)
        booked, billed = await left(on, sim, client)

    assert billed.output_tokens >= 60
    assert covers(booked, billed, late_chunks=2)


@pytest.mark.parametrize("policy", ["", _GUARDS], ids=["plain", "guarded"])
async def test_what_nobody_had_read_is_booked(tmp_path: Path, policy: str) -> None:
    """A client that reads nothing and leaves had half of its answer for nothing: megabytes in
    buffers, that the provider bills."""
    async with (
        Simulator(Pace(60_000), seed=1) as sim,
        serving(tmp_path, sim.url, 1, policy=policy) as on,
    ):
        client = asks(on, "chat", 70_000)
        await _all_buffers_full(sim)
        booked, billed = await left(on, sim, client)

    assert billed.output_tokens >= 20_000
    assert covers(booked, billed)


def _has_sent(events: int) -> Callable[[Simulator], bool]:
    return lambda sim: bool(sim.journal) and sim.journal[0].events_sent > events


async def _all_buffers_full(sim: Simulator) -> None:
    """The provider has nothing left to say, or no room to say it."""
    await sim.wait_for(_has_sent(0))
    sent = 0
    while sent != (now := sim.journal[0].events_sent):
        sent = now
        await asyncio.sleep(0.3)  # noqa: TID251 - it is in the kernel's hands
