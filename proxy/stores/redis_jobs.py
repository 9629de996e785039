"""What a lane is given to write: each job says what it writes, on whatever the log ends with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from msgspec.structs import replace

from proxy.core.session import SessionKey
from proxy.errors import HoldfastError, SeqConflict
from proxy.stores import DELETED, Appended, DeletionReason, SessionDump
from proxy.stores.codec import encode_head
from proxy.stores.effects import Prepared
from proxy.stores.effects import Tip as PlainTip
from proxy.stores.queue import queued_bits
from proxy.stores.redis_keys import account_key, tag
from proxy.stores.redis_requests import (
    Maker,
    Request,
    Tip,
    Writing,
    bounded,
    finished,
    text,
)
from proxy.stores.tombstones import bury, may_be_deleted
from proxy.stores.written import Written

Outcome = Writing | HoldfastError | None


class Job(Protocol):
    """fresh: made on what is in the server now, not on what is remembered. once: not made anew
    where the log proves to end otherwise."""

    version: bytes
    future: Written[Appended | None]
    fresh: bool
    once: bool

    @property
    def key(self) -> SessionKey: ...

    def make(self, before: Tip | None, number: int, now: float) -> Outcome:
        """What to write; a refusal; None where there is nothing to write."""

    def begins(self) -> bool:
        """Whether it takes the session for a new one."""


@dataclass(slots=True)
class AppendJob:
    maker: Maker
    prepared: Prepared
    version: bytes
    future: Written[Appended | None]
    fresh: bool = False
    once: bool = False

    @property
    def key(self) -> SessionKey:
        return self.prepared.append.key

    def make(self, before: Tip | None, number: int, now: float) -> Outcome:
        return self.maker.make(self.prepared, before, self.version, number, now)

    def begins(self) -> bool:
        return self.prepared.append.expected_seq == 0


@dataclass(slots=True)
class DeleteJob:
    """Leaves a tombstone."""

    maker: Maker
    key: SessionKey
    version: bytes
    future: Written[Appended | None]
    at: float
    reason: DeletionReason
    expected_seq: int | None
    only_if: Callable[[Tip], bool] = lambda _: True
    fresh: bool = True
    once: bool = False

    def make(self, before: Tip | None, number: int, now: float) -> Outcome:
        if before is None or not self.only_if(before):
            return None
        plain = PlainTip(before.seq, before.chain, before.as_head(), before.token)
        try:
            wanted = may_be_deleted(self.key, plain, holds=False, expected_seq=self.expected_seq)
        except SeqConflict as refused:
            return refused
        if not wanted:
            return None
        row, left = bury(self.maker.chain, self.key, plain, self.at, self.reason)
        assert left.head is not None
        head = left.head
        tip = replace(
            before,
            version=self.version,
            seq=left.seq,
            token=b"",
            first=before.seq,
            state=head.state,
            queued=0,
            updated=head.updated_at,
            chain=left.chain,
            head=encode_head(head),
            refreshed_at=now,
        )
        request = replace(
            _bare(self.maker.prefix, self.key, before),
            rows=[text(row.chain + row.payload)],
            updated=head.updated_at,
            state=head.state,
            agent=head.agent,
            refresh=True,
            wipe=1,
        )
        return finished(request, tip)

    def begins(self) -> bool:
        return False


@dataclass(slots=True)
class ForgetJob:
    """Deletes a tombstone whole."""

    maker: Maker
    key: SessionKey
    version: bytes
    future: Written[Appended | None]
    updated_before: float
    fresh: bool = True
    once: bool = False

    def make(self, before: Tip | None, number: int, now: float) -> Outcome:
        if before is None or before.state != DELETED or before.updated >= self.updated_before:
            return None
        request = replace(_bare(self.maker.prefix, self.key, before), wipe=2)
        return finished(request, replace(before, version=self.version))

    def begins(self) -> bool:
        return False


@dataclass(slots=True)
class RestoreJob:
    """Takes a session in; its contents are there already, where they are large."""

    maker: Maker
    dump: SessionDump
    version: bytes
    future: Written[Appended | None]
    fresh: bool = True
    once: bool = True

    @property
    def key(self) -> SessionKey:
        return self.dump.key

    def make(self, before: Tip | None, number: int, now: float) -> Outcome:
        dump, prefix = self.dump, self.maker.prefix
        head = dump.head
        tip = Tip(
            self.version,
            dump.seq,
            dump.token,
            number,
            dump.rows[0].seq - 1 if dump.rows else dump.seq,
            head.state,
            head.agent,
            queued_bits(head),
            head.updated_at,
            dump.chain,
            encode_head(head),
            now,
        )
        opens: list[tuple[object, ...]] = [
            (
                call_id,
                (
                    hold.owner,
                    hold.deadline,
                    bounded(hold.cost_micro_usd),
                    [account_key(prefix, account) for account in hold.accounts],
                    hold.tokens,
                    [account_key(prefix, account) for account in hold.trees],
                ),
            )
            for call_id, hold in dump.holds
        ]
        request = replace(
            _bare(prefix, dump.key, tip),
            base=text(b""),
            rows=[text(row.chain + row.payload) for row in dump.rows],
            opens=opens,
            links=[text(link) for link in dump.links],
            refresh=True,
        )
        return finished(request, tip)

    def begins(self) -> bool:
        return True


def _bare(prefix: str, key: SessionKey, tip: Tip) -> Request:
    """A request that writes nothing on top of the session."""
    return Request(
        p=tag(prefix, key.tenant),
        session=key.session,
        base=text(tip.version),
        state=tip.state,
        agent=tip.agent,
        updated=tip.updated,
        rows=(),
        spent=0,
        counts=(0, 0, 0, 0, 0),
        charges=(),
        opens=(),
        closes=(),
        guards=(),
        links=(),
        contents=(),
    )
