"""Whether what is on the accounts of a ledger is what the events of its sessions charged to them.

Theory of operation. Accounts are read, then every session, then the accounts once more. What was
spent only grows: what the events say cannot be more than what was there afterwards, nor less than
what was there before, unless sessions that were charged to it are gone. So nothing has to stand
still, and what is charged meanwhile can hide as much as that comes to. What calls in flight hold
goes up and down: it is compared where nothing moved.

What cannot be told: accounts that retention may have forgotten and that began anew, and those of
tools and minutes below a session, which no event names. All of it lies in a database in a temporary
file: there may be as many accounts as sessions.
"""

import re
from collections.abc import Callable, Iterable, Iterator

import msgspec

from proxy.core.windows import window_began
from proxy.stores import AccountRow, Balance
from proxy.stores.derived import usd
from proxy.stores.recount import Charged, Recount
from proxy.stores.scratch import Scratch
from proxy.stores.sqlite_tables import balance_of

_FORGOTTEN_SECONDS = 39 * 86_400
"""A day less than `retention` keeps an account."""
_STILL_SECONDS = 60.0
"""By which the clocks of who writes one ledger may differ."""
_UNTOLD = re.compile(r"tree:.*:\d+/(tool|minute)/.*", re.DOTALL)
_TREE = re.compile(r"tree:.*:(\d+)", re.DOTALL)
_TABLES = """
    CREATE TABLE sums (account TEXT PRIMARY KEY, spent INTEGER, held INTEGER, tokens INTEGER,
        held_tokens INTEGER, steps INTEGER, tool_calls INTEGER, calls INTEGER, since REAL,
        until REAL, seen INTEGER DEFAULT 0) WITHOUT ROWID;
    CREATE TABLE earlier (account TEXT PRIMARY KEY, spent INTEGER, held INTEGER, tokens INTEGER,
        held_tokens INTEGER, steps INTEGER, tool_calls INTEGER, calls INTEGER, touched REAL
        ) WITHOUT ROWID"""
_ADD = """INSERT INTO sums VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0) ON CONFLICT (account) DO UPDATE
    SET spent = spent + excluded.spent, held = held + excluded.held,
        tokens = tokens + excluded.tokens, held_tokens = held_tokens + excluded.held_tokens,
        steps = steps + excluded.steps, tool_calls = tool_calls + excluded.tool_calls,
        calls = calls + excluded.calls, since = min(since, excluded.since),
        until = max(until, excluded.until)"""

_Difference = tuple[str, int, int]
"""What differs, how much of it there is, and what the events say."""


class AccountFault(msgspec.Struct, frozen=True, gc=False):
    """An account that is not what the events say. detail: a sentence."""

    account: str
    what: str
    detail: str


