"""The ledger against the provider's journal: what was booked and billed, what is still held."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from proxy.core import events as ev
from proxy.core.session import SessionKey
from proxy.stores.sqlite import SqliteStore, key_path
from tests.fuzz.cases import Case


@dataclass(frozen=True, slots=True)
class Books:
    """booked: micro-USD by session. charged: settlements by session that cost something."""

    booked: Counter[str]
    charged: Counter[str]
    sessions: int
    holds: int


async def open_holds(database: Path) -> int:
    """What the file says, whatever the process believes."""
    store = _store(database)
    await store.open()
    try:
        return len(await store.open_holds())
    finally:
        await store.close()


async def read_log(
    database: Path,
) -> AsyncIterator[tuple[SessionKey, Sequence[ev.AnyEvent]]]:
    """Session by session, all events of each."""
    store, cursor = _store(database), None
    await store.open()
    try:
        while True:
            rows, cursor = await store.list_sessions(limit=1_000, cursor=cursor)
            for row in rows:
                yield row.key, [stored.event for stored in await store.read(row.key)]
            if cursor is None:
                return
    finally:
        await store.close()


async def read_books(database: Path) -> Books:
    """From the log itself, not from what was summed up."""
    booked: Counter[str] = Counter()
    charged: Counter[str] = Counter()
    sessions = 0
    async for key, events in read_log(database):
        sessions += 1
        for event in events:
            if isinstance(event, ev.StepSettled) and event.cost_micro_usd:
                booked[key.session] += event.cost_micro_usd
                charged[key.session] += 1
    return Books(booked, charged, sessions, await open_holds(database))


def _store(database: Path) -> SqliteStore:
    return SqliteStore(database, key_path(database).read_bytes())


def disagreements(
    books: Books, cases: Mapping[int, Case], sent: Counter[int], billed: Counter[int]
) -> list[str]:
    """Where the ledger and the provider differ, for the whole and for each session known by its
    case: less booked than billed, or more charged than sent."""
    faults = []
    total, all_billed = books.booked.total(), billed.total()
    if total < all_billed:
        faults.append(f"booked {total} micro-USD of {all_billed} billed")
    if books.charged.total() > sent.total():
        faults.append(f"charged {books.charged.total()} calls of {sent.total()} sent")
    billed_in: Counter[str] = Counter()
    sent_in: Counter[str] = Counter()
    for number, case in cases.items():
        if case.session is not None:
            billed_in[case.session] += billed[number]
            sent_in[case.session] += sent[number]
    for session, bill in billed_in.items():
        booked, charged = books.booked[session], books.charged[session]
        if booked < bill:
            faults.append(f"{session}: booked {booked} micro-USD of {bill} billed")
        if charged > sent_in[session]:
            faults.append(f"{session}: charged {charged} calls of {sent_in[session]} sent")
    return faults
