"""What is asked of a ledger of a million sessions: `python -m bench.listing` (SQLite).

Makes one (`--ledger FILE` keeps it, and takes it as it is where it is there), and measures every
filter of a listing, its pages down to the deepest, and what a sidecar asks by itself: at its start,
at each sweep, at a purge of a tenth of it all, with appends beside it. Times in ms, of calls
through the store as the admin API makes them: the best of the rounds, as others share the machine,
and their median.
"""

import argparse
import asyncio
import random
import sqlite3
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from statistics import median
from time import perf_counter

import uvloop

from bench.store import SECRET
from bench.store_calls import Session, reserve, settle
from proxy.core.events import SessionFinished, SessionOpened
from proxy.core.session import SessionKey
from proxy.stores import DELETED, SessionHead
from proxy.stores.chain import GENESIS, Chain, prefix_of
from proxy.stores.codec import encode_cursor, encode_event
from proxy.stores.effects import Tip
from proxy.stores.sqlite import SqliteStore
from proxy.stores.sqlite_journal import Record
from proxy.stores.sqlite_rows import DECIDED, Changes

NOW = 1_800_000_000.0
DAY = 86_400.0
STATES = {
    "finished": 0.93,
    "killed": 0.03,
    "active": 0.018,
    DELETED: 0.015,
    "warned": 0.005,
    "paused": 0.001,
    "awaiting_human": 0.00005,
}
"""How many of the sessions are in which state."""

RARE = "rare"
"""A tenant and an agent with three sessions each, all of them old."""

Ask = Callable[[SqliteStore], Awaitable[object]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=1_000_000)
    parser.add_argument("--ledger", type=Path, help="keep it here; take it as it is if it is there")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-purge", action="store_true", help="leave it as it is")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.ledger or Path(folder) / "ledger.db"
        if not path.exists():
            began = perf_counter()
            asyncio.run(_made(path))
            fill(path, arguments.sessions)
            print(f"made {arguments.sessions} sessions in {perf_counter() - began:.0f} s")
        print(f"{path.stat().st_size / 2**20:.0f} MiB")
        uvloop.run(_measure(path, arguments.sessions, arguments.rounds, not arguments.no_purge))


async def _made(path: Path) -> None:
    store = SqliteStore(path, SECRET)
    await store.open()
    await store.close()


