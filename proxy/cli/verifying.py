"""All of a ledger looked at, and what is wrong of it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path

from proxy.cli.heads import Head, Heads, HeadsFile
from proxy.cli.tables import plain
from proxy.clock import SystemClock
from proxy.core.session import SessionKey
from proxy.stores.account_sums import AccountFault, AccountSums
from proxy.stores.chain import Chain
from proxy.stores.derived import derived_faults
from proxy.stores.logs import LedgerReader, key_of, reader_of, url_of
from proxy.stores.recount import recounted
from proxy.stores.sqlite_verifying import Stray
from proxy.stores.verification import Fault, SessionLog, fault_against, first_fault, kind_of

_MOST_SHOWN = 20
_RETENTION_SECONDS = 7 * 86_400


@dataclass(slots=True)
class Verified:
    """What was looked at, and the first faults."""

    sessions: int = 0
    events: int = 0
    contents: int = 0
    accounts: int = 0
    holds: int = 0
    faulty: int = 0
    expired: int = 0
    faults: tuple[Fault | AccountFault, ...] = ()

    holds_verify: bool = True

    def add(self, fault: Fault | AccountFault) -> None:
        if isinstance(fault, Fault) and fault.what.startswith("hold "):
            self.holds_verify = False
        self.faulty += 1
        if self.faulty <= _MOST_SHOWN:
            self.faults = (*self.faults, fault)

    def as_json(self) -> dict[str, object]:
        return {
            "sessions": self.sessions,
            "events": self.events,
            "contents": self.contents,
            "accounts": self.accounts,
            "holds": self.holds,
            "expired": self.expired,
            "faulty": self.faulty,
            "faults": [_as_json(fault) for fault in self.faults],
        }

    def summary(self) -> str:
        counts = (
            f"{self.sessions} sessions, {self.events} events, {self.contents} contents, "
            f"{self.accounts} accounts, {self.holds} open holds"
        )
        gone = f" ({self.expired} heads of sessions past their retention)" if self.expired else ""
        if not self.faulty:
            return f"{counts}: as they were written{gone}"
        lines = [_told(fault) for fault in self.faults]
        if self.faulty > len(lines):
            lines.append(f"… and {self.faulty - len(lines)} more")
        return "\n".join([*lines, f"{counts}: {self.faulty} not as they were written{gone}"])


def verify_ledger(
    ledger: str,
    env: Mapping[str, str],
    heads: Heads,
    keep: Path | None = None,
    retention_seconds: float = _RETENTION_SECONDS,
) -> Verified:
    """ledger: a store URL or a SQLite file. heads: kept outside. keep: where to write those of now,
    if all is right. Raises StoreUnavailable, OSError."""
    url = url_of(ledger)
    key = key_of(url, env)
    reader, now, verified = reader_of(url, key), SystemClock().now(), Verified()
    with (
        HeadsFile(keep) if keep is not None else nullcontext() as file,
        AccountSums(now, reader.forgotten()) as sums,
    ):
        sums.before(reader.accounts())
        walk = _Walk(Chain(key), heads, sums, reader, verified)
        for log in reader.logs():
            for fault in islice(walk.faults(log), 1):
                verified.add(fault)
            if file is not None and isinstance(log, SessionLog):
                file.add(log)
        for head in heads.unseen():
            _gone(head, now - 2 * retention_seconds, verified)
        _in_accounts(reader, sums, verified)
        if file is not None:
            file.keep = not verified.faulty
    return verified


def _in_accounts(reader: LedgerReader, sums: AccountSums, verified: Verified) -> None:
    """The first fault of each. Holds that are none prove nothing of accounts."""
    told: set[str] = set()
    held = reader.held_faults() if verified.holds_verify else ()
    for fault in chain(sums.after(reader.accounts()), held):
        if fault.account not in told:
            told.add(fault.account)
            verified.add(fault)
    verified.accounts = sums.count


class _Walk:
    """From session to session."""

    def __init__(
        self,
        chain: Chain,
        heads: Heads,
        sums: AccountSums,
        reader: LedgerReader,
        verified: Verified,
    ) -> None:
        self._chain = chain
        self._heads = heads
        self._sums = sums
        self._reader = reader
        self._verified = verified

    def faults(self, log: SessionLog | Stray) -> Iterator[Fault]:
        """What is wrong of one session; only the first is told."""
        if isinstance(log, Stray):
            key = SessionKey("?", f"number {log.number}")
            kind = kind_of(log.first.payload)
            detail = "its events are there, but the session's row is not: it was deleted"
            yield Fault(key, log.first.seq, kind, "deleted", detail)
            return
        verified = self._verified
        verified.sessions += 1
        verified.events += len(log.rows)
        verified.contents += len(log.contents)
        verified.holds += len(log.holds or ())
        kept = self._heads.of(log.key)
        if (fault := first_fault(self._chain, log)) is not None:
            yield _behind_the_end(log, fault, kept) or fault
            return
        recount = recounted(log.rows)
        self._sums.add(recount, partial(self._reader.is_late, log.key))
        for head in kept:
            if (fault := fault_against(log, head.seq, head.chain)) is not None:
                yield fault
        yield from derived_faults(log, recount)


def _behind_the_end(log: SessionLog, fault: Fault, kept: Sequence[Head]) -> Fault | None:
    """What is kept though no event tells of it belongs to events that a head has, if there are."""
    if fault.what != "inserted" or fault.kind:
        return None
    known = [fault_against(log, head.seq, head.chain) for head in kept]
    return next((one for one in known if one is not None and one.what == "cut"), None)


def _gone(head: Head, retained_since: float, verified: Verified) -> None:
    """A session whose head was kept outside, and that is not in the ledger any more."""
    if 0 < head.at < retained_since:
        verified.expired += 1  # retention, and then that of its tombstone
        return
    detail = f"it is gone without a tombstone, but had {head.seq} events when its head was kept"
    key = SessionKey(head.tenant or "?", head.session)
    verified.add(Fault(key, 1, "", "vanished", detail))


def _told(fault: Fault | AccountFault) -> str:
    if isinstance(fault, AccountFault):
        return f"{plain(f'account {fault.account}')} {fault.what}: {fault.detail}"
    kind = f" ({fault.kind})" if fault.kind else ""
    name = plain(f"session {fault.key.session} (tenant {fault.key.tenant})")
    return f"{name}: event {fault.seq}{plain(kind)} {fault.what}: {plain(fault.detail)}"


def _as_json(fault: Fault | AccountFault) -> dict[str, object]:
    if isinstance(fault, AccountFault):
        return {"account": fault.account, "what": fault.what, "detail": fault.detail}
    return {
        "tenant": fault.key.tenant,
        "session": fault.key.session,
        "seq": fault.seq,
        "kind": fault.kind,
        "what": fault.what,
        "detail": fault.detail,
    }
