"""Reads back what `recording` has kept: the bodies and answers of a session's steps.

For one body all of a session is read at once: what it needs is mostly the whole line before it. Who
reads many of one session keeps a `RecordReader`, and reads each record once."""

import asyncio
import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

import msgspec

from proxy.core.contents import RecordedAnswer
from proxy.core.fingerprints import is_kept, unpack
from proxy.core.policy import Policy
from proxy.core.session import SessionKey
from proxy.core.steps import RecordedStep
from proxy.errors import UNREADABLE, ContentMissing, StoreUnavailable
from proxy.record_reader import RecordReader, Wanted
from proxy.recording import Recorder
from proxy.sealing import Sealing
from proxy.stores import Store, answer_name, request_name

T = TypeVar("T")
_AT_ONCE_BYTES = 4_096
"""As stored: so little is inflated on the event loop, a hundred times that at the most of text."""
_AHEAD = (16, 64, 256)
"""So many records are asked for together, where it is not known how many it takes."""
_decode_headers = msgspec.msgpack.Decoder(tuple[tuple[str, str], ...]).decode


class InForce(Protocol):
    """Where the policy in force is read."""

    @property
    def current(self) -> Policy: ...


def build_recording(
    store: Store, key: bytes, env: Mapping[str, str], policy: InForce
) -> tuple[Recorder, "Contents"]:
    """What writes and what reads, of one process. key: of the ledger's chain."""
    seed, sealing = seed_of(key), Sealing(env, lambda: policy.current.checkpoints)
    contents = Contents(store, seed, sealing)
    return Recorder(seed, sealing, contents.list_of), contents


def seed_of(key: bytes) -> int:
    """Of the hashes in fingerprints, the same for all who share a ledger."""
    return int.from_bytes(hmac.digest(key, b"contents", "sha256")[:8])


class Line:
    """What was read of a session, for who goes on with it. base_of: the call that one is likely
    told by, "" for none: as the fingerprints in its log say."""

    def __init__(self, reader: RecordReader, base_of: Callable[[str], str]) -> None:
        self.reader = reader
        self._base_of = base_of

    def towards(self, call_id: str, most: int) -> list[str]:
        """The contents of a call, and of those before it."""
        line: dict[str, None] = {}
        while call_id and call_id not in line and len(line) < most:
            line[call_id] = None
            call_id = self._base_of(call_id)
        return [name for one in line for name in (request_name(one), answer_name(one))]


class Contents:
    """Those of one store."""

    def __init__(self, store: Store, seed: int, sealing: Sealing) -> None:
        self._store = store
        self._seed = seed
        self._sealing = sealing

    def reader(self) -> RecordReader:
        """For one who will read many of a session's."""
        return RecordReader(self._sealing)

    async def body_of(self, key: SessionKey, step: RecordedStep) -> bytes:
        """What the call sent, byte for byte, without its content-encoding.

        Raises ContentMissing and StoreUnavailable."""
        return (await self.bodies_of(key, (step,)))[step.call_id]

    async def bodies_of(
        self, key: SessionKey, steps: Sequence[RecordedStep], line: "Line | None" = None
    ) -> Mapping[str, bytes]:
        """The same of several calls, by their ids. line: of who reads many."""
        return await self.made_of(key, steps, line, lambda step, body: body)

    async def made_of(
        self,
        key: SessionKey,
        steps: Sequence[RecordedStep],
        line: "Line | None",
        make: Callable[[RecordedStep, bytes], T],
    ) -> Mapping[str, T]:
        """What is made of each body, on a thread where it is much. Raises as `body_of`, and what
        that raises."""
        for step in steps:
            _check_kept(step.content, "request")

        def read(reader: RecordReader) -> Mapping[str, T]:
            return {step.call_id: make(step, self._body(reader, step)) for step in steps}

        names = [request_name(step.call_id) for step in steps]
        if len(steps) > 1:  # the answers are what the next requests were primed with
            names += [answer_name(step.call_id) for step in steps]
        return await self._read(key, line, names, read)

    async def answer_of(
        self, key: SessionKey, step: RecordedStep, line: "Line | None" = None
    ) -> RecordedAnswer:
        """What the call was answered. Raises as `body_of`."""
        _check_kept(step.answer, "answer")
        names = [answer_name(step.call_id)]
        if line is not None and not line.reader.has_window(request_name(step.call_id)):
            names.append(request_name(step.call_id))
        return await self._read(key, line, names, lambda reader: self._answer(reader, step))

    async def list_of(self, key: SessionKey, call_id: str) -> bytes | None:
        """The list of a call's body, without its bracket; None where it cannot be read back."""
        try:
            return await self._read(key, None, (), lambda read: bytes(read.body(call_id).listed))
        except (ContentMissing, StoreUnavailable):
            return None

    async def needed(self, key: SessionKey, call_ids: Iterable[str]) -> Mapping[str, bytes]:
        """All contents, as they are stored, that reading these calls back takes."""
        contents = await self._store.read_contents(key)
        reader = RecordReader(self._sealing, contents)
        needed, known = dict[str, bytes](), set[str]()
        for call_id in call_ids:
            for one in reader.line(call_id, known):
                known.add(one)
                for name in (request_name(one), answer_name(one)):
                    if name in contents:
                        needed[name] = contents[name]
        return needed

    async def _read(
        self,
        key: SessionKey,
        line: "Line | None",
        names: Sequence[str],
        read: Callable[[RecordReader], T],
    ) -> T:
        """names: contents that it takes for certain, of a line."""
        if line is None:
            reader = RecordReader(self._sealing, await self._store.read_contents(key))
            return await asyncio.to_thread(reader.read, read)
        reader, wanted, ahead = line.reader, list(names), iter(_AHEAD)
        reader.begin()
        while True:
            found = await self._store.read_contents(key, wanted)
            reader.add(wanted, found)
            try:
                if sum(map(len, found.values())) <= _AT_ONCE_BYTES and reader.is_free:
                    return reader.read(read)
                return await asyncio.to_thread(reader.read, read)
            except Wanted as one:
                wanted = reader.lacks(line.towards(one.call_id, next(ahead, _AHEAD[-1])))

    def _body(self, reader: RecordReader, step: RecordedStep) -> bytes:
        name = request_name(step.call_id)
        reader.check(name, step.content[:16])
        body, fingerprint = reader.body(step.call_id), unpack(step.content)
        if fingerprint is None or not body.is_of(fingerprint, self._seed):
            raise ContentMissing(
                f"{name} is not what was sent: it, or what it is told by, was altered"
            )
        return body.whole()

    def _answer(self, reader: RecordReader, step: RecordedStep) -> RecordedAnswer:
        name = answer_name(step.call_id)
        reader.check(name, step.answer)
        record, literal = reader.answer(step.call_id)
        try:
            headers = _decode_headers(literal[: record.head])
        except UNREADABLE as error:
            raise ContentMissing(f"{name} cannot be read: {error}") from error
        return RecordedAnswer(record.status, headers, literal[record.head :], record.stream)


def _check_kept(fingerprint: bytes, what: str) -> None:
    """Raises ContentMissing where its event says that nothing was."""
    if not is_kept(fingerprint):
        raise ContentMissing(
            f"the {what} was not kept: checkpoints.content was not full then, or it was too large"
        )
