"""What a deleted session leaves: one event at the end of its chain.

Its log is gone, and with it what a chain could be recomputed from; so the tombstone says what it is
chained on. Whoever has no key can make none: it is authenticated as every event is. A later session
of the same id goes on behind it, so that a head that was kept outside still tells a log that was
cut from one that was deleted.
"""

from contextlib import suppress

from msgspec.structs import replace

from proxy.core.events import SessionDeleted
from proxy.core.session import SessionKey
from proxy.errors import SeqConflict, SessionBusy, StoreUnavailable
from proxy.stores import DELETED, DeletionReason, SessionHead
from proxy.stores.chain import GENESIS, Chain, ChainedPayload, prefix_of
from proxy.stores.codec import decode_event, encode_event
from proxy.stores.effects import Tip


def bury(
    chain: Chain, key: SessionKey, tip: Tip, at: float, reason: DeletionReason
) -> tuple[ChainedPayload, Tip]:
    """The tombstone of a session that ends so, and its tip afterwards. at: epoch seconds."""
    head = tip.head or SessionHead()
    event = SessionDeleted(
        at, reason=reason, events=tip.seq, chain=tip.chain, touched=head.updated_at
    )
    payload = encode_event(event)
    seq = tip.seq + 1
    row = ChainedPayload(seq, payload, chain.after(tip.chain, prefix_of(key), seq, payload))
    left = replace(
        head,
        state=DELETED,
        held_micro_usd=0,
        updated_at=max(at, head.updated_at),
        waits=(),
        stands=(),
        owed=(),
        seq=seq,
    )
    return row, Tip(seq, row.chain, left)


def may_be_deleted(
    key: SessionKey, tip: Tip, *, holds: bool, expected_seq: int | None = None
) -> bool:
    """Whether there is a session to delete. Raises SeqConflict, SessionBusy."""
    if tip.head is None or tip.head.state == DELETED:
        return False
    if expected_seq is not None and expected_seq != tip.seq:
        raise SeqConflict(tip.seq)
    if holds:
        raise SessionBusy(key.session)
    return True


def begins_after(first: ChainedPayload) -> tuple[int, bytes]:
    """What a log is chained on, by its first event: nothing, or what was deleted. Where it is no
    tombstone, or one that tells of another length, nothing."""
    if first.seq != 1 and b'"SessionDeleted"' in first.payload:
        with suppress(StoreUnavailable):  # it was altered, which its chain shows
            event = decode_event(first.payload)
            if isinstance(event, SessionDeleted) and event.events == first.seq - 1:
                return event.events, event.chain
    return 0, GENESIS
