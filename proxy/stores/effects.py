"""What an append does to the tables, decided before anything is written: one rule for every store.

Pure. A store answers what it has (`Tables`) and carries out what comes back (`Effects`); a refused
append raises and so leaves no trace.
"""

from collections.abc import Mapping
from math import isfinite
from typing import Protocol

import msgspec

from proxy.core.events import HandedOff, HoldExtended, StepReserved
from proxy.core.links import SESSIONS_PER_LINK
from proxy.core.session import SessionKey
from proxy.errors import AccountExceeded, MalformedRequest, SeqConflict
from proxy.stores import (
    DELETED,
    NO_COUNTS,
    UNBOUNDED,
    Append,
    Balance,
    Counts,
    Maximum,
    SessionHead,
)
from proxy.stores import Hold as Hold
from proxy.stores.chain import GENESIS, Chain, ChainedPayload, prefix_of
from proxy.stores.codec import encode_event
from proxy.stores.queue import queued

_INT64 = 2**63


class Tip(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Where a session's log ends, and what its listing shows."""

    seq: int = 0
    chain: bytes = GENESIS
    head: SessionHead | None = None
    token: bytes = b""


NO_SESSION = Tip()


class Tables(Protocol):
    """What a store has, uncommitted neighbours of the same batch included."""

    def tip(self, key: SessionKey) -> Tip: ...

    def balance(self, account: str) -> Balance: ...

    def hold(self, key: SessionKey, call_id: str) -> Hold | None: ...


class Prepared(msgspec.Struct, frozen=True, gc=False):
    """An append that can be stored: its events encoded, its texts known to be UTF-8."""

    append: Append
    prefix: bytes
    payloads: tuple[bytes, ...]


class Effects(msgspec.Struct, frozen=True, gc=False):
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
    head = append.head
    if head is not None and not isfinite(head.updated_at):
        raise ValueError(f"not a finite time: {head}")
    try:
        for charge in append.charges:
            if not charge.account.isascii():
                charge.account.encode()
        if append.closes:
            "".join(append.closes).encode()
        if head is not None:
            (head.state + (head.agent or "") + (head.parent or "")).encode()
        payloads = tuple([encode_event(event) for event in append.events])
        return Prepared(append, prefix_of(append.key), payloads)
    except UnicodeEncodeError as error:
        raise MalformedRequest("a name holds characters that are not Unicode") from error


def effects_of(prepared: Prepared, tables: Tables, chain: Chain) -> Effects | None:
    """What to write; None for a repeat, which writes nothing.

    Raises SeqConflict and AccountExceeded. A repeat is found first: who repeats a settlement has
    usually lost the race for the seq as well.
    """
    append = prepared.append
    key, closes = append.key, append.closes
    closed: dict[str, Hold] = {}
    if closes:
        closed = {call: hold for call in closes if (hold := tables.hold(key, call))}
        if not closed:
            return None
    tip = tables.tip(key)
    if append.expected_seq is not None and not _is_on(append.expected_seq, append.after, tip):
        raise SeqConflict(tip.seq)
    for guard in append.guards:
        if not _is_on(guard.seq, guard.after, tables.tip(guard.key)):
            raise SeqConflict(tip.seq)
    opened = _opened(append, tables, tip)
    balances = _charged(append, closed, tables)
    rows, seq, previous = [], tip.seq, tip.chain
    for payload in prepared.payloads:
        seq += 1
        previous = chain.after(previous, prepared.prefix, seq, payload)
        rows.append(ChainedPayload(seq, payload, previous))
    head = head_after(tip.head, append, tip.seq, tip.token)
    return Effects(seq, previous, head, tuple(rows), balances, opened, closes)


def _is_on(expected_seq: int, after: bytes | None, tip: Tip) -> bool:
    """Whether the log is still the one that was decided on: as long, with the same end."""
    return expected_seq == tip.seq and (after is None or after == tip.token)


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


def larger(one: Balance, other: Balance) -> Balance:
    """Of each the larger, where neither has all that was booked."""
    a, b = one.counts, other.counts
    money = max(one, other, key=lambda balance: balance.spent_micro_usd + balance.held_micro_usd)
    tokens = max(a, b, key=lambda counts: counts.tokens + counts.held_tokens)
    counts = Counts(
        tokens.tokens,
        tokens.held_tokens,
        max(a.steps, b.steps),
        max(a.tool_calls, b.tool_calls),
        max(a.calls, b.calls),
    )
    return Balance(money.spent_micro_usd, money.held_micro_usd, counts)


def relinked(sessions: tuple[str, ...], session: str) -> tuple[str, ...]:
    """The sessions of a digest after it was given to one more: newest last, at most eight."""
    return (*(s for s in sessions if s != session), session)[-SESSIONS_PER_LINK:]


def _charged(append: Append, closed: Mapping[str, Hold], tables: Tables) -> dict[str, Balance]:
    """The balances after all that is charged and all that is freed: their order does not matter."""
    after: dict[str, Balance] = {}
    for charge in append.charges:
        account, counts = charge.account, charge.counts
        old = after.get(account) or tables.balance(account)
        after[account] = Balance(
            old.spent_micro_usd + charge.spent_micro_usd,
            old.held_micro_usd + charge.held_micro_usd,
            old.counts if counts is NO_COUNTS else counted(old.counts, counts),
        )
    for hold in closed.values():
        _free(hold, append, after, tables)
    for charge in append.charges:
        balance = after[charge.account]
        if _is_above(balance, charge.maximum) or not _storable(balance):
            raise AccountExceeded(charge.account)
    if closed:
        for account, balance in after.items():
            if not _storable(balance):
                raise AccountExceeded(account)
    return after


def _free(hold: Hold, append: Append, after: dict[str, Balance], tables: Tables) -> None:
    """Gives back what a closed call held, and books what it came to."""
    cost, spent = hold.cost_micro_usd, append.spent_micro_usd
    for account in hold.accounts:
        old = after.get(account) or tables.balance(account)
        after[account] = Balance(old.spent_micro_usd + spent, old.held_micro_usd - cost, old.counts)
    for tree in hold.trees:
        freed = counted(append.counts, Counts(held_tokens=-hold.tokens, calls=-1))
        old = after.get(tree) or tables.balance(tree)
        after[tree] = Balance(
            old.spent_micro_usd + spent, old.held_micro_usd - cost, counted(old.counts, freed)
        )


def _is_above(balance: Balance, most: Maximum) -> bool:
    if most is UNBOUNDED:
        return False
    used, counts = balance.spent_micro_usd + balance.held_micro_usd, balance.counts
    return (
        (most.micro_usd is not None and used > most.micro_usd)
        or (most.tokens is not None and counts.tokens + counts.held_tokens > most.tokens)
        or (most.steps is not None and counts.steps > most.steps)
        or (most.calls is not None and counts.calls > most.calls)
    )


def _storable(balance: Balance) -> bool:
    """Nine trillion dollars: past any maximum, and past what a 64-bit column holds."""
    spent, held = balance.spent_micro_usd, balance.held_micro_usd
    return -_INT64 <= spent < _INT64 and -_INT64 <= held < _INT64


def head_after(before: SessionHead | None, append: Append, seq: int, token: bytes) -> SessionHead:
    """The head the writer gave, else the one before; never older than the last event. seq, token:
    of the log before it. Where the writer went on from an append that the log does not end with, or
    from a head that told of another log, it does not say of which log it tells (seq 0)."""
    head = _head_after(before, append)
    goes_on = before is not None and before.seq == seq and append.after == token
    return head if goes_on or append.after is None else msgspec.structs.replace(head, seq=0)


def _head_after(before: SessionHead | None, append: Append) -> SessionHead:
    events = append.events
    if before is not None and before.state == DELETED and events:
        before = None  # what comes after a tombstone has nothing of what was before it
    head = append.head or before or SessionHead(created_at=events[0].at if events else 0.0)
    updated_at = head.updated_at
    is_queued = False
    if before is not None:
        is_queued = bool(before.waits or before.stands or before.owed)
        if before.updated_at > updated_at:
            updated_at = before.updated_at
    for event in events:
        if event.at > updated_at:
            updated_at = event.at
        if type(event) is HandedOff:
            is_queued = True
    if updated_at > head.updated_at:
        head = msgspec.structs.replace(head, updated_at=updated_at)
    return queued(before, head, events) if is_queued else head
