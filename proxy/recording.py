"""Records what calls send and are answered, and reads it back. What a record is: `core.recording`.

Theory of operation. A request is recorded when its hold is: then it is known which earlier requests
of its session are committed. What is large is prepared on a thread before; what it was told by then
may be older than it had to be, which costs size and nothing else. An answer is recorded with its
settlement. Between the two, and between calls of one history, this process keeps what was recorded
last as a window for the next; a process that has none begins a new one.
"""

import asyncio
from collections import OrderedDict

import msgspec
from msgspec.structs import replace

from proxy.core.checkpoints import Checkpoints
from proxy.core.marks import IN_CLEAR, NOTHING_KEPT, Mark, Recorded, pack
from proxy.core.recording import (
    BY_REQUEST,
    MOST_DEPTH,
    UNPRIMED,
    VERSION,
    WINDOW_BYTES,
    Answered,
    Basis,
    Laid,
    Window,
    chain_of,
    deflated,
    digest_of,
    encode,
    find,
    grown,
    laid_of,
    told_by,
)
from proxy.core.request import Request
from proxy.sealing import Sealer, Sealing
from proxy.stores import Content, answer_name, request_name

AT_ONCE_BYTES = 65_536
"""More than this is deflated on a thread: 3 ms hold every stream up."""
ANSWER_BYTES = 8 * 1024 * 1024
"""Larger answers are not kept."""
_WINDOWS_BYTES = 64 * 1024 * 1024


class Kept(msgspec.Struct, frozen=True, gc=False):
    """What is kept of a request or an answer, and what its event says of that. chain: of a
    request, see `core.recording.chain_of`."""

    mark: bytes = b""
    content: Content | None = None
    chain: bytes = b""


class Given(msgspec.Struct, frozen=True, gc=False):
    """An answer as its client was given it, but for our own headers and the names of the request.
    body: content-encoded as `headers` say; of a stream all its events."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    stream: bool = False


NOT_KEPT = Kept()
_encode_headers = msgspec.msgpack.Encoder().encode


class Windows:
    """By call id, up to so many bytes of them; the oldest go first."""

    def __init__(self, capacity_bytes: int = _WINDOWS_BYTES) -> None:
        self._most = max(capacity_bytes // WINDOW_BYTES, 1)
        self._windows: OrderedDict[str, Window] = OrderedDict()

    def get(self, call_id: str) -> Window | None:
        return self._windows.get(call_id)

    def put(self, call_id: str, window: Window) -> None:
        self._windows[call_id] = window
        self._windows.move_to_end(call_id)
        if len(self._windows) > self._most:
            self._windows.popitem(last=False)


class Recording(msgspec.Struct, eq=False):
    """The request of one call, to be recorded. ahead: what was prepared on a thread."""

    recorder: "Recorder"
    call_id: str
    request: Request
    body: bytes
    checkpoints: Checkpoints
    ahead: Kept = NOT_KEPT
    basis: str = ""

    @property
    def is_large(self) -> bool:
        return len(self.body) > AT_ONCE_BYTES

    async def prepare(self, recorded: Recorded) -> None:
        """For a large body: what may take long. recorded: of its session, as far as is known."""
        self.basis, self.ahead = await self.recorder.prepared(self, recorded)

    def keep(self, recorded: Recorded) -> Kept:
        """What to write with its hold, at once. recorded: that of the state it is held on."""
        if self.ahead is not NOT_KEPT:
            if not self.basis or any(call_id == self.basis for call_id, _ in recorded):
                return self.ahead
            return NOT_KEPT  # its session has begun anew, this very moment
        return self.recorder.request(self, recorded)


class Recorder:
    """One for each process. seed: the same in all processes that share a ledger."""

    def __init__(self, seed: int, sealing: Sealing) -> None:
        self._seed = seed
        self._sealing = sealing
        self.windows = Windows()

    def recording(
        self, call_id: str, request: Request, body: bytes, checkpoints: Checkpoints
    ) -> Recording | None:
        """None where nothing is kept."""
        if checkpoints.content == "off":
            return None
        return Recording(self, call_id, request, body, checkpoints)

    def request(self, one: Recording, recorded: Recorded) -> Kept:
        """Records a request."""
        sealer = self._sealing.of(one.checkpoints)
        laid = laid_of(one.request, one.body)
        key = IN_CLEAR if sealer is None else sealer.name
        basis, mark = find(one.body, laid, recorded, self._seed, key)
        return self._told(one, laid, basis, mark, sealer)

    async def prepared(self, one: Recording, recorded: Recorded) -> tuple[str, Kept]:
        """The same for a large body, with the call that it is told by."""
        sealer = self._sealing.of(one.checkpoints)
        laid = laid_of(one.request, one.body)
        key = IN_CLEAR if sealer is None else sealer.name
        basis, mark = find(one.body, laid, recorded, self._seed, key)
        new = len(one.body) - basis.kept - mark.tail_bytes * basis.tail
        if new <= AT_ONCE_BYTES:
            return basis.base, self._told(one, laid, basis, mark, sealer)
        kept = await asyncio.to_thread(self._told, one, laid, basis, mark, sealer)
        return basis.base, kept

    def _told(
        self, one: Recording, laid: Laid, basis: Basis, mark: Mark, sealer: Sealer | None
    ) -> Kept:
        chain = chain_of(one.request)
        if one.checkpoints.content == "hashes":
            return Kept(pack(mark), None, chain)
        window = self.windows.get(basis.base) if basis.base else None
        told, after = told_by(one.body, laid, basis, window)
        content = _content(request_name(one.call_id), encode(told), sealer)
        self.windows.put(one.call_id, after)
        return Kept(pack(replace(mark, digest=digest_of(content.data))), content, chain)

    def answer(self, call_id: str, given: Given, checkpoints: Checkpoints) -> tuple[Kept, Window]:
        """Records an answer; the window is for `windows`, once it is committed."""
        head = _encode_headers(given.headers)
        literal = head + given.body
        window = self.windows.get(call_id)
        if window is None or window.depth >= MOST_DEPTH:
            primed, data = UNPRIMED, deflated(literal)
            after = Window(literal[-WINDOW_BYTES:], 0, answered=True)
        else:
            primed, data = BY_REQUEST, deflated(literal, window.data)
            after = Window(grown(window.data, literal), window.depth + 1, answered=True)
        record = Answered(VERSION, primed, given.status, given.stream, len(head), data)
        content = _content(answer_name(call_id), encode(record), self._sealing.of(checkpoints))
        return Kept(digest_of(content.data), content), after


def _content(name: str, data: bytes, sealer: Sealer | None) -> Content:
    return Content(name, data if sealer is None else sealer.seal(name, data))


def is_kept(mark: bytes) -> bool:
    """Whether an event's `content` says that there is something to read back."""
    return bool(mark) and not mark.startswith(NOTHING_KEPT)
