"""What an append does to the tables, decided before anything is written: one rule for every store.

Pure. A store answers what it has (`Tables`) and carries out what comes back (`Effects`); a refused
append raises and so leaves no trace.
"""

from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from typing import Protocol

import msgspec

from proxy.core.events import HoldExtended, StepReserved
from proxy.core.links import SESSIONS_PER_LINK
from proxy.core.session import SessionKey
from proxy.errors import AccountExceeded, MalformedRequest, SeqConflict
from proxy.stores import (
    NO_COUNTS,
    Append,
    Balance,
    Charge,
    Counts,
    Maximum,
    SessionHead,
)
from proxy.stores.chain import GENESIS, Chain, ChainedPayload, prefix_of
from proxy.stores.codec import encode_event

_INT64 = 2**63


class Tip(msgspec.Struct, frozen=True):
    """Where a session's log ends, and what its listing shows."""

    seq: int = 0
    chain: bytes = GENESIS
    head: SessionHead | None = None
    token: bytes = b""


NO_SESSION = Tip()


class Hold(msgspec.Struct, frozen=True):
    """What an open call holds, and on which shared accounts: what closing it gives back.

    trees: those of the accounts that also count."""

    owner: str
    deadline: float
    cost_micro_usd: int
    accounts: tuple[str, ...]
    tokens: int = 0
    trees: tuple[str, ...] = ()


class Tables(Protocol):
    """What a store has, uncommitted neighbours of the same batch included."""

    def tip(self, key: SessionKey) -> Tip: ...

    def balance(self, account: str) -> Balance: ...

    def hold(self, key: SessionKey, call_id: str) -> Hold | None: ...


class Prepared(msgspec.Struct, frozen=True):
    """An append that can be stored: its events encoded, its texts known to be UTF-8."""

    append: Append
    prefix: bytes
    payloads: tuple[bytes, ...]


class Effects(msgspec.Struct, frozen=True):
    """What to write. (Structs here: made for each append, a dataclass costs five times as much.)
    `opened` (or extended) before `closed`; `head` is never None."""

    seq: int
    chain: bytes
    head: SessionHead
    rows: tuple[ChainedPayload, ...]
    balances: Mapping[str, Balance]
    opened: Mapping[str, Hold]
    closed: tuple[str, ...]


def prepare(append: Append) -> Prepared:
    """Encodes on the caller's side, so that what cannot be encoded fails alone.

    Raises MalformedRequest for text that is not UTF-8 (a client may have chosen it), ValueError
    for a time that is not finite.
    """
    if append.head is not None and not isfinite(append.head.updated_at):
        raise ValueError(f"not a finite time: {append.head}")
    try:
        for text in _texts_of(append):
            if not text.isascii():
                text.encode()
        payloads = tuple(encode_event(event) for event in append.events)
        return Prepared(append, prefix_of(append.key), payloads)
    except UnicodeEncodeError as error:
        raise MalformedRequest("a name holds characters that are not Unicode") from error


def effects_of(prepared: Prepared, tables: Tables, chain: Chain) -> Effects | None:
    """What to write; None for a repeat, which writes nothing.

    Raises SeqConflict and AccountExceeded. A repeat is found first: who repeats a settlement has
    usually lost the race for the seq as well.
    """
    append = prepared.append
    key = append.key
    closed = {call: hold for call in append.closes if (hold := tables.hold(key, call))}
    if append.closes and not closed:
        return None
    tip = tables.tip(key)
    if append.expected_seq is not None and not _is_on(append.expected_seq, append.after, tip):
        raise SeqConflict(tip.seq)
    for guard in append.guards:
        if not _is_on(guard.seq, guard.after, tables.tip(guard.key)):
            raise SeqConflict(tip.seq)
    opened = _opened(append, tables, tip)
    balances = _charged((*append.charges, *_freed(closed.values(), append)), tables)
    rows = _chained(prepared, tip, chain)
    return Effects(
        seq=tip.seq + len(rows),
        chain=rows[-1].chain if rows else tip.chain,
        head=_head_after(tip.head, append),
        rows=rows,
        balances=balances,
        opened=opened,
        closed=append.closes,
    )


def _is_on(expected_seq: int, after: bytes | None, tip: Tip) -> bool:
    """Whether the log is still the one that was decided on: as long, with the same end."""
    return expected_seq == tip.seq and after in (None, tip.token)


