"""Calls of a client: the bytes of one, and a connection that makes one after another."""

import asyncio
import json
from typing import Final

from proxy.admin.shapes import Json
from tests.soak.source import length_of

PATH: Final = "/v1/chat/completions"
POLICY: Final = """
prices: {"*": {input: 1.0, output: 2.0}}
limits: {steps: null, cost_usd: null, tokens: null, duration_seconds: null}
budgets: []
bounds: {sessions_in_memory: %d}
"""


async def pause(seconds: float) -> None:
    """A soak is made of time."""
    await asyncio.sleep(seconds)  # noqa: TID251


def said(text: str) -> dict[str, Json]:
    """A body with one user message."""
    return {"messages": [{"role": "user", "content": text}]}


def request(target: str, body: dict[str, Json], *headers: str) -> bytes:
    """The bytes of a call."""
    data = json.dumps({"model": "m", "max_tokens": 4_000, **body}).encode()
    lines = ("host: h", "authorization: Bearer k", f"content-length: {len(data)}", *headers)
    return "\r\n".join((f"POST {target} HTTP/1.1", *lines, "", "")).encode() + data


class Caller:
    """A kept connection that makes one call after another."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, raw: bytes) -> tuple[int, bytes]:
        """Status and body."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(raw)
        head = await reader.readuntil(b"\r\n\r\n")
        return int(head[9:12]), await reader.readexactly(length_of(head))

    def close(self) -> None:
        """Leaves."""
        if self._streams is not None:
            self._streams[1].close()
