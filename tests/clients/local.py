"""A real llama.cpp server as a provider: programs/local_model.py in a process of its own."""

import asyncio
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.clients.kit import python


@asynccontextmanager
async def local_model() -> AsyncIterator[str]:
    """The origin of a running one. Each has the same weights."""
    process = await asyncio.create_subprocess_exec(
        *python("local_model"), stdin=PIPE, stdout=PIPE, stderr=DEVNULL
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            origin = (await process.stdout.readline()).decode().strip()
        assert origin.startswith("http://")
        yield origin
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