def _opened(append: Append, tables: Tables, tip: Tip) -> dict[str, Hold]:
    """The holds as they are after the append. Raises SeqConflict for more on one that is closed."""
    opened: dict[str, Hold] = {}
    for event in append.events:
        if isinstance(event, StepReserved):
            opened[event.call_id] = Hold(
                event.owner,
                event.deadline,
                event.hold_cost_micro_usd,
                event.accounts,
                event.hold_tokens,
                event.trees,
            )
        elif isinstance(event, HoldExtended):
            hold = opened.get(event.call_id) or tables.hold(append.key, event.call_id)
            if hold is None:
                raise SeqConflict(tip.seq)
            opened[event.call_id] = msgspec.structs.replace(
                hold,
                cost_micro_usd=hold.cost_micro_usd + event.hold_cost_micro_usd,
                tokens=hold.tokens + event.hold_tokens,
            )
    return opened


def _freed(closed: Iterable[Hold], append: Append) -> Iterator[Charge]:
    for hold in closed:
        for account in hold.accounts:
            yield Charge(account, -hold.cost_micro_usd, append.spent_micro_usd)
        for tree in hold.trees:
            freed = Counts(held_tokens=-hold.tokens, calls=-1)
            counts = counted(append.counts, freed)
            yield Charge(tree, -hold.cost_micro_usd, append.spent_micro_usd, counts)


def counted(before: Counts, movement: Counts, sign: int = 1) -> Counts:
    """The counts after a movement, or (-1) before it."""
    if movement is NO_COUNTS:
        return before
    return Counts(
        before.tokens + sign * movement.tokens,
        before.held_tokens + sign * movement.held_tokens,
        before.steps + sign * movement.steps,
        before.tool_calls + sign * movement.tool_calls,
        before.calls + sign * movement.calls,
    )


def relinked(sessions: tuple[str, ...], session: str) -> tuple[str, ...]:
    """The sessions of a digest after it was given to one more: newest last, at most eight."""
    return (*(s for s in sessions if s != session), session)[-SESSIONS_PER_LINK:]


def _texts_of(append: Append) -> tuple[str, ...]:
    head = append.head
    named = (head.state, head.agent or "", head.parent or "") if head is not None else ()
    return (*append.closes, *(charge.account for charge in append.charges), *named)


def _charged(charges: tuple[Charge, ...], tables: Tables) -> dict[str, Balance]:
    """The balances after all charges together: their order does not matter."""
    after: dict[str, Balance] = {}
    for charge in charges:
        before = after.get(charge.account) or tables.balance(charge.account)
        after[charge.account] = Balance(
            before.spent_micro_usd + charge.spent_micro_usd,
            before.held_micro_usd + charge.held_micro_usd,
            counted(before.counts, charge.counts),
        )
    for charge in charges:
        balance = after[charge.account]
        if _is_above(balance, charge.maximum) or not _storable(balance):
            raise AccountExceeded(charge.account)
    return after


def _is_above(balance: Balance, most: Maximum) -> bool:
    counts = balance.counts
    pairs = (
        (balance.spent_micro_usd + balance.held_micro_usd, most.micro_usd),
        (counts.tokens + counts.held_tokens, most.tokens),
        (counts.steps, most.steps),
        (counts.calls, most.calls),
    )
    return any(maximum is not None and used > maximum for used, maximum in pairs)


def _storable(balance: Balance) -> bool:
    """Nine trillion dollars: past any maximum, and past what a 64-bit column holds."""
    spent, held = balance.spent_micro_usd, balance.held_micro_usd
    return -_INT64 <= spent < _INT64 and -_INT64 <= held < _INT64


def _chained(prepared: Prepared, tip: Tip, chain: Chain) -> tuple[ChainedPayload, ...]:
    rows: list[ChainedPayload] = []
    seq, previous = tip.seq, tip.chain
    for payload in prepared.payloads:
        seq += 1
        previous = chain.after(previous, prepared.prefix, seq, payload)
        rows.append(ChainedPayload(seq, payload, previous))
    return tuple(rows)


def _head_after(before: SessionHead | None, append: Append) -> SessionHead:
    """The head the writer gave, else the one before; never older than the last event."""
    events = append.events
    head = append.head or before or SessionHead(created_at=events[0].at if events else 0.0)
    updated_at = max(
        head.updated_at,
        before.updated_at if before is not None else 0.0,
        max((event.at for event in events), default=0.0),
    )
    if updated_at == head.updated_at:
        return head
    return msgspec.structs.replace(head, updated_at=updated_at)
