"""holdfast verify names accounts, open holds and listings that are not what the events say."""

import asyncio
import json
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from msgspec.structs import replace as changed

from proxy.cli.heads import Heads
from proxy.cli.verifying import Verified, verify_ledger
from proxy.clock import SystemClock
from proxy.core import events as ev
from proxy.core.policy import Budget
from proxy.core.session import SessionKey
from proxy.ledger import Ledger
from proxy.stores.redis import RedisStore
from proxy.stores.redis_keys import tag
from proxy.stores.sqlite import SqliteStore
from proxy.tasks import Tasks
from tests.fakes import FakeClock
from tests.fakes_redis import url_for
from tests.fakes_stores import SECRET
from tests.unit.test_ledger import KEY, UNLIMITED, used, wants

HOUR, DAY = 3_600, 86_400
BUDGETS = (Budget("tenant", "1h", 10_000), Budget("global", "1mo", 10_000))
CHILD = SessionKey("t", "below")
OTHER = SessionKey("u", "s1")


class Written:
    """A ledger's file and who writes it. The clock is some minutes behind: all of it lies still."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = FakeClock(SystemClock().now() - 900)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Ledger]:
        store, tasks = SqliteStore(self.path), Tasks()
        await store.open()
        self.store = store
        yield Ledger(store, self.clock, "me", tasks)
        await tasks.settle()
        await store.close()

    async def fill(self) -> None:
        """Two tenants; a call settled, one in flight; a session below another; one finished."""
        async with self.open() as ledger:
            await self.fill_with(ledger)

    async def fill_with(self, ledger: Ledger) -> None:
        await ledger.reserve(wants("a", budgets=BUDGETS))
        await ledger.settle(KEY, "a", used(40))
        await ledger.reserve(wants("b", budgets=BUDGETS))
        below = changed(
            wants("c", key=CHILD, budgets=BUDGETS), parent="s1", limits_of=lambda _: UNLIMITED
        )
        await ledger.reserve(below)
        await ledger.settle(CHILD, "c", changed(used(30), tools=("look",)))
        await ledger.reserve(changed(below, call_id="d"))
        await ledger.reserve(wants("e", key=OTHER, budgets=BUDGETS))
        await ledger.settle(OTHER, "e", used(7))
        await ledger.record(OTHER, ev.SessionPaused(self.clock.now()))

    def write(self, work: Callable[[Ledger], Awaitable[object]]) -> None:
        async def run() -> None:
            async with self.open() as ledger:
                await work(ledger)

        asyncio.run(run())

    def change(self, statement: str) -> None:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            for one in statement.split(";"):
                assert connection.execute(one).rowcount > 0, one

    def verified(self) -> Verified:
        with Heads() as heads:
            return verify_ledger(str(self.path), {}, heads)


@pytest.fixture
def ledger(tmp_path: Path) -> Written:
    written = Written(tmp_path / "ledger.db")
    asyncio.run(written.fill())
    return written


def test_what_was_charged_is_what_the_events_say(ledger: Written) -> None:
    """Windows, a tree, holds, listings."""
    verified = ledger.verified()

    assert verified.faults == ()
    assert (verified.sessions, verified.accounts, verified.holds) == (3, 4, 2)


INSERTED = """INSERT INTO holds
    SELECT session_id, 'x', owner, deadline, cost, accounts, tokens, trees FROM holds
    WHERE call_id = 'b'"""
ACTIVE = """UPDATE sessions SET head = replace(head, '"paused"', '"active"'), state = 'active'"""
ACTIVE_FACET = "UPDATE facets SET state = 'active' WHERE tenant = 'u' AND state = 'paused'"
UPDATED = "UPDATE sessions SET head = json_set(head, '$.updated_at', 9.5)"
WINDOW = "account LIKE 'tenant:t:1h:%'"


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            f"UPDATE accounts SET spent = spent - 1 WHERE {WINDOW}",
            "spent altered: it has 0.000069 USD, its events say 0.000070 USD",
        ),
        (
            f"UPDATE accounts SET spent = spent + 1 WHERE {WINDOW}",
            "spent altered: it has 0.000071 USD, its events say 0.000070 USD",
        ),
        (
            "UPDATE accounts SET spent = 0 WHERE account LIKE 'global:%'",
            "account global:-:1mo:",
        ),
        (
            f"UPDATE accounts SET held = 0 WHERE {WINDOW}",
            "held altered: it has 0.000000 USD, its events say 0.000200 USD",
        ),
        (
            f"DELETE FROM accounts WHERE {WINDOW}",
            "deleted: it is gone, its events say 0.000070 USD spent and 0.000200 USD held",
        ),
        (
            "UPDATE accounts SET tokens = 1 WHERE account LIKE 'tree:t:s1:%'",
            "tokens altered: it has 1, its events say 30",
        ),
        (
            "UPDATE accounts SET tool_calls = 0 WHERE account LIKE 'tree:t:s1:%'",
            "tool calls altered: it has 0, its events say 1",
        ),
        (
            "UPDATE accounts SET calls = 0 WHERE account LIKE 'tree:t:s1:%'",
            "calls altered: it has 0, its events say 1",
        ),
        (
            "UPDATE accounts SET held_tokens = 7 WHERE account LIKE 'tree:t:s1:%'",
            "held tokens altered: it has 7, its events say 100",
        ),
        (
            "UPDATE accounts SET steps = 1 WHERE account LIKE 'tree:t:s1:%'",
            "steps altered: it has 1, its events say 2",
        ),
        (f"UPDATE accounts SET spent = 'none' WHERE {WINDOW}", "spent altered"),
        (
            "DELETE FROM holds WHERE call_id = 'b'",
            "event 4 (StepReserved) hold deleted: what call b holds (0.000100 USD) is missing",
        ),
        (
            "UPDATE holds SET cost = 1 WHERE call_id = 'b'",
            "hold altered: call b holds 0.000001 USD, its events say 0.000100",
        ),
        (
            "UPDATE holds SET accounts = '[]' WHERE call_id = 'b'",
            "hold altered: call b is charged to none, its events say tenant:t:1h:",
        ),
        ("UPDATE holds SET accounts = 'x' WHERE call_id = 'b'", "hold altered: call b"),
        ("UPDATE holds SET trees = '[]' WHERE call_id = 'd'", "call d counts in the trees none"),
        ("UPDATE holds SET deadline = deadline + 9 WHERE call_id = 'b'", "has the deadline"),
        ("UPDATE holds SET owner = 'you' WHERE call_id = 'b'", "is owned by you, its events say"),
        (
            INSERTED,
            "hold inserted: call x holds something, and no event says that it is in flight",
        ),
        (
            f"{ACTIVE}, facet = (SELECT id FROM facets WHERE tenant = 't' LIMIT 1) WHERE id = 3",
            "session s1 (tenant u): event 4 listing altered: it shows active of agent None, but",
        ),
        (
            f"{ACTIVE_FACET}; {ACTIVE} WHERE id = 3",
            "listing altered: state is shown as active, its events say paused",
        ),
        (
            "UPDATE sessions SET state = 'finished' WHERE tenant = 'u'",
            "listing altered: it shows paused of agent None, but is found as finished of None",
        ),
        (
            "UPDATE sessions SET updated_at = 7 WHERE tenant = 'u'",
            "but is found as of 7.0",
        ),
        ("UPDATE sessions SET facet = 99 WHERE tenant = 'u'", "but is found among others"),
        ("UPDATE sessions SET queued = 1 WHERE tenant = 'u'", "not found in the queue"),
        (
            "UPDATE sessions SET head = json_set(head, '$.cost_micro_usd', 1) WHERE tenant = 'u'",
            "listing altered: cost is shown as 0.000001, its events say 0.000007",
        ),
        (
            "UPDATE sessions SET head = json_set(head, '$.parent', 'x') WHERE tenant = 'u'",
            "listing altered: parent is shown as x, its events say none",
        ),
        (
            f"{UPDATED}, updated_at = 9.5 WHERE tenant = 'u'",
            "listing altered: updated at is shown as 9.5",
        ),
        ("UPDATE sessions SET head = '{' WHERE tenant = 'u'", "listing altered: it cannot be read"),
    ],
)
def test_what_somebody_did_is_named(ledger: Written, statement: str, said: str) -> None:
    """What has no chain is told anew from the events that have one."""
    ledger.change(statement)
    summary = ledger.verified().summary()

    assert said in summary, summary
    assert summary.count("\n") == 1
    assert "1 not as they were written" in summary


def test_a_session_that_is_gone_is_told_by_what_it_spent(ledger: Written) -> None:
    """Though row, events and holds went together: nothing else of the ledger tells."""
    number = "(SELECT id FROM sessions WHERE tenant = 'u')"
    ledger.change(
        f"DELETE FROM events WHERE session_id = {number}; DELETE FROM sessions WHERE tenant = 'u'"
    )
    text = ledger.verified().summary()

    assert "account tenant:u:1h:" in text
    assert "it has 0.000007 USD, its events say 0.000000 USD" in text


def test_accounts_in_json(ledger: Written) -> None:
    """Beside those of sessions."""
    ledger.change(f"UPDATE accounts SET spent = 1 WHERE {WINDOW}")
    report = ledger.verified().as_json()

    assert (report["accounts"], report["holds"], report["faulty"]) == (4, 2, 1)
    (fault,) = json.loads(json.dumps(report["faults"]))
    assert fault.pop("account").startswith("tenant:t:1h:")
    assert fault == {
        "what": "spent altered",
        "detail": "it has 0.000001 USD, its events say 0.000070 USD",
    }


def test_deleted_sessions_are_no_alarm(ledger: Written) -> None:
    """What they had spent stays on the accounts, though no event tells of it any more; less than
    the events that are left say is still told."""
    at = ledger.clock.now()
    ledger.write(lambda _: ledger.store.delete(OTHER, at))
    assert ledger.verified().faults == ()
    ledger.change("UPDATE accounts SET spent = 69 WHERE account LIKE 'global:%'")
    assert "0.000069 USD, its events say 0.000070 USD" in ledger.verified().summary()


def test_what_retention_forgot_is_no_alarm(ledger: Written) -> None:
    """Not even tombstones are left of some; but of windows that began later all sessions are."""

    async def forget(_: Ledger) -> None:
        now = ledger.clock.now()
        await ledger.store.delete(OTHER, now)
        assert await ledger.store.purge(now + 1, now + 1) > 0

    ledger.write(forget)
    assert ledger.verified().faults == ()
    ledger.clock.advance(2 * HOUR)

    async def later(one: Ledger) -> None:
        await one.reserve(wants("z", key=SessionKey("v", "s1"), budgets=BUDGETS))
        await one.settle(SessionKey("v", "s1"), "z", used(3))

    ledger.write(later)
    assert ledger.verified().faults == ()
    ledger.change("UPDATE accounts SET spent = 9 WHERE account LIKE 'tenant:v:%'")
    assert "it has 0.000009 USD, its events say 0.000003 USD" in ledger.verified().summary()


def test_accounts_that_are_forgotten_are_no_alarm(tmp_path: Path) -> None:
    """Retention deletes those of windows that are long over, the sessions may stay."""
    written = Written(tmp_path / "ledger.db")
    written.clock = FakeClock(SystemClock().now() - 41 * DAY)
    asyncio.run(written.fill())

    async def end(one: Ledger) -> None:
        await one.settle(KEY, "b", used(1))
        await one.settle(CHILD, "d", used(1))

    async def forget(_: Ledger) -> None:
        assert await written.store.purge_accounts(SystemClock().now() - 40 * DAY) == 4

    written.write(end)
    written.write(forget)
    assert written.verified().faults == ()


def test_a_ledger_of_an_older_version_is_no_alarm(ledger: Written) -> None:
    """Its listings do not say which log they tell of, and nobody knows what it has forgotten."""
    ledger.change(
        "UPDATE sessions SET head = json_remove(head, '$.seq', '$.cost_micro_usd');"
        "DELETE FROM meta WHERE name = 'forgotten';"
        f"UPDATE accounts SET spent = spent + 9 WHERE {WINDOW}"
    )
    assert ledger.verified().faults == ()


async def test_verified_beside_a_writer(tmp_path: Path) -> None:
    """Again and again, while two processes reserve and settle as fast as they can."""
    written = Written(tmp_path / "ledger.db")
    written.clock = FakeClock(SystemClock().now())
    async with written.open() as ledger:
        other, tasks = SqliteStore(written.path), Tasks()
        await other.open()
        two = (ledger, Ledger(other, written.clock, "two", tasks))
        stop = asyncio.Event()

        async def write(n: int) -> None:
            key, one = SessionKey("t", f"s{n % 3}"), two[n % 2]
            want = wants("", key=key, budgets=BUDGETS, cost=None)
            call = 0
            while not stop.is_set():
                call += 1
                await one.reserve(changed(want, call_id=f"{n}-{call}"))
                await one.settle(key, f"{n}-{call}", used(1))
                written.clock.advance(0.01)

        writers = [asyncio.ensure_future(write(n)) for n in range(8)]
        for _ in range(12):
            verified = await asyncio.to_thread(written.verified)
            assert verified.faults == ()
        stop.set()
        await asyncio.gather(*writers)
        await tasks.settle()
        await other.close()
    assert written.verified().faults == ()
    assert verified.events > 100


@pytest.mark.parametrize("kind", ["redis", "cluster"])
async def test_what_somebody_did_in_redis_is_named(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as a ledger can be seen that is read session by session: a cluster books budgets above
    tenants later, so those are not compared."""
    monkeypatch.setenv("HOLDFAST_CHAIN_KEY", SECRET.decode())
    written, url = Written(tmp_path / "unused"), url_for(kind, tmp_path)
    store = RedisStore(url, SECRET)

    def verified() -> list[str]:
        with Heads() as heads:
            return verify_ledger(url, dict(os.environ), heads).summary().splitlines()

    await store.open()
    await written.fill_with(Ledger(store, written.clock, "me", Tasks()))
    everything = "3 sessions, 13 events, 0 contents, 4 accounts, 2 open holds: "
    assert await asyncio.to_thread(verified) == [f"{everything}as they were written"]

    names = [name for name, _, _ in await store.dump_accounts("", 9)]
    balances = await store.balances(names)
    tenant, one = next((n, b) for n, b in balances.items() if n.startswith("tenant:t:"))
    at = written.clock.now()
    await store.restore_accounts([(tenant, changed(one, spent_micro_usd=1), at)])
    (said, _) = await asyncio.to_thread(verified)
    told = "spent altered: it has 0.000001 USD, its events say 0.000070 USD"
    assert said == f"account {tenant} {told}"
    await store.restore_accounts([(tenant, changed(one, held_micro_usd=1), at)])
    (said, _) = await asyncio.to_thread(verified)
    told = "held altered: it has 0.000001 USD, its events say 0.000200 USD"
    assert said == f"account {tenant} {told}"
    await store.restore_accounts([(tenant, one, at)])
    hold = f"{tag(store.servers.prefix, 't')}:h:s1"
    await store.servers.call(hold, "HDEL", hold, "b")
    assert "(StepReserved) hold deleted: what call b" in (await asyncio.to_thread(verified))[0]
    await store.close()
