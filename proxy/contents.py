"""Reads back what `recording` has kept: the bodies and answers of a session's steps.

All of a session is read at once: what one record needs is mostly the whole line before it."""

import asyncio
import hmac
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

import msgspec

from proxy.core.contents import RecordedAnswer
from proxy.core.fingerprints import is_kept, unpack
from proxy.core.policy import Policy
from proxy.core.rebuilding import Body, decode_answer, decode_delta, inflated
from proxy.core.recording import (
    BY_ANSWER,
    MOST_DEPTH,
    UNPRIMED,
    WINDOW_BYTES,
    PackedAnswer,
    RequestDelta,
    digest_of,
    grown,
)
from proxy.core.session import SessionKey
from proxy.core.steps import RecordedStep
from proxy.errors import ContentMissing, StoreUnavailable
from proxy.recording import Recorder
from proxy.sealing import Sealing
from proxy.stores import Store, answer_name, request_name

T = TypeVar("T")
_BODIES = 16
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


class Contents:
    """Those of one store."""

    def __init__(self, store: Store, seed: int, sealing: Sealing) -> None:
        self._store = store
        self._seed = seed
        self._sealing = sealing

    async def body_of(self, key: SessionKey, step: RecordedStep) -> bytes:
        """What the call sent, byte for byte, without its content-encoding.

        Raises ContentMissing and StoreUnavailable."""
        return (await self.bodies_of(key, (step,)))[step.call_id]

    async def bodies_of(
        self, key: SessionKey, steps: Sequence[RecordedStep]
    ) -> Mapping[str, bytes]:
        """The same of several calls, by their ids."""
        for step in steps:
            _check_kept(step.content, "request")
        reader = await self._reader(key)
        return await asyncio.to_thread(lambda: {s.call_id: self._body(reader, s) for s in steps})

    async def answer_of(self, key: SessionKey, step: RecordedStep) -> RecordedAnswer:
        """What the call was answered. Raises as `body_of`."""
        _check_kept(step.answer, "answer")
        reader = await self._reader(key)
        return await asyncio.to_thread(self._answer, reader, step)

    async def list_of(self, key: SessionKey, call_id: str) -> bytes | None:
        """The list of a call's body, without its bracket; None where it cannot be read back."""
        try:
            reader = await self._reader(key)
            return bytes((await asyncio.to_thread(reader.body, call_id)).listed)
        except (ContentMissing, StoreUnavailable):
            return None

    async def needed(self, key: SessionKey, call_ids: Iterable[str]) -> Mapping[str, bytes]:
        """All contents, as they are stored, that reading these calls back takes."""
        contents = await self._store.read_contents(key)
        reader = RecordReader(contents, self._sealing)
        needed, known = dict[str, bytes](), set[str]()
        for call_id in call_ids:
            for one in reader.line(call_id, known):
                known.add(one)
                for name in (request_name(one), answer_name(one)):
                    if name in contents:
                        needed[name] = contents[name]
        return needed

    async def _reader(self, key: SessionKey) -> "RecordReader":
        return RecordReader(await self._store.read_contents(key), self._sealing)

    def _body(self, reader: "RecordReader", step: RecordedStep) -> bytes:
        name = request_name(step.call_id)
        reader.check(name, step.content[:16])
        body, fingerprint = reader.body(step.call_id), unpack(step.content)
        if fingerprint is None or not body.is_of(fingerprint, self._seed):
            raise ContentMissing(
                f"{name} is not what was sent: it, or what it is told by, was altered"
            )
        return body.whole()

    def _answer(self, reader: "RecordReader", step: RecordedStep) -> RecordedAnswer:
        name = answer_name(step.call_id)
        reader.check(name, step.answer)
        record, literal = reader.answer(step.call_id)
        try:
            headers = _decode_headers(literal[: record.head])
        except msgspec.MsgspecError as error:
            raise ContentMissing(f"{name} cannot be read: {error}") from error
        return RecordedAnswer(record.status, headers, literal[record.head :], record.stream)


