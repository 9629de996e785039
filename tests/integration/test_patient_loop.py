"""The loop of these tests: whoever stands still loses no time."""

import asyncio
import time

import pytest

from tests.fakes_loop import MOST_SECONDS, LoopClock, PatientLoop


def stand_still(seconds: float) -> None:
    """As a process does that gets no core."""
    time.sleep(seconds)


async def test_time_passes_as_it_does_for_others() -> None:
    clock, began = LoopClock(), time.perf_counter()
    before = clock.monotonic()
    await clock.sleep(0.2)
    took, counted = time.perf_counter() - began, clock.monotonic() - before

    assert isinstance(asyncio.get_running_loop(), PatientLoop)
    assert 0.2 <= counted <= took + 0.001


async def test_what_the_process_stood_still_does_not_count() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    stand_still(0.3)

    assert loop.time() - began <= MOST_SECONDS


async def test_what_has_come_is_read_before_a_bound_is_passed() -> None:
    """Three hops over loopback, and before each of them a pause that is longer than the bound."""

    ended = asyncio.Event()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            stand_still(0.3)
            writer.write(line)
        writer.close()
        await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, asyncio.timeout(0.2):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for _ in range(3):
            writer.write(b"x\n")
            stand_still(0.3)
            assert await reader.readline() == b"x\n"
        writer.close()
        await ended.wait()


async def test_a_bound_is_passed_where_nothing_comes() -> None:
    began = time.perf_counter()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await asyncio.Event().wait()

    assert time.perf_counter() - began >= 0.2
