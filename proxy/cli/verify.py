"""`holdfast verify LEDGER`: whether every event, and all that is kept beside it, is as it was
written."""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from proxy.cli.heads import Head, Heads, HeadsFile
from proxy.cli.tables import plain
from proxy.clock import SystemClock
from proxy.config.table_checkpoints import seconds_of
from proxy.core.session import SessionKey
from proxy.errors import StoreUnavailable
from proxy.stores.chain import Chain
from proxy.stores.logs import logs_of, url_of
from proxy.stores.sqlite_verifying import Stray
from proxy.stores.verification import Fault, SessionLog, fault_against, first_fault, kind_of

_MOST_SHOWN = 20
_CANNOT = 2
"""Exit code where it cannot be told; 1 where something is not as it was written."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Recomputes the HMAC chain of every session and the digest of all that is kept beside it, "
        "read-only, also while a sidecar runs. Exit 1 where something is not as it was written, 2 "
        "where that cannot be told. The key is the ledger's own: HOLDFAST_CHAIN_KEY, or its file."
    )
    parser.add_argument("ledger", metavar="LEDGER", help="a store URL, or a SQLite file")
    parser.add_argument(
        "--head",
        action="append",
        default=[],
        metavar="FILE|SESSION=SEQ:HEX",
        help="heads that were kept outside: a file of --heads, or one ([TENANT/]SESSION=SEQ:HEX)",
    )
    parser.add_argument(
        "--heads",
        type=Path,
        metavar="FILE",
        help="write the heads there, to be kept outside; only if all is as it was written",
    )
    parser.add_argument(
        "--retention",
        default="7d",
        metavar="TIME",
        help="of the policy: a session whose head is older than twice that may be gone "
        "(default: 7d)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """0; 1 where something is not as it was written; 2 where that cannot be told."""
    try:
        with Heads() as heads:
            for given in args.head:
                heads.take(given)
            verified = _verify(args, heads)
    except (StoreUnavailable, ValueError, OSError) as error:
        print(f"holdfast: {error}", file=sys.stderr)
        return _CANNOT
    if args.json:
        print(json.dumps(verified.as_json(), indent=2))
    else:
        print(verified.summary())
    return 1 if verified.faulty else 0


@dataclass(slots=True)
class Verified:
    """What was looked at, and the first faults."""

    sessions: int = 0
    events: int = 0
    contents: int = 0
    faulty: int = 0
    expired: int = 0
    faults: tuple[Fault, ...] = ()

    def add(self, fault: Fault) -> None:
        self.faulty += 1
        if self.faulty <= _MOST_SHOWN:
            self.faults = (*self.faults, fault)

    def as_json(self) -> dict[str, object]:
        shown = [
            {
                "tenant": fault.key.tenant,
                "session": fault.key.session,
                "seq": fault.seq,
                "kind": fault.kind,
                "what": fault.what,
                "detail": fault.detail,
            }
            for fault in self.faults
        ]
        return {
            "sessions": self.sessions,
            "events": self.events,
            "contents": self.contents,
            "expired": self.expired,
            "faulty": self.faulty,
            "faults": shown,
        }

    def summary(self) -> str:
        counts = f"{self.sessions} sessions, {self.events} events, {self.contents} contents"
        gone = f" ({self.expired} heads of sessions past their retention)" if self.expired else ""
        if not self.faulty:
            return f"{counts}: as they were written{gone}"
        lines = [_told(fault) for fault in self.faults]
        if self.faulty > len(lines):
            lines.append(f"… and {self.faulty - len(lines)} more")
        return "\n".join([*lines, f"{counts}: {self.faulty} not as they were written{gone}"])


def _verify(args: argparse.Namespace, heads: Heads) -> Verified:
    key, logs = logs_of(url_of(args.ledger), os.environ)
    chain, verified = Chain(key), Verified()
    retained_since = SystemClock().now() - 2 * _seconds(args.retention)
    with HeadsFile(args.heads) if args.heads else nullcontext() as file:
        for log in logs:
            for fault in islice(_faults(chain, heads, log, verified), 1):
                verified.add(fault)
            if file is not None and isinstance(log, SessionLog):
                file.add(log)
        for head in heads.unseen():
            _gone(head, retained_since, verified)
        if file is not None:
            file.keep = not verified.faulty
    return verified


def _seconds(text: str) -> float:
    try:
        return seconds_of(text)
    except (KeyError, ValueError, IndexError) as error:
        raise ValueError(f"--retention: {text!r} is no time (90m, 12h, 7d, 4w)") from error


def _faults(
    chain: Chain, heads: Heads, log: SessionLog | Stray, verified: Verified
) -> Iterator[Fault]:
    """What is wrong of one session; only the first is told."""
    if isinstance(log, Stray):
        key = SessionKey("?", f"number {log.number}")
        kind = kind_of(log.first.payload)
        detail = "its events are there, but the session's row is not: it was deleted"
        yield Fault(key, log.first.seq, kind, "deleted", detail)
        return
    verified.sessions += 1
    verified.events += len(log.rows)
    verified.contents += len(log.contents)
    kept = heads.of(log.key)
    if (fault := first_fault(chain, log)) is not None:
        yield fault
        return
    for head in kept:
        if (fault := fault_against(log, head.seq, head.chain)) is not None:
            yield fault


def _gone(head: Head, retained_since: float, verified: Verified) -> None:
    """A session whose head was kept outside, and that is not in the ledger any more."""
    if 0 < head.at < retained_since:
        verified.expired += 1  # retention, and then that of its tombstone
        return
    detail = f"it is gone without a tombstone, but had {head.seq} events when its head was kept"
    key = SessionKey(head.tenant or "?", head.session)
    verified.add(Fault(key, 1, "", "vanished", detail))


def _told(fault: Fault) -> str:
    kind = f" ({fault.kind})" if fault.kind else ""
    name = plain(f"session {fault.key.session} (tenant {fault.key.tenant})")
    return f"{name}: event {fault.seq}{plain(kind)} {fault.what}: {plain(fault.detail)}"