def fill(path: Path, sessions: int) -> None:
    """Writes them as the store's own writer does, each with its chain, the oldest first."""
    made = _sessions(sessions)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        number = 0
        while batch := list(islice(made, 4096)):
            record = Record()
            for key, tip, rows in batch:
                number += 1
                record.sessions[number] = (*key, tip)
                record.events += [(number, *row, None) for row in rows]
            connection.execute("BEGIN")
            Changes((record,)).write(connection, DECIDED)
            connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _sessions(count: int) -> Iterator[tuple[SessionKey, Tip, list[tuple[int, bytes, bytes]]]]:
    drawn, chain = random.Random(7), Chain(SECRET)
    states = drawn.choices([*STATES], [*STATES.values()], k=count)
    for n, state in enumerate(states):
        rare = n % (count // 6) == 1
        tenant = RARE if rare and n % 2 else f"tenant-{int(drawn.paretovariate(0.6)) % 50}"
        agent = RARE if rare and not n % 2 else drawn.choice(("coder", "triage", None, "planner"))
        if agent == "planner":
            agent = f"planner-{drawn.randrange(20)}"
        at = NOW - 7 * DAY * (1 - n / count)
        key = SessionKey(tenant, f"s_{drawn.getrandbits(128):032x}")
        previous, rows = GENESIS, []
        events = (SessionOpened(at - 60, agent=agent), SessionFinished(at))
        for seq, event in enumerate(events, 1):
            payload = encode_event(event)
            previous = chain.after(previous, prefix_of(key), seq, payload)
            rows.append((seq, payload, previous))
        waits = ("h1",) if state == "awaiting_human" else ()
        head = SessionHead(state, agent, steps=9, created_at=at - 60, updated_at=at, waits=waits)
        yield key, Tip(2, previous, head), rows


def _asks(sessions: int) -> dict[str, Ask]:
    half = encode_cursor(NOW - 3.5 * DAY, sessions)
    deep = encode_cursor(NOW - 6.99 * DAY, sessions)
    filters: dict[str, dict[str, str]] = {
        "no filter": {},
        **{f"state={state}": {"state": state} for state in STATES},
        "agent=coder": {"agent": "coder"},
        "agent=planner-7": {"agent": "planner-7"},
        "agent=rare": {"agent": RARE},
        "tenant=tenant-1": {"tenant": "tenant-1"},
        "tenant=tenant-37": {"tenant": "tenant-37"},
        "tenant=rare": {"tenant": RARE},
        "agent=nobody": {"agent": "nobody"},
        "state=killed agent=planner-7": {"state": "killed", "agent": "planner-7"},
        "state=paused tenant=tenant-1": {"state": "paused", "tenant": "tenant-1"},
        "state=warned agent=rare": {"state": "warned", "agent": RARE},
        "agent=coder tenant=tenant-37": {"agent": "coder", "tenant": "tenant-37"},
        "all three": {"state": "killed", "agent": "planner-3", "tenant": "tenant-1"},
    }
    asks: dict[str, Ask] = {}
    for name, filter_ in filters.items():
        for page, cursor in (("first page", None), ("half way", half), ("deepest", deep)):
            asks[f"{name}, {page}"] = _listing(filter_, cursor)
    asks["1,000 of no filter"] = _listing({}, None, 1000)
    asks["find_tenants"] = lambda store: store.find_tenants("s_none")
    asks["list_queue open"] = lambda store: store.list_queue("open", 100)
    asks["list_queue owed"] = lambda store: store.list_queue("owed", 100)
    asks["list_idle, none are"] = lambda store: store.list_idle(0.0, 500)
    asks["list_idle, 20,000 are"] = lambda store: store.list_idle(NOW, 500)
    asks["list_idle to archive"] = lambda store: store.list_idle(NOW - 5 * DAY, 500, ("finished",))
    asks["open_holds"] = lambda store: store.open_holds()
    asks["list_keys"] = lambda store: store.list_keys(None, 500)
    asks["list_keys, half way"] = lambda store: store.list_keys(SessionKey("t", "s_8"), 500)
    return asks


def _listing(filter_: dict[str, str], cursor: str | None, limit: int = 100) -> Ask:
    return lambda store: store.list_sessions(**filter_, cursor=cursor, limit=limit)


async def _measure(path: Path, sessions: int, rounds: int, purges: bool) -> None:
    began = perf_counter()
    store = SqliteStore(path, SECRET)
    await store.open()
    await store.list_sessions(limit=1)
    _show("open and first answer", [perf_counter() - began])
    worst = 0.0
    for name, ask in _asks(sessions).items():
        times = []
        for _ in range(rounds):
            began = perf_counter()
            await ask(store)
            times.append(perf_counter() - began)
        worst = max(worst, min(times))
        _show(name, times)
    print(f"slowest: {worst * 1e3:.1f} ms")
    if purges:
        await _purge(store, NOW - 6.3 * DAY, NOW)
    await store.close()


async def _purge(store: SqliteStore, before: float, at: float) -> None:
    """With a call under way all the time: how long its appends wait."""
    done, waits = asyncio.Event(), list[float]()

    async def calls() -> None:
        session, number = Session(SessionKey("t", f"beside{at}")), 0
        while not done.is_set():
            number += 1
            for append in (reserve(session, f"c{number}"), settle(session, f"c{number}", number)):
                began = perf_counter()
                await store.append(append)
                waits.append(perf_counter() - began)
            await asyncio.sleep(0.002)  # noqa: TID251 - the bench's own pace

    beside = asyncio.create_task(calls())  # noqa: TID251 - awaited below
    began = perf_counter()
    count = await store.purge(before, at)
    seconds = perf_counter() - began
    done.set()
    await beside
    waits.sort()
    p99, worst = waits[int(len(waits) * 0.99)] * 1e3, waits[-1] * 1e3
    print(
        f"purge of {count}: {seconds:.1f} s, {seconds / max(count, 1) * 1e6:.0f} µs each; "
        f"an append beside it waits {median(waits) * 1e3:.1f} ms, 99 % {p99:.1f}, worst {worst:.1f}"
    )


def _show(name: str, times: list[float]) -> None:
    print(f"{name:50} {min(times) * 1e3:8.2f} {median(times) * 1e3:8.2f} ms", flush=True)


if __name__ == "__main__":
    sys.exit(main())