class RecordReader:
    """A session's contents while some of them are read. Used by one thread at a time."""

    def __init__(self, contents: Mapping[str, bytes], sealing: Sealing) -> None:
        self._contents = contents
        self._sealing = sealing
        self._deltas: dict[str, RequestDelta] = {}
        self._literals: dict[str, bytes] = {}
        self._windows: dict[str, bytes] = {}
        self._deep = 0
        self._bodies: OrderedDict[str, Body] = OrderedDict()

    def check(self, name: str, digest: bytes) -> None:
        """Raises ContentMissing where it is not what its event says."""
        if digest_of(self._stored(name)) != digest:
            raise ContentMissing(f"{name} was altered: its event tells of something else")

    def line(self, call_id: str, known: Container[str]) -> list[str]:
        """The calls that this one is told by, itself first, up to one that is known."""
        line: dict[str, None] = {}
        while call_id and call_id not in known:
            if call_id in line:
                raise ContentMissing(f"{request_name(call_id)} is told by itself")
            line[call_id] = None
            call_id = self.delta(call_id).base
        return [*line]

    def delta(self, call_id: str) -> RequestDelta:
        delta = self._deltas.get(call_id)
        if delta is None:
            name = request_name(call_id)
            delta = self._deltas[call_id] = _readable(decode_delta, name, self._opened(name))
        return delta

    def body(self, call_id: str) -> Body:
        """Of which the next ones of its history may be made; not to be changed."""
        line = self.line(call_id, self._bodies)
        at = self.delta(line[-1]).base if line else call_id
        body = self._bodies[at].copy() if at else Body()
        for one in reversed(line):
            literal = self.literal(one)
            try:
                body.apply(self._deltas[one], literal)
            except ValueError as error:
                raise ContentMissing(f"{request_name(one)} cannot be read: {error}") from error
        self._bodies[call_id] = body
        if len(self._bodies) > _BODIES:
            self._bodies.popitem(last=False)
        return body

    def literal(self, call_id: str) -> bytes:
        """What the record of a request gives."""
        literal = self._literals.get(call_id)
        if literal is None:
            delta, name = self.delta(call_id), request_name(call_id)
            window = b"" if delta.primed == UNPRIMED else self._before(delta)
            literal = _readable(inflated, name, delta.deflated, window)
            self._literals[call_id] = literal
            self._windows[request_name(call_id)] = _window(window, literal)
        return literal

    def answer(self, call_id: str) -> tuple[PackedAnswer, bytes]:
        """The record of an answer, and what it gives."""
        name = answer_name(call_id)
        record = _readable(decode_answer, name, self._opened(name))
        window = b""
        if record.primed != UNPRIMED:
            self.literal(call_id)
            window = self._windows[request_name(call_id)]
        literal = _readable(inflated, name, record.deflated, window)
        self._windows[name] = _window(window, literal)
        return record, literal

    def _before(self, delta: RequestDelta) -> bytes:
        """The window that a request's record was primed with."""
        base = delta.base
        by_answer = delta.primed == BY_ANSWER
        name = answer_name(base) if by_answer else request_name(base)
        if name not in self._windows:
            self._deep += 1
            if self._deep > 2 * MOST_DEPTH:  # no ledger of ours lets so many stand in a row
                raise ContentMissing(f"{name} is told by too many others")
            if by_answer:
                self.answer(base)
            else:
                self.literal(base)
            self._deep -= 1
        return self._windows[name]

    def _stored(self, name: str) -> bytes:
        data = self._contents.get(name)
        if data is None:
            raise ContentMissing(f"{name} is gone from the ledger")
        return data

    def _opened(self, name: str) -> bytes:
        return self._sealing.opened(name, self._stored(name))


def _window(window: bytes, literal: bytes) -> bytes:
    return grown(window, literal) if window else literal[-WINDOW_BYTES:]


def _check_kept(fingerprint: bytes, what: str) -> None:
    """Raises ContentMissing where its event says that nothing was."""
    if not is_kept(fingerprint):
        raise ContentMissing(
            f"the {what} was not kept: checkpoints.content was not full then, or it was too large"
        )


def _readable(read: Callable[..., T], name: str, *data: bytes) -> T:
    try:
        return read(*data)
    except ValueError as error:
        raise ContentMissing(f"{name} cannot be read: {error}") from error
