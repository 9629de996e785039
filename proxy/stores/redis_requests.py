"""An append as the script takes it, made on the end of the log that its sender knows.

The script cannot chain (Lua has no HMAC), so the rows come chained and with the end that they were
chained to; the script writes them only there. Money and holds it works out itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
from msgspec.structs import replace

from proxy.core.events import HoldExtended, StepReserved
from proxy.stores import NO_COUNTS, UNBOUNDED, Append, Balance, Charge, SessionHead
from proxy.stores.chain import GENESIS, Chain
from proxy.stores.codec import decode_head, encode_head
from proxy.stores.effects import Prepared, head_after
from proxy.stores.queue import queued_bits
from proxy.stores.redis_expiry import Expiry
from proxy.stores.redis_keys import account_key, tag

MOST = 2**53
"""What Lua counts exactly: nine billion dollars."""

Movement = tuple[int, int, int, int, int, int, int]
"""spent, held, tokens, held_tokens, steps, tool_calls, calls: deltas."""

ChargeAt = tuple[str | None, Movement, tuple[int | None, ...] | None]
"""The account's key, None where another slot has it; the movement, and the account's maximum."""


class Tip(msgspec.Struct, frozen=True, gc=False):
    """The end of a session's log, as its key has it. version: another with each write.

    number: orders sessions touched at the same time. first: the seq before the log's first event.
    queued: 1 with something before a human, 2 with a webhook to deliver.
    """

    version: bytes
    seq: int
    token: bytes
    number: int
    first: int
    state: str
    agent: str | None
    queued: int
    updated: float
    chain: bytes
    head: str
    refreshed_at: float

    def as_head(self) -> SessionHead:
        return decode_head(self.head)


class Request(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """See redis_append.lua. Only what is not None or 0 goes over the wire."""

    p: str
    session: str
    base: msgspec.Raw
    state: str
    updated: float
    rows: Sequence[msgspec.Raw]
    spent: int
    counts: tuple[int, ...]
    charges: Sequence[ChargeAt]
    opens: Sequence[tuple[object, ...]]
    closes: Sequence[str]
    guards: Sequence[tuple[str, int, msgspec.Raw | None]]
    links: Sequence[msgspec.Raw]
    contents: Sequence[msgspec.Raw | str]
    there: Mapping[str, Movement] | None = None
    v: msgspec.Raw | None = None
    seq: int | None = None
    number: int | None = None
    queued: int | None = None
    tip: msgspec.Raw | None = None
    agent: str | None = None
    expected: int | None = None
    after: msgspec.Raw | None = None
    refresh: bool | None = None
    wipe: int | None = None
    exceeded: int | None = None
    claim: str | None = None
    frees: str | None = None


pack = msgspec.msgpack.Encoder().encode
_PackedTip = tuple[
    msgspec.Raw, int, msgspec.Raw, int, int, str, str | None, int, float, msgspec.Raw, str, float
]
_decode_tip = msgspec.msgpack.Decoder(_PackedTip).decode


def decode_tip(raw: object) -> Tip | None:
    """None for no session."""
    if not isinstance(raw, bytes) or not raw:
        return None
    version, seq, token, number, first, state, agent, queued, updated, chain, head, at = (
        _decode_tip(raw)
    )
    return Tip(
        _unpacked(version), seq, _unpacked(token), number, first, state, agent, queued, updated,
        _unpacked(chain), head, at,
    )  # fmt: skip


def encode_tip(tip: Tip) -> bytes:
    return pack(
        (
            text(tip.version), tip.seq, text(tip.token), tip.number, tip.first, tip.state,
            tip.agent, tip.queued, tip.updated, text(tip.chain), tip.head, tip.refreshed_at,
        )
    )  # fmt: skip


def text(data: bytes) -> msgspec.Raw:
    """Bytes as MessagePack's text, which is all that Lua's library knows."""
    size = len(data)
    if size < 32:
        head = bytes((0xA0 | size,))
    elif size < 1 << 8:
        head = b"\xd9" + size.to_bytes(1, "big")
    elif size < 1 << 16:
        head = b"\xda" + size.to_bytes(2, "big")
    else:
        head = b"\xdb" + size.to_bytes(4, "big")
    return msgspec.Raw(head + data)


def _unpacked(raw: msgspec.Raw) -> bytes:
    data = bytes(raw)
    return data[{0xD9: 2, 0xDA: 3, 0xDB: 5}.get(data[0], 1) :]


class Writing(msgspec.Struct, frozen=True, gc=False):
    """A request, and the end of the log where it is written."""

    request: Request
    tip: Tip


@dataclass(frozen=True, slots=True)
class Maker:
    """What appends are made with. version: of a write, given to no other. refresh_seconds: after
    which a log is given a new end of its life."""

    chain: Chain
    prefix: str
    refresh_seconds: float
    expiry: Expiry

    def make(
        self, prepared: Prepared, before: Tip | None, version: bytes, number: int, now: float
    ) -> Writing:
        """The append on top of `before`, with the charges on all accounts, wherever they lie.
        number: of the session if it begins here."""
        append = prepared.append
        rows, seq, previous = self._chained(prepared, before)
        head = (
            head_after(None, append, 0, b"")
            if before is None
            else head_after(before.as_head(), append, before.seq, before.token)
        )
        refresh = (
            before is None
            or before.refreshed_at < self.expiry.since
            or abs(now - before.refreshed_at) > self.refresh_seconds
        )
        tip = Tip(
            version,
            seq,
            append.token,
            number if before is None else before.number,
            0 if before is None else before.first,
            head.state,
            head.agent,
            queued_bits(head),
            head.updated_at,
            previous,
            encode_head(head),
            now if before is None or refresh else before.refreshed_at,
        )
        base = b"" if before is None else before.version
        return finished(self._request(append, rows, base, head, refresh), tip)

    def _chained(
        self, prepared: Prepared, before: Tip | None
    ) -> tuple[list[msgspec.Raw], int, bytes]:
        seq, previous = (before.seq, before.chain) if before is not None else (0, GENESIS)
        rows = []
        for payload in prepared.payloads:
            seq += 1
            previous = self.chain.after(previous, prepared.prefix, seq, payload)
            rows.append(text(previous + payload))
        return rows, seq, previous

    def _request(
        self, append: Append, rows: list[msgspec.Raw], base: bytes, head: SessionHead, refresh: bool
    ) -> Request:
        prefix = self.prefix
        return Request(
            p=tag(prefix, append.key.tenant),
            session=append.key.session,
            base=text(base),
            state=head.state,
            agent=head.agent,
            updated=head.updated_at,
            spent=bounded(append.spent_micro_usd),
            counts=msgspec.structs.astuple(append.counts),
            rows=rows,
            charges=[charge_of(charge, prefix) for charge in append.charges],
            opens=_opens(append, prefix),
            closes=append.closes,
            guards=[
                (
                    f"{tag(prefix, g.key.tenant)}:s:{g.key.session}",
                    g.seq,
                    None if g.after is None else text(g.after),
                )
                for g in append.guards
            ],
            links=[text(link) for link in append.links],
            contents=[part for one in append.contents for part in (one.name, text(one.data))],
            expected=append.expected_seq,
            after=None if append.after is None else text(append.after),
            refresh=refresh or None,
        )


def finished(request: Request, tip: Tip) -> Writing:
    """The request, told the end of the log where it is written."""
    told = replace(
        request,
        v=text(tip.version),
        seq=tip.seq,
        number=tip.number,
        queued=tip.queued,
        tip=text(encode_tip(tip)),
    )
    return Writing(told, tip)


def movement_of(charge: Charge | Balance) -> Movement:
    counts = charge.counts
    return (
        bounded(charge.spent_micro_usd),
        bounded(charge.held_micro_usd),
        counts.tokens,
        counts.held_tokens,
        counts.steps,
        counts.tool_calls,
        counts.calls,
    )


def bounded(number: int) -> int:
    """Past what Lua counts: the script refuses it."""
    return max(-MOST, min(number, MOST))


def charge_of(charge: Charge, prefix: str) -> tuple[str, Movement, tuple[int | None, ...] | None]:
    most = charge.maximum
    if charge.counts is NO_COUNTS:
        movement: Movement = (
            bounded(charge.spent_micro_usd), bounded(charge.held_micro_usd), 0, 0, 0, 0, 0
        )  # fmt: skip
    else:
        movement = movement_of(charge)
    maximum = None if most is UNBOUNDED else (most.micro_usd, most.tokens, most.steps, most.calls)
    return account_key(prefix, charge.account), movement, maximum


def _opens(append: Append, prefix: str) -> list[tuple[object, ...]]:
    opens: list[tuple[object, ...]] = []
    for event in append.events:
        if isinstance(event, StepReserved):
            accounts = [account_key(prefix, account) for account in event.accounts]
            trees = [account_key(prefix, account) for account in event.trees]
            cost = bounded(event.hold_cost_micro_usd)
            hold = (event.owner, event.deadline, cost, accounts, event.hold_tokens, trees)
            opens.append((event.call_id, hold))
        elif isinstance(event, HoldExtended):
            cost = bounded(event.hold_cost_micro_usd)
            opens.append((event.call_id, None, cost, event.hold_tokens))
    return opens


def listed(movements: Mapping[str, Movement]) -> str:
    """One text for equal movements, as the script writes it."""
    return ";".join(f"{key},{','.join(map(str, movements[key]))}" for key in sorted(movements))
