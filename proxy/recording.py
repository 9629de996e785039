"""Records what calls send and are answered, and reads it back. What a record is: `core.recording`.

Theory of operation. A request is recorded when its hold is: then it is known which earlier requests
of its session are committed. What is large is prepared on a thread before; its base may then be
older than it had to be, which costs size and nothing else. An answer is recorded with its
settlement. Between the two, and between calls of one history, this process keeps what was recorded
last as a window for the next; a process that has none begins a new one.
"""

import asyncio
from collections import OrderedDict

import msgspec
from msgspec.structs import replace

from proxy.answer_capture import AT_ONCE_BYTES, AnswerCapture, Room
from proxy.core.checkpoints import Checkpoints
from proxy.core.contents import NOT_RECORDED, Content, RecordedContent
from proxy.core.fingerprints import IN_CLEAR, Fingerprint, Recorded, base_of, pack
from proxy.core.ranges import copied
from proxy.core.recording import (
    WINDOW_BYTES,
    Overlap,
    Span,
    Window,
    chain_of,
    delta_of,
    digest_of,
    encode,
    find,
    prefixes_of,
    span_of,
)
from proxy.core.request import Request
from proxy.core.session import SessionKey, SessionState
from proxy.deflating import deflated
from proxy.delta_bases import LEAST_DELTA_BYTES, DeltaBases, ListOf
from proxy.sealing import Sealer, Sealing
from proxy.stores import answer_name, request_name

_WINDOWS_BYTES = 64 * 1024 * 1024
_ANEW_BYTES = 4 * AT_ONCE_BYTES
"""So much is recorded at once where another process came first: that is rare, and takes 5 ms."""


class AnswerRecord(msgspec.Struct, frozen=True, gc=False):
    """An answer's record: what its event says of it, and the window for `Windows`, once it is
    committed."""

    digest: bytes
    content: Content
    after: Window


