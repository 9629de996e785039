"""The ledger against the provider's journal: what was booked and billed, what is still held."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from proxy.core import events as ev
from proxy.core.session import SessionKey
from proxy.stores import Stored
from proxy.stores.chain import first_altered
from proxy.stores.sqlite import SqliteStore, key_path
from tests.fuzz.cases import Case, Leave


@dataclass(frozen=True, slots=True)
class Books:
    """booked: micro-USD by session. charged: settlements by session that cost something. faults: of
    the logs themselves."""

    booked: Counter[str]
    charged: Counter[str]
    sessions: int
    holds: int
    faults: tuple[str, ...] = ()


async def open_holds(database: Path) -> int:
    """What the file says, whatever the process believes."""
    store = _store(database)
    await store.open()
    try:
        return len(await store.open_holds())
    finally:
        await store.close()


async def read_log(database: Path) -> AsyncIterator[tuple[SessionKey, Sequence[Stored], bool]]:
    """Session by session, all events of each; and whether its chain is whole."""
    store, cursor = _store(database), None
    secret = key_path(database).read_bytes()
    await store.open()
    try:
        while True:
            rows, cursor = await store.list_sessions(limit=1_000, cursor=cursor)
            for row in rows:
                chained = await store.read_chain(row.key)
                head = (row.seq, chained[-1].chain) if chained else None
                is_whole = bool(chained) and first_altered(secret, row.key, chained, head) is None
                yield row.key, await store.read(row.key), is_whole
            if cursor is None:
                return
    finally:
        await store.close()


async def read_books(database: Path) -> Books:
    """From the log itself, not from what was summed up."""
    booked: Counter[str] = Counter()
    charged: Counter[str] = Counter()
    faults: list[str] = []
    sessions = 0
    async for key, stored, is_whole in read_log(database):
        sessions += 1
        events = [one.event for one in stored]
        if not is_whole:
            faults.append(f"{key.session}: its chain is broken")
        faults += (f"{key.session}: {wrong}" for wrong in wrong_in_log(events))
        for event in events:
            if isinstance(event, ev.StepSettled) and event.cost_micro_usd:
                booked[key.session] += event.cost_micro_usd
                charged[key.session] += 1
    return Books(booked, charged, sessions, await open_holds(database), tuple(faults))


def wrong_in_log(events: Sequence[ev.AnyEvent]) -> list[str]:
    """What cannot be in the log of a session whose calls are all over."""
    wrong: list[str] = []
    if not events or not isinstance(events[0], ev.SessionOpened):
        wrong.append("it does not begin with its opening")
    held: set[str] = set()
    for event in events:
        match event:
            case ev.StepReserved(call_id=call) if call in held:
                wrong.append(f"{call} is held twice")
            case ev.StepReserved(call_id=call):
                held.add(call)
            case ev.StepSettled(call_id=call) | ev.StepReleased(call_id=call):
                if call not in held:
                    wrong.append(f"{call} is over, and was not held or had ended before")
                held.discard(call)
                if isinstance(event, ev.StepSettled) and event.outcome == "expired":
                    wrong.append(f"{call} was forgotten until its deadline")
            case _:
                pass
    return [*wrong, *(f"{call} has no end" for call in sorted(held))]


def _store(database: Path) -> SqliteStore:
    return SqliteStore(database, key_path(database).read_bytes())


def disagreements(
    books: Books, cases: Mapping[int, Case], sent: Counter[int], billed: Counter[int]
) -> list[str]:
    """Where the ledger and the provider differ, for the whole and for each session known by its
    case: less booked than billed, more charged than sent, or, where nobody has left and the
    provider was honest, not to the micro-dollar what was billed."""
    faults = []
    total, all_billed = books.booked.total(), billed.total()
    if total < all_billed:
        faults.append(f"booked {total} micro-USD of {all_billed} billed")
    if books.charged.total() > sent.total():
        faults.append(f"charged {books.charged.total()} calls of {sent.total()} sent")
    for session, told in _by_session(cases).items():
        bill, asked = (sum(count[case.number] for case in told) for count in (billed, sent))
        booked, charged = books.booked[session], books.charged[session]
        is_certain = all(case.leave is Leave.WAIT and case.plan is None for case in told)
        if booked < bill or (booked > bill and is_certain):
            faults.append(f"{session}: booked {booked} micro-USD of {bill} billed")
        if charged > asked:
            faults.append(f"{session}: charged {charged} calls of {asked} sent")
    return faults


def _by_session(cases: Mapping[int, Case]) -> Mapping[str, Sequence[Case]]:
    found: dict[str, list[Case]] = {}
    for case in cases.values():
        if case.session is not None:
            found.setdefault(case.session, []).append(case)
    return found
