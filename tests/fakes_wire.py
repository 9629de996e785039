"""Both far ends of the wire, on real loopback sockets, down to the byte.

`ScriptedUpstream` is a provider that plays raw bytes; `RawClient` is a client that sends them.
"""

import asyncio
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from types import TracebackType
from typing import Self

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class End(Enum):
    """How a script leaves the connection; without one it waits for the next request."""

    CLOSE = auto()
    RESET = auto()
    HOLD = auto()


Step = bytes | asyncio.Event | End
"""Bytes are sent in one write, an Event is waited for, an End ends the script."""

Script = Sequence[Step]


def answer(body: bytes = b"{}", status: str = "200 OK", *headers: str) -> bytes:
    """A whole answer with a content-length."""
    lines = [f"HTTP/1.1 {status}", *headers, f"content-length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def chunked_head(*headers: str) -> bytes:
    """The head of a streamed answer."""
    lines = ["HTTP/1.1 200 OK", *headers, "transfer-encoding: chunked", "", ""]
    return "\r\n".join(lines).encode("latin-1")


def chunk(data: bytes) -> bytes:
    """One HTTP chunk; of nothing, the last one."""
    return b"%x\r\n%b\r\n" % (len(data), data)


async def turn() -> None:
    """One turn of the loop: what was sent on loopback has been read at the other end."""
    loop = asyncio.get_running_loop()
    turned = loop.create_future()
    loop.call_soon(turned.set_result, None)
    await turned


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came: the head's bytes, with its empty line, and the body, de-chunked."""

    head: bytes
    body: bytes
    connection: int

    @property
    def lines(self) -> list[bytes]:
        """The request line and the headers, in order."""
        return self.head.split(b"\r\n")[:-2]

    def header(self, name: str) -> bytes | None:
        """The first value of a header, by lower-case name."""
        for line in self.lines[1:]:
            key, _, value = line.partition(b":")
            if key.decode("latin-1").lower() == name:
                return value.strip()
        return None


class ScriptedUpstream:
    """A provider that plays one script a request; the last one is played for all that follow.

    `received` holds the whole requests, `seen_bytes` all that came, `sent` counts what was played;
    `disconnects` counts the connections that the other end left (not those that a script ended).
    """

    def __init__(self, *scripts: Script) -> None:
        self.received: list[Received] = []
        self.seen_bytes = b""
        self.sent = 0
        self.connections = 0
        self.disconnects = 0
        self._scripts = list(scripts) or [[answer()]]
        self._played = 0
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=1_024)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """The base, without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        """Ends all connections and stops listening."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in tuple(self._open):
            writer.transport.abort()

    async def wait_for_requests(self, count: int = 1) -> list[Received]:
        """Until so many whole requests have come."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.received) >= count)
        return self.received

    async def wait_for_bytes(self, wanted: bytes) -> None:
        """Until these bytes have come."""
        async with self._changed:
            await self._changed.wait_for(lambda: wanted in self.seen_bytes)

    async def wait_for_disconnects(self, count: int = 1) -> None:
        """Until the other end has left so many connections."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.disconnects >= count)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        feed = asyncio.StreamReader()
        watch = asyncio.get_running_loop().create_task(self._watch(reader, feed))
        try:
            await self._serve(feed, writer, self.connections)
            await watch
        except (asyncio.IncompleteReadError, ConnectionError):
            await asyncio.gather(watch, return_exceptions=True)
        except asyncio.CancelledError:  # by `stop`; asyncio would log it as an error of ours
            pass
        finally:
            watch.cancel()
            self._open.discard(writer)
            writer.transport.abort()

    async def _watch(self, reader: asyncio.StreamReader, feed: asyncio.StreamReader) -> None:
        """Reads all the time, so that a disconnect is noticed while a script waits."""
        try:
            while data := await reader.read(65_536):
                feed.feed_data(data)
                await self._note(data)
        except ConnectionError:
            pass
        feed.feed_eof()
        self.disconnects += 1
        await self._note(b"")

    async def _note(self, data: bytes) -> None:
        async with self._changed:
            self.seen_bytes += data
            self._changed.notify_all()

    async def _serve(
        self, feed: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        while True:
            head = await feed.readuntil(b"\r\n\r\n")
            received = Received(head, b"", number)
            received = Received(head, await _body(feed, received), number)
            self.received.append(received)
            script = self._scripts[min(self._played, len(self._scripts) - 1)]
            self._played += 1
            await self._note(b"")
            if not await self._play(script, writer):
                return

    async def _play(self, script: Script, writer: asyncio.StreamWriter) -> bool:
        for step in script:
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
                self.sent += len(step)
            elif isinstance(step, asyncio.Event):
                await step.wait()
            elif step is End.HOLD:
                await asyncio.Event().wait()
            else:
                self.disconnects -= 1  # this one is ours
                end(writer, step)
                return False
        return True


def end(writer: asyncio.StreamWriter, how: End) -> None:
    """Closes with FIN, or resets, so that the other end gets ECONNRESET."""
    if how is End.RESET:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        writer.transport.abort()
    else:
        writer.close()


async def _body(feed: asyncio.StreamReader, received: Received) -> bytes:
    if (length := received.header("content-length")) is not None:
        return await feed.readexactly(int(length))
    if received.header("transfer-encoding") is None:
        return b""
    return await _chunks(feed)


async def _chunks(feed: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int((await feed.readuntil(b"\r\n")).split(b";")[0], 16):
        parts.append(await feed.readexactly(size))
        await feed.readexactly(2)
    await feed.readuntil(b"\r\n")
    return b"".join(parts)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it came. `whole`: it ended as its framing says."""

    status: int
    head: bytes
    body: bytes
    whole: bool

    def header(self, name: str) -> str | None:
        """The first value of a header, by lower-case name."""
        return next(iter(self.all(name)), None)

    def all(self, name: str) -> list[str]:
        """All values of a header, by lower-case name."""
        pairs = (line.partition(b":") for line in self.head.split(b"\r\n")[1:-2])
        return [v.strip().decode("latin-1") for k, _, v in pairs if k.decode().lower() == name]


class RawClient:
    """A client that sends what it is told, and reads answers by their framing."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int, *, receive_buffer: int | None = None) -> Self:
        """With a small `receive_buffer` and nobody reading, the other end soon has to wait."""
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        except OSError:
            sock.close()
            raise
        limit = receive_buffer or 2**16
        return cls(*await asyncio.open_connection(sock=sock, limit=limit))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.writer.transport.abort()

    async def send(self, data: bytes) -> None:
        """In one write; the segment border is here."""
        self.writer.write(data)
        await self.writer.drain()

    async def read_until(self, wanted: bytes) -> bytes:
        """Up to and with these bytes."""
        return await self.reader.readuntil(wanted)

    async def read_answer(self, *, head_only: bool = False) -> Answer:
        """The next answer; `head_only` for one to HEAD."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        bare = Answer(status, head, b"", whole=True)
        if head_only or status in (204, 304) or status < 200:
            return bare
        try:
            return Answer(status, head, await self._read_body(bare), whole=True)
        except asyncio.IncompleteReadError as exc:
            return Answer(status, head, exc.partial, whole=False)
        except ConnectionError:
            return Answer(status, head, b"", whole=False)

    async def read_to_end(self) -> bytes:
        """All that comes until the other end closes or resets."""
        data = b""
        try:
            while more := await self.reader.read(65_536):
                data += more
        except ConnectionError:
            pass
        return data

    def close(self, how: End = End.CLOSE) -> None:
        """Leaves."""
        end(self.writer, how)

    async def _read_body(self, head: Answer) -> bytes:
        if (length := head.header("content-length")) is not None:
            return await self.reader.readexactly(int(length))
        if head.header("transfer-encoding") == "chunked":
            return await _chunks(self.reader)
        return await self.reader.read()