class Windows:
    """By call id, up to so many bytes of them; the oldest go first. With each goes the fingerprint
    of the request as this process has submitted it last, until it is answered: then nobody goes on
    from the one before it any more."""

    def __init__(self, capacity_bytes: int = _WINDOWS_BYTES) -> None:
        self._most = max(capacity_bytes // WINDOW_BYTES, 1)
        self._windows: OrderedDict[str, tuple[Window, bytes]] = OrderedDict()

    def get(self, call_id: str) -> Window | None:
        found = self._windows.get(call_id)
        return None if found is None else found[0]

    def fingerprint(self, call_id: str) -> bytes:
        """b"" where it is not known."""
        found = self._windows.get(call_id)
        return b"" if found is None else found[1]

    def forget(self, call_id: str) -> None:
        self._windows.pop(call_id, None)

    def put(self, call_id: str, window: Window, fingerprint: bytes) -> None:
        """Its request is submitted."""
        windows = self._windows
        windows[call_id] = (window, fingerprint)
        windows.move_to_end(call_id)
        if len(windows) > self._most:
            windows.popitem(last=False)

    def answered(self, call_id: str, window: Window) -> None:
        """Its answer is in the ledger, and so is its request, which stands in its base's place."""
        base = base_of(self.fingerprint(call_id))
        self.put(call_id, window, b"")
        if base and not self.fingerprint(base):  # else its own answer is still on its way
            self._windows.pop(base, None)


class Prepared(msgspec.Struct, frozen=True, gc=False):
    """What is kept of a request, and the window after it. base: the recorded request that it is a
    delta of, None for none; certain: that is in the ledger. Good only while its session is that
    one: in this generation, that began then."""

    kept: RecordedContent
    after: Window | None
    base: tuple[str, bytes] | None
    certain: bool
    generation: int
    created_at: float

    def is_of(self, state: SessionState) -> bool:
        """Whether it is of the session that is to be held on."""
        session = (state.generation, state.created_at)
        return self.base is None or (self.generation, self.created_at) == session

    def is_readable(self, state: SessionState, windows: Windows) -> bool:
        """Whether it can be read back, once it is held on this state: not where its base was
        refused by the store meanwhile, or was written otherwise than it had been submitted."""
        if self.base is None or self.certain or self.base in state.recorded:
            return True
        base, fingerprint = self.base  # another may have gone on from it
        return base in state.held and windows.fingerprint(base) == fingerprint


class Recording(msgspec.Struct, eq=False):
    """The request of one call, to be recorded. ahead: what was prepared."""

    recorder: "Recorder"
    key: SessionKey
    call_id: str
    request: Request
    body: bytes
    checkpoints: Checkpoints
    ahead: Prepared | None = None

    @property
    def is_large(self) -> bool:
        """Whether it may take more than an event loop has time for."""
        return len(self.body) > LEAST_DELTA_BYTES

    async def prepare(self, state: SessionState, *, written: bool) -> None:
        """For a large body. state: of its session, as its call will find it, as far as is known.
        written: all of it is in the ledger; else what this process submitted may be refused yet."""
        recorder, recorded = self.recorder, state.recorded
        ours: list[str] = []
        if not written:
            submitted = recorder.windows.fingerprint
            ours = [one for one, _ in recorded if one in state.held and submitted(one)]
        kept, after, base_id = await recorder.prepared(self, recorded)
        base = None
        for one in recorded:
            if one[0] == base_id:
                base = one
        began = state.created_at
        certain = base_id not in ours
        self.ahead = Prepared(kept, after, base, certain, state.generation, began)

    def keep(self, state: SessionState) -> RecordedContent:
        """What to write with its hold, at once. state: that it is held on."""
        ahead = self.ahead
        if ahead is None or not ahead.is_of(state):
            return self.recorder.request(self, state.recorded)
        if not ahead.is_readable(state, self.recorder.windows):
            return self.recorder.request(self, state.recorded, _ANEW_BYTES)
        if ahead.after is not None:
            self.recorder.windows.put(self.call_id, ahead.after, ahead.kept.fingerprint)
        return ahead.kept


class Recorder:
    """One for each process. seed: the same in all processes that share a ledger."""

    def __init__(self, seed: int, sealing: Sealing, list_of: ListOf) -> None:
        self._seed = seed
        self._sealing = sealing
        self._room = Room()
        self._delta_bases = DeltaBases(list_of)
        self.windows = Windows()

    def recording(
        self,
        key: SessionKey,
        call_id: str,
        request: Request,
        body: bytes,
        checkpoints: Checkpoints,
    ) -> Recording | None:
        """None where nothing is kept."""
        if checkpoints.content == "off":
            return None
        return Recording(self, key, call_id, request, body, checkpoints)

    def request(
        self, one: Recording, recorded: Recorded, most_bytes: int = AT_ONCE_BYTES
    ) -> RecordedContent:
        """Records a request, unless it is too much to be recorded at once."""
        sealer, span, overlap, fingerprint = self._found(one, recorded)
        if one.is_large and _given_bytes(fingerprint, overlap, ()) > most_bytes:
            self.windows.forget(one.call_id)
            return NOT_RECORDED
        kept, after = self._encoded(one, span, overlap, fingerprint, sealer)
        if after is not None:
            self.windows.put(one.call_id, after, kept.fingerprint)
        return kept

    async def prepared(
        self, one: Recording, recorded: Recorded
    ) -> tuple[RecordedContent, Window | None, str]:
        """For a large body: what is kept, the window after it, and the call that is its base."""
        sealer, span, overlap, fingerprint = self._found(one, recorded)
        ranges: tuple[int, ...] = ()
        if (
            fingerprint.list_bytes - overlap.kept > LEAST_DELTA_BYTES
            and one.checkpoints.content == "full"
        ):
            listed = one.body[span.start : span.end]
            if (
                found := await self._delta_bases.find(one.key, listed, recorded, fingerprint)
            ) is not None:
                overlap, ranges = found
                fingerprint = replace(fingerprint, base=overlap.base)
            self._delta_bases.keep(one.call_id, listed, fingerprint.base)
        known = (one, span, overlap, fingerprint, sealer, ranges)
        if _given_bytes(fingerprint, overlap, ranges) <= AT_ONCE_BYTES:
            kept, after = self._encoded(*known)
        else:
            kept, after = await asyncio.to_thread(self._encoded, *known)
        return kept, after, overlap.base

    def _found(
        self, one: Recording, recorded: Recorded
    ) -> tuple[Sealer | None, Span, Overlap, Fingerprint]:
        sealer = self._sealing.of(one.checkpoints)
        span = span_of(one.request, one.body)
        key = IN_CLEAR if sealer is None else sealer.name
        prefixes = prefixes_of(one.request, one.body)
        return sealer, span, *find(one.body, span, recorded, self._seed, key, prefixes)

    def _encoded(
        self,
        one: Recording,
        span: Span,
        overlap: Overlap,
        fingerprint: Fingerprint,
        sealer: Sealer | None,
        ranges: tuple[int, ...] = (),
    ) -> tuple[RecordedContent, Window | None]:
        """What is kept, and the window after it."""
        chain = chain_of(one.request)
        if one.checkpoints.content == "hashes":
            return RecordedContent(pack(fingerprint), None, chain), None
        window = self.windows.get(overlap.base) if overlap.base else None
        delta, after = delta_of(one.body, span, overlap, window, deflated, ranges)
        content = _content(request_name(one.call_id), encode(delta), sealer)
        packed = pack(fingerprint, digest_of(content.data))
        return RecordedContent(packed, content, chain), after

    def capture(self, call_id: str, checkpoints: Checkpoints) -> AnswerCapture | None:
        """Takes the answer of a call down whose request was recorded; None where it is not kept."""
        if checkpoints.content != "full":
            return None
        return AnswerCapture(self._room, self.windows.get(call_id))

    def answer(
        self, call_id: str, capture: AnswerCapture, checkpoints: Checkpoints
    ) -> AnswerRecord:
        """Records an answer that was taken down."""
        record, after = capture.end()
        content = _content(answer_name(call_id), encode(record), self._sealing.of(checkpoints))
        return AnswerRecord(digest_of(content.data), content, after)


def _given_bytes(fingerprint: Fingerprint, overlap: Overlap, ranges: tuple[int, ...]) -> int:
    """What of a body its record has to give, and not its base."""
    copies = copied(ranges) if ranges else overlap.kept
    framed_bytes = fingerprint.head_bytes * (not overlap.head) + fingerprint.tail_bytes * (
        not overlap.tail
    )
    return fingerprint.list_bytes - copies + framed_bytes


def _content(name: str, data: bytes, sealer: Sealer | None) -> Content:
    return Content(name, data if sealer is None else sealer.seal(name, data))
