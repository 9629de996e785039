"""A session of another ledger as this one would have it: its log chained under this key, nothing
open, and a last event that says where it came from. Pure.

What is in a file is believed as far as it can do no harm here: its events must be events, its
contents what their events say they are, its figures such as a ledger can hold. The log is no proof
of anything that was done here, and is charged to no account.
"""

from collections.abc import Iterator, Sequence
from math import isfinite

import msgspec

from proxy.core import events as ev
from proxy.core.contents import contents_of
from proxy.core.fingerprints import DIGEST_BYTES
from proxy.core.recording import digest_of
from proxy.core.session import SessionKey, SessionState, fold
from proxy.errors import MalformedRequest, StoreUnavailable
from proxy.stores import Content, SessionDump, SessionHead
from proxy.stores.chain import GENESIS, Chain, ChainedPayload, first_altered, prefix_of
from proxy.stores.codec import decode_event, encode_event
from proxy.stores.heads import head_of
from proxy.stores.queue import queued
from proxy.stores.tombstones import begins_after

_MOST_AHEAD_SECONDS = 86_400
"""By which another machine's clock may be ahead."""
_INT64 = 2**63


class Adopted(msgspec.Struct, frozen=True):
    """dump: to be restored under its new key. state: what its log comes to. expired: calls that
    were in flight when it was exported, each booked at all that it held."""

    dump: SessionDump
    state: SessionState
    expired: tuple[str, ...]


def adopted(dump: SessionDump, key: SessionKey, secret: bytes, now: float) -> Adopted:
    """The session as `key`. secret: this ledger's chain key. Takes some 10 ms for 1,000 events.

    Raises MalformedRequest for what no ledger can have written."""
    rows = list(dump.rows)
    events = [_event(row) for row in rows]
    begins = _newest_life(events)
    rows, events = rows[begins:], events[begins:]
    if not events:
        raise _refused("the session was deleted: there is nothing in it")
    _check_times(events, now)
    contents = _checked(dump.contents, events)
    state = fold(events)
    came = ev.SessionImported(at=now, chain=dump.chain, events=dump.seq, origin=dump.key.session)
    expired = tuple(state.held)
    new: tuple[ev.AnyEvent, ...] = (came, *[_expired(call_id, state, now) for call_id in expired])
    state = fold(new, start=state)
    payloads = [row.payload for row in rows] + [encode_event(event) for event in new]
    chained = tuple(_chained(payloads, key, Chain(secret)))
    head = queued(None, _head(state), [*events, *new])
    links = dump.links if key.session == dump.key.session else ()
    session = SessionDump(
        *(key, len(chained), chained[-1].chain, b"", msgspec.structs.replace(head, owed=())),
        *(chained, (), links, contents),
    )
    return Adopted(session, state, expired)


def is_of(dump: SessionDump, secret: bytes) -> bool:
    """Whether a ledger with this key has written the log, and nobody has changed it since."""
    if not dump.rows:
        return False
    start, head = begins_after(dump.rows[0]), (dump.seq, dump.chain)
    try:
        return first_altered(secret, dump.key, dump.rows, head, start) is None
    except OverflowError:  # a tombstone that tells of no log's length
        return False


def _event(row: ChainedPayload) -> ev.AnyEvent:
    """Its numbers must be such as every store and process holds: those of JSON have no end."""
    try:
        event = decode_event(row.payload)
        encode_event(event)
        msgspec.msgpack.encode(event)
    except (StoreUnavailable, ValueError, OverflowError) as error:
        why = f"event {row.seq} is none that this version of Holdfast knows"
        raise _refused(why) from error
    return event


def _newest_life(events: Sequence[ev.AnyEvent]) -> int:
    """Where the log begins that counts: after a deletion an id may have been used again."""
    for at in reversed(range(len(events))):
        if isinstance(events[at], ev.SessionDeleted):
            return at + 1
    return 0


def _check_times(events: Sequence[ev.AnyEvent], now: float) -> None:
    """What came from the future would never be idle, nor deleted."""
    for event in events:
        if not isfinite(event.at) or event.at > now + _MOST_AHEAD_SECONDS or event.at < 0:
            raise _refused(f"an event of it is of {event.at:.0f}, and it is {now:.0f} now")


def _checked(contents: Sequence[Content], events: Sequence[ev.AnyEvent]) -> tuple[Content, ...]:
    """Those that the log speaks of, each with the digest that it has there."""
    fingerprints = dict([one for event in events for one in contents_of(event)])
    kept = []
    for content in contents:
        fingerprint = fingerprints.get(content.name)
        if fingerprint is None:
            continue
        if fingerprint[:DIGEST_BYTES] != digest_of(content.data):
            raise _refused(f"content {content.name} is not what the log says it is")
        kept.append(content)
    return tuple(kept)


def _expired(call_id: str, state: SessionState, now: float) -> ev.StepSettled:
    """Nobody here will settle it: all that it held is booked in its session."""
    held = state.held[call_id]
    return ev.StepSettled(
        at=now,
        call_id=call_id,
        outcome="expired",
        status=0,
        cost_micro_usd=held.cost_micro_usd,
        tokens=held.tokens,
    )


def _chained(payloads: Sequence[bytes], key: SessionKey, chain: Chain) -> Iterator[ChainedPayload]:
    prefix, previous = prefix_of(key), GENESIS
    for at, payload in enumerate(payloads):
        previous = chain.after(previous, prefix, at + 1, payload)
        yield ChainedPayload(at + 1, payload, previous)


def _head(state: SessionState) -> SessionHead:
    head, extended = head_of(state), state.extended.values()
    figures = (head.generation, head.steps, head.tokens, head.cost_micro_usd, *extended)
    if not all(0 <= number < _INT64 for number in figures):
        raise _refused("its figures are such as no session has")
    return head


def _refused(why: str) -> MalformedRequest:
    return MalformedRequest(f"the export cannot be taken in: {why}", code="bad_export")
