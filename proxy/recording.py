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
from proxy.core.kept import NOT_KEPT, Content, Kept
from proxy.core.marks import IN_CLEAR, NOTHING_KEPT, Mark, Recorded, pack
from proxy.core.recording import (
    WINDOW_BYTES,
    Basis,
    Laid,
    Window,
    chain_of,
    digest_of,
    encode,
    find,
    laid_of,
    told_by,
)
from proxy.core.request import Request
from proxy.sealing import Sealer, Sealing
from proxy.stores import answer_name, request_name
from proxy.taking import AT_ONCE_BYTES, Room, Taking

_WINDOWS_BYTES = 64 * 1024 * 1024


class Taken(msgspec.Struct, frozen=True, gc=False):
    """An answer's record: what its event says of it, and the window for `Windows`, once it is
    committed."""

    mark: bytes
    content: Content
    after: Window


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
        self._room = Room()
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

    def taking(self, call_id: str, checkpoints: Checkpoints) -> Taking | None:
        """Takes the answer of a call down whose request was recorded; None where it is not kept."""
        if checkpoints.content != "full":
            return None
        return Taking(self._room, self.windows.get(call_id))

    def answer(self, call_id: str, taking: Taking, checkpoints: Checkpoints) -> Taken:
        """Records an answer that was taken down."""
        record, after = taking.end()
        content = _content(answer_name(call_id), encode(record), self._sealing.of(checkpoints))
        return Taken(digest_of(content.data), content, after)


def _content(name: str, data: bytes, sealer: Sealer | None) -> Content:
    return Content(name, data if sealer is None else sealer.seal(name, data))


def is_kept(mark: bytes) -> bool:
    """Whether an event's `content` says that there is something to read back."""
    return bool(mark) and not mark.startswith(NOTHING_KEPT)
