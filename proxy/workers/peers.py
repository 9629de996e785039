"""The other processes on a ledger, spoken to; here, through sockets beside it.

Theory of operation. Each process listens on a Unix socket in the folder of `Owners`. Whoever has
something to say looks who is there, connects to each, says one message and reads its answer: frames
of a length and so many bytes, until the other closes. Nothing is kept between two messages, so
there is nobody to lose sight of; one who died refuses the connection. The folder is its user's own,
and so is what is said there.
"""

import asyncio
import logging
import os
import socket
import struct
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Protocol

import msgspec

from proxy.errors import StoreUnavailable
from proxy.workers.messages import Message, decode_message
from proxy.workers.owners import FolderOwners, socket_of

log = logging.getLogger(__name__)

ANSWER_SECONDS = 1.0
_MOST_BYTES = 16 * 1024 * 1024
_LONGEST_ADDRESS = 100
_LENGTH = struct.Struct(">I")

Hear = Callable[[Message], AsyncGenerator[bytes, None]]
"""Answers a message in frames; closed early where the asker has gone."""


class Peers(Protocol):
    """The other processes on a ledger, as one of them speaks to them."""

    async def listen(self, hear: Hear) -> None:
        """From now on others are heard. Raises StoreUnavailable."""

    async def close(self) -> None: ...

    def others(self) -> list[str]:
        """Every other process on the ledger."""

    def crew(self) -> list[str]:
        """The other workers of this `serve`."""

    def fleet(self) -> list[str]:
        """Those that are one gateway with this process: under one policy, behind one address."""

    async def ask(self, message: Message, whom: list[str]) -> dict[str, bytes]:
        """The answers of those that gave one in time (an empty one where they just closed)."""

    def follow(self, name: str, message: Message) -> AsyncGenerator[bytes, None]:
        """The frames of an answer of one of the crew. Raises OSError where nobody is there."""


class FolderPeers:
    """By sockets in the folder of owners. crew: the prefix of all workers' names."""

    def __init__(self, owners: FolderOwners, crew: str) -> None:
        self._owners = owners
        self._crew = crew
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def listen(self, hear: Hear) -> None:
        """From now on others are heard. Raises StoreUnavailable."""
        folder = self._owners.folder
        if folder is None:
            return

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
            await _answer(reader, writer, hear)

        listening = socket.socket(socket.AF_UNIX)
        try:
            with _address(folder, self._owners.name) as address:
                listening.bind(address)
            self._server = await asyncio.start_unix_server(serve, sock=listening)
        except OSError as error:
            listening.close()
            raise StoreUnavailable(
                f"{folder}: no socket can be made there ({error.strerror}): put the ledger on a "
                "local disk"
            ) from error

    async def close(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for task in tuple(self._serving):
            task.cancel()
        if self._serving:
            await asyncio.wait(tuple(self._serving))

    def others(self) -> list[str]:
        """Every other process on the ledger."""
        return self._owners.others()

    def crew(self) -> list[str]:
        """The other workers of this `serve`."""
        return [name for name in self.others() if name.startswith(f"{self._crew}.")]

    def fleet(self) -> list[str]:
        """As the crew: another sidecar on the ledger may have another policy."""
        return self.crew()

    async def ask(self, message: Message, whom: list[str]) -> dict[str, bytes]:
        """As in `Peers`."""
        said = await asyncio.gather(*(self._ask(name, message) for name in whom))
        answers = zip(whom, said, strict=True)
        return {name: answer for name, answer in answers if answer is not None}

    async def _ask(self, name: str, message: Message) -> bytes | None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS), aclosing(self.follow(name, message)) as it:
                return await anext(it, b"")
        except TimeoutError:
            log.warning("another process does not answer", extra={"owner": name})
        except OSError:
            log.debug("another process has gone", extra={"owner": name})
        return None

    async def follow(self, name: str, message: Message) -> AsyncGenerator[bytes, None]:
        """The frames of an answer, as they come. Raises OSError where nobody is there."""
        folder = self._owners.folder
        assert folder is not None
        to = socket.socket(socket.AF_UNIX)
        to.setblocking(False)
        try:
            with _address(folder, name) as address:
                to.connect(address)  # done at once, or refused
            reader, writer = await asyncio.open_unix_connection(sock=to)
        except OSError:
            to.close()
            raise
        try:
            writer.write(_frame(msgspec.msgpack.encode(message)))
            while (frame := await _read(reader)) is not None:
                yield frame
        finally:
            writer.close()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hear: Hear) -> None:
    """Until all is said, or the asker has gone: it says nothing after its message."""
    try:
        frame = await _read(reader)
        if frame is None:
            return
        saying = asyncio.ensure_future(_say(writer, hear(decode_message(frame))))
        gone = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({saying, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            saying.cancel()
            gone.cancel()
            await asyncio.wait({saying, gone})
        if not saying.cancelled():
            saying.result()
    except (OSError, msgspec.DecodeError) as error:
        log.debug("another process was not answered", extra={"reason": str(error)})
    finally:
        writer.close()


async def _say(writer: asyncio.StreamWriter, frames: AsyncGenerator[bytes, None]) -> None:
    async with aclosing(frames):
        async for frame in frames:
            writer.write(_frame(frame))
            await writer.drain()


def _frame(payload: bytes) -> bytes:
    return _LENGTH.pack(len(payload)) + payload


async def _read(reader: asyncio.StreamReader) -> bytes | None:
    """The next frame; None at the end. Raises OSError."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        if length > _MOST_BYTES:
            raise OSError(f"a frame of {length} bytes")
        return await reader.readexactly(length)
    except asyncio.IncompleteReadError:
        return None


@contextmanager
def _address(folder: Path, name: str) -> Iterator[str]:
    """The socket's path; by way of its open folder where it is longer than the kernel takes."""
    path = str(folder / socket_of(name))
    if len(os.fsencode(path)) <= _LONGEST_ADDRESS:
        yield path
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{socket_of(name)}"
    finally:
        os.close(descriptor)
