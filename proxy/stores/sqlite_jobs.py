"""What the writer's thread is asked to do, and what it answers."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from proxy.core.session import SessionKey
from proxy.stores import AccountRow, Appended, DeletionReason, SessionDump
from proxy.stores.effects import Prepared


@dataclass(frozen=True, slots=True)
class Purge:
    """Deletes some of the sessions last touched before then; the result is how many."""

    updated_before: float
    at: float


@dataclass(frozen=True, slots=True)
class Delete:
    """Deletes a session; the result is how many that were."""

    key: SessionKey
    at: float
    reason: DeletionReason
    expected_seq: int | None


@dataclass(frozen=True, slots=True)
class Restore:
    """Takes a session in from another store."""

    dump: SessionDump


@dataclass(frozen=True, slots=True)
class RestoreAccounts:
    """Sets accounts to what another store had on them."""

    rows: Sequence[AccountRow]


@dataclass(frozen=True, slots=True)
class PurgeAccounts:
    """Deletes these accounts, as far as they are idle; the result is how many."""

    accounts: Sequence[str]
    touched_before: float


@dataclass(frozen=True, slots=True)
class Probe:
    """Writes a row that nobody reads: would a write succeed?"""


Maintenance = Purge | PurgeAccounts | Delete | Restore | RestoreAccounts
"""What goes past the appends, straight to the tables."""

Work = Prepared | Maintenance | Probe
Done = Appended | int


class WriteJob(msgspec.Struct, frozen=True):
    work: Work
    future: "asyncio.Future[Done]"
