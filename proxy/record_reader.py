"""Reads a session's contents, record by record: what one needs is mostly the line before it.

Theory of operation. A record is inflated with the window of the one that it goes on from, and a
body is its base's and more. Whoever reads a session from its beginning to its end, as a replay
does, finds both at hand: they are kept from one reading to the next, the newest up to so many
bytes, so that each takes the one record that is new. What is missing is named (`Wanted`), and read
from the store: with it come the records that it likely has for bases, as the fingerprints in the
log say.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Mapping
from typing import TypeVar

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
from proxy.errors import ContentMissing
from proxy.sealing import Sealing
from proxy.stores import answer_name, request_name

T = TypeVar("T")
KEPT_BYTES = 16 * 1024 * 1024
"""Of the bodies that one session's next ones may go on from."""
_WINDOWS = 64
_BODIES = 16


class Wanted(Exception):
    """The contents of this call are needed, and were not read."""

    def __init__(self, call_id: str) -> None:
        super().__init__(call_id)
        self.call_id = call_id


class RecordReader:
    """Of one session, for as long as its log is the same one. Any number of threads may read, one
    at a time. contents: all that there are; None: they come bit by bit (`add`)."""

    def __init__(self, sealing: Sealing, contents: Mapping[str, bytes] | None = None) -> None:
        self._sealing = sealing
        self._is_whole = contents is not None
        self._contents: dict[str, bytes] = dict(contents or {})
        self._asked: set[str] = set()
        self._deltas: dict[str, RequestDelta] = {}
        self._literals: dict[str, bytes] = {}
        self._deep = 0
        self._windows: OrderedDict[str, bytes] = OrderedDict()
        self._bodies: OrderedDict[str, Body] = OrderedDict()
        self._reading = threading.Lock()

    @property
    def size_bytes(self) -> int:
        """About what is kept for the next reading, or by one that was given up."""
        bodies = sum([len(body.listed) for body in [*self._bodies.values()]])
        read = [*self._contents.values(), *self._literals.values()]
        return bodies + WINDOW_BYTES * len(self._windows) + sum(map(len, read))

    def begin(self) -> None:
        """A reading begins. One that was given up may have left what was there by then, and what
        was not."""
        if self._asked and self.is_free:
            self._forget()

    def add(self, names: Iterable[str], contents: Mapping[str, bytes]) -> None:
        """What the store has of these names."""
        self._asked.update(names)
        self._contents.update(contents)

    @property
    def is_free(self) -> bool:
        """Whether no thread reads: one may, for somebody who has given up."""
        return not self._reading.locked()

    def lacks(self, names: Iterable[str]) -> list[str]:
        """Those that were not asked for yet."""
        return [name for name in names if name not in self._asked]

    def has_window(self, name: str) -> bool:
        """Whether what is primed with it can be read without it."""
        return name in self._windows

    def read(self, read: "Callable[[RecordReader], T]") -> T:
        """What that makes of the contents. Raises Wanted, and what it raises."""
        with self._reading:
            self._deep = 0
            try:
                result = read(self)
            except Wanted:
                raise  # what was read so far will be of use
            except BaseException:
                self._forget()
                raise
            self._forget()
            return result

    def _forget(self) -> None:
        """All but what the next reading will go on from."""
        if self._is_whole:
            return
        for read in (self._contents, self._asked, self._deltas, self._literals):
            read.clear()
        kept_bytes = 0
        for call_id in reversed([*self._bodies]):
            kept_bytes += len(self._bodies[call_id].listed)
            if kept_bytes > KEPT_BYTES:
                del self._bodies[call_id]

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
        self._bodies.move_to_end(call_id)
        if len(self._bodies) > _BODIES:
            self._bodies.popitem(last=False)
        return body

    def literal(self, call_id: str) -> bytes:
        """What the record of a request gives."""
        literal = self._literals.get(call_id)
        return self._request(call_id)[0] if literal is None else literal

    def answer(self, call_id: str) -> tuple[PackedAnswer, bytes]:
        """The record of an answer, and what it gives."""
        name = answer_name(call_id)
        record = _readable(decode_answer, name, self._opened(name))
        window = b""
        if record.primed != UNPRIMED:
            known = self._windows.get(request_name(call_id))
            window = self._request(call_id)[1] if known is None else known
        literal = _readable(inflated, name, record.deflated, window)
        self._keep(name, window, literal)
        return record, literal

    def _request(self, call_id: str) -> tuple[bytes, bytes]:
        """What the record of a request gives, and the window after it."""
        delta, name = self.delta(call_id), request_name(call_id)
        window = b"" if delta.primed == UNPRIMED else self._before(delta)
        literal = _readable(inflated, name, delta.deflated, window)
        self._literals[call_id] = literal
        return literal, self._keep(name, window, literal)

    def _before(self, delta: RequestDelta) -> bytes:
        """The window that a request's record was primed with."""
        base = delta.base
        by_answer = delta.primed == BY_ANSWER
        name = answer_name(base) if by_answer else request_name(base)
        if (known := self._windows.get(name)) is not None:
            return known
        self._deep += 1
        if self._deep > 2 * MOST_DEPTH:  # no ledger of ours lets so many stand in a row
            raise ContentMissing(f"{name} is told by too many others")
        if by_answer:
            self.answer(base)
        else:
            self._request(base)
        self._deep -= 1
        return self._windows[name]

    def _keep(self, name: str, window: bytes, literal: bytes) -> bytes:
        """The window after a record, for the ones that were primed with it."""
        after = grown(window, literal) if window else literal[-WINDOW_BYTES:]
        self._windows[name] = after
        self._windows.move_to_end(name)
        if len(self._windows) > _WINDOWS:
            self._windows.popitem(last=False)
        return after

    def _stored(self, name: str) -> bytes:
        data = self._contents.get(name)
        if data is None:
            if not self._is_whole and name not in self._asked:
                raise Wanted(name.rpartition(".")[0])
            raise ContentMissing(f"{name} is gone from the ledger")
        return data

    def _opened(self, name: str) -> bytes:
        return self._sealing.opened(name, self._stored(name))


def _readable(read: Callable[..., T], name: str, *data: bytes) -> T:
    try:
        return read(*data)
    except ValueError as error:
        raise ContentMissing(f"{name} cannot be read: {error}") from error
