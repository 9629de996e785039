"""What the writer's thread is asked to do, and what it answers."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from proxy.stores import Appended
from proxy.stores.effects import Prepared


@dataclass(frozen=True, slots=True)
class Purge:
    """Deletes some of the sessions last touched before then; the result is how many."""

    updated_before: float


@dataclass(frozen=True, slots=True)
class PurgeAccounts:
    """Deletes these accounts, as far as they are idle; the result is how many."""

    accounts: Sequence[str]
    touched_before: float


@dataclass(frozen=True, slots=True)
class Probe:
    """Writes a row that nobody reads: would a write succeed?"""


Work = Prepared | Purge | PurgeAccounts | Probe
Done = Appended | int


class WriteJob(msgspec.Struct, frozen=True):
    work: Work
    future: "asyncio.Future[Done]"
