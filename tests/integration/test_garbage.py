"""A call leaves no circle of objects behind: all of it is freed at its end, not at a collection.

What waits for the collector holds bodies of megabytes meanwhile; and as calls leave it nothing,
what lives need not be walked for their sake (`proxy/collecting.py`).
"""

import asyncio
import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxy.core.request import DialectName
from tests.integration.kit import DIALECTS, sidecar


@contextmanager
def garbage() -> Iterator[Counter[str]]:
    """What of ours only a collection frees, by type, known at the end. (The simulated provider
    runs in the same process, on another server.)"""
    found: Counter[str] = Counter()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield found
        gc.collect()
        for left in gc.garbage:
            module = type(left).__module__
            if module.startswith("proxy.") and not module.startswith("proxy.simulator"):
                found[f"{module}.{type(left).__name__}"] += 1
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize("store", ["memory", "sqlite"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_an_answered_call_is_freed_at_its_end(
    tmp_path: Path, dialect: DialectName, stream: bool, store: str
) -> None:
    url = "memory://" if store == "memory" else f"sqlite:///{tmp_path}/ledger.db"
    async with sidecar(tmp_path, store=url) as on:
        await on.call(dialect, stream=stream)
        with garbage() as found:
            for _ in range(5):
                answer = await on.call(dialect, stream=stream)
                assert answer.status == 200

        assert not found


@pytest.mark.parametrize("fault", ["status=500", "status=429", "malformed_json"])
async def test_a_failed_call_is_freed_at_its_end(tmp_path: Path, fault: str) -> None:
    async with sidecar(tmp_path) as on:
        await on.call("chat")
        with garbage() as found:
            for _ in range(5):  # refused by the breaker or the provider, it is all one
                on.sim.fail(fault)
                await on.call("chat")

        assert not found


BROKEN = ("reset", "empty", "wrong_types", "cut_events=2", "error_event=2", "malformed_sse=1")


@pytest.mark.parametrize("fault", [*BROKEN, "stall=2", "cut_bytes=10"])
async def test_a_broken_stream_is_freed_at_its_end(tmp_path: Path, fault: str) -> None:
    """It may have lasted for long: what has grown old is not walked while others are served."""
    async with sidecar(tmp_path, "timeouts: {idle: 0.1}\n") as on:
        await on.call("chat", stream=True)
        with garbage() as found:
            for _ in range(3):
                on.sim.fail(fault)
                await on.call("chat", stream=True)

        assert not found


@pytest.mark.parametrize("fault", ["slow_head=60", "stall=2"])
async def test_a_call_whose_client_leaves_is_freed(tmp_path: Path, fault: str) -> None:
    async with sidecar(tmp_path) as on:
        with garbage() as found:
            on.sim.fail(fault)
            call = asyncio.ensure_future(on.call("chat", stream=True))
            await on.sim.wait_for(lambda sim: len(sim.journal) == 1)
            call.cancel()
            await asyncio.wait([call])
            await on.sim.wait_for(lambda sim: sim.journal[0].client_disconnected_at is not None)
            await on.app.ledger.drained()

        assert not found


async def test_a_body_that_is_none_is_freed(tmp_path: Path) -> None:
    """Whoever sends many of them would fill the memory with what came before the fault."""
    lines = ("POST /v1/chat/completions HTTP/1.1", "host: h", "expect: 100-continue")
    head = "\r\n".join((*lines, "transfer-encoding: chunked", "", "")).encode()
    async with sidecar(tmp_path) as on:
        with garbage() as found:
            for _ in range(3):
                reader, writer = await asyncio.open_connection("127.0.0.1", on.app.port)
                writer.write(head)
                await reader.readuntil(b"\r\n\r\n")  # it is waited for
                writer.write(b"1000\r\n" + b" " * 4_096 + b"\r\nno length")
                answer = await reader.read()
                writer.close()
                assert answer.startswith(b"HTTP/1.1 400 ")

        assert not found
