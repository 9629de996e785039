"""Whether a session is as it was written, and if not, which event is the first that is not, and
what became of it. Pure.

A chain says only that something is wrong from an event on. What is there tells more: an event whose
neighbours still chain on it was altered itself; one that chains at another place was moved; where
the events behind chain further on than they stand, one is missing.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from proxy.core.contents import contents_of
from proxy.core.fingerprints import DIGEST_BYTES, is_kept
from proxy.core.session import SessionKey
from proxy.errors import UNREADABLE
from proxy.stores import Hold, SessionHead
from proxy.stores.chain import Chain, ChainedPayload, prefix_of
from proxy.stores.codec import decode_event
from proxy.stores.tombstones import begins_after

What = Literal[
    "altered",
    "deleted",
    "inserted",
    "swapped",
    "cut",
    "tip altered",
    "vanished",
    "rewritten",
    "hold altered",
    "hold deleted",
    "hold inserted",
    "listing altered",
]

_MOST_DELETED = 64
"""How many events may be missing where the rest was numbered anew, for that to be found out."""


class Fault(msgspec.Struct, frozen=True, gc=False):
    """The first thing in a session that is not as it was written. seq, kind: of the event, kind ""
    where it is not there any more. detail: a sentence."""

    key: SessionKey
    seq: int
    kind: str
    what: What
    detail: str


class SessionLog(msgspec.Struct, frozen=True, gc=False):
    """A session as a store has it. rows: in the order of their seq. tip: (seq, chain) where the
    store says that the log ends. contents: the digest of each by its name
    (`recording.digest_of`).
    head, holds: what its listing shows and what its open calls hold; None where that is not asked.
    odd: what of its row contradicts itself, a sentence."""

    key: SessionKey
    rows: Sequence[ChainedPayload]
    tip: tuple[int, bytes]
    contents: Mapping[str, bytes]
    head: SessionHead | None = None
    holds: Mapping[str, Hold] | None = None
    odd: str = ""


class _Tag(msgspec.Struct):
    type: str = ""


_decode_tag = msgspec.json.Decoder(_Tag).decode


def first_fault(chain: Chain, log: SessionLog) -> Fault | None:
    """None: events, their order, their end and what is kept beside them are as they were."""
    rows = log.rows
    if not rows:
        return _at_tip(log, 0, b"")
    walk = _Walk(chain, log)
    broken = walk.broken()
    if broken is not None:
        return walk.explained(*broken)
    end = rows[-1]
    if log.tip != (end.seq, end.chain):
        return _at_tip(log, end.seq, end.chain)
    return _in_contents(log)


def fault_against(log: SessionLog, seq: int, chain: bytes) -> Fault | None:
    """What is wrong of a log that verifies, by a head that was kept outside."""
    start, ends_at = begins_after(log.rows[0]) if log.rows else (0, b""), log.tip[0]
    if ends_at < seq:
        detail = f"its log ends at event {ends_at}, but had {seq} when its head was kept outside"
        return Fault(log.key, ends_at + 1, "", "cut", detail)
    if seq < start[0]:
        return None  # deleted since then, which the tombstone says
    known = start[1] if seq == start[0] else log.rows[seq - log.rows[0].seq].chain
    if known == chain:
        return None
    kind = "" if seq == start[0] else kind_of(log.rows[seq - log.rows[0].seq].payload)
    detail = f"event {seq} is not the one whose head was kept outside: the log was written anew"
    return Fault(log.key, seq, kind, "rewritten", detail)


def kind_of(payload: bytes) -> str:
    """The name of an event; "unreadable" where it is none."""
    try:
        return _decode_tag(payload).type or "unreadable"
    except UNREADABLE:
        return "unreadable"


class _Walk:
    """Along one log."""

    def __init__(self, chain: Chain, log: SessionLog) -> None:
        self._after = chain.after
        self._prefix = prefix_of(log.key)
        self._key = log.key
        self._rows = log.rows

    def broken(self) -> tuple[int, int, bytes] | None:
        """The first row that is not the event that belongs there: its index, the seq that belongs
        there, and what that is chained on."""
        after, prefix = self._after, self._prefix
        seq, previous = begins_after(self._rows[0])
        for at, row in enumerate(self._rows):
            seq += 1
            if row.seq != seq or after(previous, prefix, seq, row.payload) != row.chain:
                return at, seq, previous
            previous = row.chain
        return None

    def explained(self, at: int, seq: int, previous: bytes) -> Fault:
        """See `broken`."""
        row = self._rows[at]
        moved = self._moved(at, seq, previous)
        if moved is not None:
            return moved
        missing = self._missing(at, seq)
        if missing:
            last = seq + missing - 1
            names = f"event {seq} is" if last == seq else f"events {seq} to {last} are"
            before = kind_of(self._rows[at - 1].payload) if at else "the beginning"
            detail = f"{names} missing, between {before} and {kind_of(row.payload)}"
            return Fault(self._key, seq, "", "deleted", detail)
        return self._fault(at, seq, "altered", self._of_altered(at, seq, previous))

    def _moved(self, at: int, seq: int, previous: bytes) -> Fault | None:
        """Where the event that belongs there stands elsewhere."""
        stands = self._rows[at]
        for place in range(at + 1, len(self._rows)):
            row = self._rows[place]
            chained = self._after(previous, self._prefix, seq, row.payload)
            if chained == stands.chain:  # their chain values stayed where they were
                return self._fault(at, seq, "swapped", f"it was swapped with event {row.seq}")
            if chained == row.chain:
                if self._is_swap(at, place, seq):
                    return self._fault(at, seq, "swapped", f"it was swapped with event {row.seq}")
                return self._fault(at, seq, "inserted", "it was put there: the next ones follow on")
        return None

    def _is_swap(self, at: int, place: int, seq: int) -> bool:
        """Whether what stands at `at` belongs to `place`, where the one stands that belongs to
        `at`; else something was put before that, and its own follower is still behind it."""
        rows = self._rows
        if place + 1 < len(rows) and self._follows(rows[place].chain, seq + 1, rows[place + 1]):
            return False
        behind = rows[place] if place == at + 1 else rows[place - 1]
        return self._follows(behind.chain, seq + place - at, rows[at])

    def _missing(self, at: int, seq: int) -> int:
        """How many events are missing before the row; 0 where none is, for all that is known."""
        row = self._rows[at]
        if row.seq > seq:
            return row.seq - seq
        if at + 1 < len(self._rows):
            for missing in range(1, _MOST_DELETED):
                if self._follows(row.chain, seq + missing + 1, self._rows[at + 1]):
                    return missing
        return 0

    def _of_altered(self, at: int, seq: int, previous: bytes) -> str:
        row = self._rows[at]
        if at + 1 == len(self._rows):
            return "it is not what was chained there: it was altered, or put there"
        after = self._rows[at + 1]
        if self._follows(row.chain, seq + 1, after):
            return "its content was altered: the events behind it follow on what it was"
        if self._follows(self._after(previous, self._prefix, seq, row.payload), seq + 1, after):
            return "its chain value was altered, its content was not"
        return "it is not what was chained there"

    def _follows(self, previous: bytes, seq: int, row: ChainedPayload) -> bool:
        return self._after(previous, self._prefix, seq, row.payload) == row.chain

    def _fault(self, at: int, seq: int, what: What, detail: str) -> Fault:
        return Fault(self._key, seq, kind_of(self._rows[at].payload), what, detail)


def _at_tip(log: SessionLog, seq: int, chain: bytes) -> Fault | None:
    """Of a log whose events all verify, but end elsewhere than the store says."""
    said = log.tip[0]
    if said > seq:
        names = f"event {said} is" if said == seq + 1 else f"events {seq + 1} to {said} are"
        return Fault(log.key, seq + 1, "", "cut", f"{names} missing at its end")
    if not log.rows:
        return None
    kind = kind_of(log.rows[-1].payload)
    detail = f"the log ends with event {seq}, but the session's row says {said} or another end"
    return Fault(log.key, seq, kind, "tip altered", detail)


def _in_contents(log: SessionLog) -> Fault | None:
    """What is kept beside the events is what they tell of, and no more."""
    told: set[str] = set()
    for row in log.rows:
        if b'"content"' not in row.payload and b'"answer"' not in row.payload:
            continue
        for name, digest in _contents_of(row.payload):
            told.add(name)
            found = log.contents.get(name)
            if found != digest:
                what: What = "deleted" if found is None else "altered"
                detail = f"{_named(name)} {'is missing' if found is None else 'was altered'}"
                return Fault(log.key, row.seq, kind_of(row.payload), what, detail)
    for name in log.contents:
        if name not in told:
            detail = f"no event tells of {_named(name)}: it was put there, or events were cut"
            return Fault(log.key, log.tip[0], "", "inserted", detail)
    return None


def _contents_of(payload: bytes) -> list[tuple[str, bytes]]:
    """Names and digests of what an event says is kept."""
    told = contents_of(decode_event(payload))
    return [(name, said[:DIGEST_BYTES]) for name, said in told if is_kept(said)]


def _named(name: str) -> str:
    """A content, in words."""
    call_id, _, kind = name.rpartition(".")
    return f"what call {call_id} {'was answered' if kind == 'a' else 'sent'}"