class AccountSums(Scratch):
    """A context manager; one thread's. now: epoch seconds, as it begins. forgotten: when the newest
    session was last touched of which not even a tombstone is left; None where nobody knows."""

    def __init__(self, now: float, forgotten: float | None) -> None:
        super().__init__(_TABLES)
        self._now = now
        self._forgotten = forgotten
        self._late: set[str] = set()
        self._deleted = float("-inf")
        self.count = 0

    def before(self, rows: Iterable[AccountRow]) -> None:
        """What was on them before the first session was read."""
        sql = "INSERT OR REPLACE INTO earlier VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        self._database.executemany(sql, ((name, *figures(b), at) for name, b, at in rows))

    def add(self, recount: Recount, is_late: Callable[[str], bool] = lambda _: False) -> None:
        """One session. is_late: whether such an account is charged some time after the events are
        written; then it is not compared."""
        if (tombstone := recount.deleted) is not None:
            self._deleted = max(self._deleted, tombstone.touched or tombstone.at)
        self._late.update(filter(is_late, recount.charged))
        rows = [(name, *msgspec.structs.astuple(one)) for name, one in recount.charged.items()]
        self._database.executemany(_ADD, rows)

    def after(self, rows: Iterable[AccountRow]) -> Iterator[AccountFault]:
        """What is wrong of the accounts as they are afterwards, and which are missing."""
        for name, balance, at in rows:
            self.count += 1
            if not (name in self._late or _UNTOLD.fullmatch(name)):
                yield from self._compared(name, balance, at)
        sql = """SELECT account, spent, held FROM sums WHERE NOT seen AND until > ?
            AND (spent <> 0 OR held <> 0)"""
        for name, spent, held in self._database.execute(sql, (self._now - _FORGOTTEN_SECONDS,)):
            if name in self._late:
                continue
            detail = f"it is gone, its events say {usd(spent)} USD spent and {usd(held)} USD held"
            yield AccountFault(name, "deleted", detail)

    def _compared(self, name: str, balance: Balance, at: float) -> Iterator[AccountFault]:
        """The figures that are wrong; of those in flight only where the others are right."""
        sums, earlier = self._sum_of(name), self._earlier(name)
        differences = list(self._spent(name, sums, balance, earlier))
        is_still = (balance, at) == earlier and at <= self._now - _STILL_SECONDS
        if not differences and is_still:
            differences = list(_in_flight(sums, balance))
        for what, has, says in differences:
            is_money = what in ("spent", "held")
            has_, says_ = (f"{usd(n)} USD" if is_money else str(n) for n in (has, says))
            yield AccountFault(name, f"{what} altered", f"it has {has_}, its events say {says_}")

    def _spent(
        self, name: str, sums: Charged, balance: Balance, earlier: tuple[Balance, float] | None
    ) -> Iterator[_Difference]:
        """What only grows."""
        spent, counts = balance.spent_micro_usd, balance.counts
        if sums.since >= self._now - _FORGOTTEN_SECONDS:  # else it may have begun anew
            has = (spent, counts.tokens, counts.tool_calls)
            says = (sums.spent, sums.tokens, sums.tool_calls)
            named = zip(("spent", "tokens", "tool calls"), has, says, strict=True)
            yield from [one for one in named if one[1] < one[2]]
        if earlier is not None and earlier[0].spent_micro_usd > sums.spent and self._is_all(name):
            yield "spent", spent, sums.spent

    def _is_all(self, name: str) -> bool:
        """Whether every session that was charged to it is there."""
        began = window_began(name)
        if (tree := _TREE.fullmatch(name)) is not None:
            began = int(tree[1]) / 1000
        if began is None or self._forgotten is None or began <= self._forgotten:
            return False
        return self._deleted < began

    def _sum_of(self, name: str) -> Charged:
        sql = "UPDATE sums SET seen = 1 WHERE account = ? RETURNING *"
        row = self._database.execute(sql, (name,)).fetchone()
        return Charged() if row is None else Charged(*row[1:10])

    def _earlier(self, name: str) -> tuple[Balance, float] | None:
        sql = "SELECT * FROM earlier WHERE account = ?"
        row = self._database.execute(sql, (name,)).fetchone()
        return None if row is None else (balance_of(row[1:8]), row[8])


def figures(balance: Balance) -> tuple[int, ...]:
    """spent, held, and the counts in their order: a row of accounts; `balance_of` turns it back."""
    counts = msgspec.structs.astuple(balance.counts)
    return balance.spent_micro_usd, balance.held_micro_usd, *counts


def _in_flight(sums: Charged, balance: Balance) -> Iterator[_Difference]:
    """What goes up and down, where nothing moved. A step that was given back late may be there."""
    counts = balance.counts
    has = (balance.held_micro_usd, counts.held_tokens, counts.calls)
    says = (sums.held, sums.held_tokens, sums.calls)
    named = zip(("held", "held tokens", "calls"), has, says, strict=True)
    yield from [one for one in named if one[1] != one[2]]
    if counts.steps < sums.steps:
        yield "steps", counts.steps, sums.steps
