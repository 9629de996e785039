"""What must be so after a crash: the ledger, the provider's journal and what clients saw, held
against each other."""

import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from proxy.contents import Contents, seed_of
from proxy.core import events as ev
from proxy.core.checkpoints import Checkpoints
from proxy.core.recording import digest_of
from proxy.core.session import SessionKey, fold
from proxy.core.steps import steps_of
from proxy.errors import ContentMissing
from proxy.sealing import Sealing
from proxy.simulator import Entry
from proxy.stores import Balance, SessionRow, Store, Stored
from proxy.stores.chain import Chain
from proxy.stores.urls import known_key, open_store
from proxy.stores.verification import SessionLog, first_fault
from tests.crash.load import CHUNK_MICRO_USD, TENANT_USD, Clients, Given
from tests.fuzz.books import wrong_in_log

_MARK: Final = re.compile(rb"<([\w.-]+) \d+ \w+>")
_GIVEN: Final = ("answered", "held")
"""held: the answer waits for a human, whose decision is asked for in its place."""
_ENDED_EARLY: Final = ("client_left", "cut")
_FLIGHT_CHUNKS: Final = 4
"""Of a stream whose sidecar died: what the provider had made past its hold, while more was held
for it, and until it heard of the death."""
_LATE_CHUNKS: Final = 2
"""Of one that its client left or a human ended: all that had arrived by then is booked. One chunk
is on its way, and one is made before the provider hears of it."""
_OVER_BUDGET_CHUNKS: Final = 30
"""Of one that was cut since nothing more could be held for it: what came while it waited for room
is not booked, for the budget has none; it is counted as overspend, by its size."""
_CALL_MICRO_USD: Final = 8
"""Of a stream that was cut in a tool's call: of `{"to":"a"}` the provider bills 6 tokens, and 10
bytes in 3 pieces are counted as 3; of `pay_bill` it bills 3, and 8 bytes are counted as 2."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a ledger is. env: what a process needs to open it."""

    url: str
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> bytes:
        return known_key(self.url, self.env)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Store]:
        store = open_store(self.url, self.key)
        await store.open()
        try:
            yield store
        finally:
            await store.close()

    async def left_behind(self) -> tuple[int, bool]:
        """The open holds, and whether anything is left to do for who comes after a dead owner: to
        book them, to mend listings that tell of another log. As the ledger says, whatever a process
        believes."""
        async with self.opened() as store:
            held = len(await store.open_holds())
            rows, _ = await store.list_sessions(limit=1_000)
            return held, held > 0 or any(row.head.seq != row.seq for row in rows)


def in_file(database: Path) -> Place:
    return Place(f"sqlite:///{database}")


@dataclass
class Ledger:
    """What the ledger says, whatever a process believes. kept: what each answered step sent and was
    answered, by session and number."""

    logs: dict[str, Sequence[Stored]] = field(default_factory=dict)
    tenants: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    holds: list[str] = field(default_factory=list)
    kept: dict[tuple[str, int], tuple[bytes, bytes]] = field(default_factory=dict)
    balances: dict[str, Balance] = field(default_factory=dict)


async def read_ledger(place: Place, names: str = "") -> Ledger:
    """All of it, by a store of its own; what was recorded, of sessions whose names begin so."""
    secret, found, cursor = place.key, Ledger(), None
    async with place.opened() as store:
        contents = Contents(store, seed_of(secret), Sealing({}, Checkpoints))
        while True:
            rows, cursor = await store.list_sessions(limit=1_000, cursor=cursor)
            for row in rows:
                if (fault := await _altered(store, row, secret)) is not None:
                    found.faults.append(f"{row.key.session}: {fault}")
                log = await store.read(row.key)
                _take(found, row.key, log, row.head.cost_micro_usd)
                if row.key.session.startswith(names):
                    await _read_back(found, row.key, log, contents)
            if cursor is None:
                break
        found.holds = [f"{h.key.session} {h.call_id}" for h in await store.open_holds()]
        accounts = {a for log in found.logs.values() for a in _accounts(log)}
        found.balances = dict(await store.balances(accounts))
    return found


async def _altered(store: Store, row: SessionRow, secret: bytes) -> str | None:
    """What `holdfast verify` would say of it."""
    rows = await store.read_chain(row.key)
    contents = await store.read_contents(row.key)
    digests = {name: digest_of(data) for name, data in contents.items()}
    tip = (row.seq, rows[-1].chain if rows else b"")
    fault = first_fault(Chain(secret), SessionLog(row.key, rows, tip, digests))
    return None if fault is None else f"{fault.what} at {fault.seq}: {fault.detail}"


def _take(found: Ledger, key: SessionKey, log: Sequence[Stored], listed: int) -> None:
    name = key.session
    if name in found.logs:
        found.faults.append(f"{name}: is there twice")
    found.logs[name], found.tenants[name] = log, key.tenant
    state = fold(stored.event for stored in log)
    if state.cost_micro_usd != listed:
        found.faults.append(f"{name}: listed with {listed}, its log says {state.cost_micro_usd}")


async def _read_back(
    found: Ledger, key: SessionKey, log: Sequence[Stored], contents: Contents
) -> None:
    """All that was recorded of it, answered or not."""
    steps = steps_of(log)
    try:
        bodies = await contents.bodies_of(key, steps)
        for step in steps:
            if step.is_answered and step.answer:  # where none is kept, no agent was given one
                answer = await contents.answer_of(key, step)
                found.kept[key.session, step.step] = bodies[step.call_id], answer.body
    except ContentMissing as missing:
        found.faults.append(f"{key.session}: {missing}")


def _accounts(log: Iterable[Stored]) -> set[str]:
    return {
        name
        for stored in log
        if isinstance(stored.event, ev.StepReserved)
        for name in (*stored.event.accounts, *stored.event.trees)
    }


def wrong(ledger: Ledger, clients: Clients, journal: Sequence[Entry]) -> list[str]:
    """All that is not as it must be, once nothing is in flight."""
    mine = {n: log for n, log in ledger.logs.items() if n.startswith(f"{clients.name}-")}
    faults = [*ledger.faults, *(f"still held: {hold}" for hold in ledger.holds)]
    for name, log in mine.items():
        events = [stored.event for stored in log]
        if isinstance(events[0], ev.SessionKilled):
            events = events[1:]  # by a human, who was quicker than its first call
        told = wrong_in_log(events) if events else []
        faults += (f"{name}: {one}" for one in told if "until its deadline" not in one)
    faults += _unbalanced(ledger)
    faults += clients.faults
    faults += _lost(mine, clients.given) + _unlike(ledger, clients.given)
    faults += _billed(mine, journal, clients.with_tools)
    for agent in clients.agents:
        if len(agent.sent) > 1:
            faults.append(f"{agent.session}: its mail was sent {len(agent.sent)} times")
    return faults


def _unbalanced(ledger: Ledger) -> list[str]:
    """Each account is what the logs add up to, and nothing is held on it."""
    spent: Counter[str] = Counter()
    for log in ledger.logs.values():
        _add_up(log, spent)
    faults = []
    for name, balance in ledger.balances.items():
        counts = balance.counts
        if balance.spent_micro_usd != spent[name]:
            faults.append(f"{name}: has {balance.spent_micro_usd}, the logs say {spent[name]}")
        if balance.held_micro_usd or counts.held_tokens or counts.calls:
            faults.append(f"{name}: holds {balance}")
    return faults


def _add_up(log: Sequence[Stored], spent: Counter[str]) -> None:
    on: dict[str, tuple[str, ...]] = {}
    for event in (stored.event for stored in log):
        if isinstance(event, ev.StepReserved):
            on[event.call_id] = (*event.accounts, *event.trees)
        elif isinstance(event, ev.StepSettled):
            for name in on.pop(event.call_id, ()):
                spent[name] += event.cost_micro_usd


def _lost(logs: dict[str, Sequence[Stored]], given: Iterable[Given]) -> list[str]:
    """Answers that a client saw whole and the ledger does not have as answered."""
    faults = []
    for one in given:
        steps: dict[str, int] = {}
        answered: set[int] = set()
        for event in (stored.event for stored in logs.get(one.session, ())):
            if isinstance(event, ev.StepReserved):
                steps[event.call_id] = event.step
            elif isinstance(event, ev.StepSettled) and event.outcome in _GIVEN:
                answered.add(steps.get(event.call_id, 0))
        if one.step not in answered:
            faults.append(f"{one.session}: step {one.step} was answered, and is not in the ledger")
    return faults


def asks_human(body: bytes) -> bool:
    """Whether a human is asked for in the place of an answer."""
    return b"handoff_" in body[:300]


def _unlike(ledger: Ledger, given: Iterable[Given]) -> list[str]:
    """What was kept of an answer that a client saw whole, and of what it had sent, is another."""
    faults = []
    for one in given:
        if asks_human(one.body):
            continue
        sent, answered = ledger.kept.get((one.session, one.step), (b"{}", b""))
        if answered != one.body:
            faults.append(f"{one.session}: of step {one.step} another answer is kept")
        if json.loads(sent) != one.sent:
            faults.append(f"{one.session}: of step {one.step} another request is kept")
    return faults


def _billed(
    logs: dict[str, Sequence[Stored]], journal: Sequence[Entry], with_tools: Collection[str]
) -> list[str]:
    """By session: billed is booked, but for what was on its way when a stream was cut; and all of
    it together has not passed the budget."""
    booked: Counter[str] = Counter()
    on_its_way: Counter[str] = Counter()
    for name, log in logs.items():
        killed = any(isinstance(stored.event, ev.SessionKilled) for stored in log)
        for event in (stored.event for stored in log):
            if isinstance(event, ev.StepSettled):
                booked[name] += event.cost_micro_usd
                chunks = _chunks_on_their_way(event.outcome, killed=killed)
                on_its_way[name] += chunks * CHUNK_MICRO_USD
                if name in with_tools and event.outcome not in _GIVEN:
                    on_its_way[name] += _CALL_MICRO_USD
    billed = billed_of(journal, logs)
    budget = round(TENANT_USD * 1e6)
    faults = [
        f"{name}: billed {bill}, booked {booked[name]}, and {on_its_way[name]} on its way"
        f" ({_settlements(logs[name])}; asked: {_requests(journal, name)})"
        for name, bill in billed.items()
        if bill > booked[name] + on_its_way[name]
    ]
    if billed.total() > budget + on_its_way.total():
        faults.append(f"billed {billed.total()} of a budget of {budget}")
    if booked.total() > budget:
        faults.append(f"booked {booked.total()} of a budget of {budget}")
    return faults


def _settlements(log: Sequence[Stored]) -> str:
    settled = [stored.event for stored in log if isinstance(stored.event, ev.StepSettled)]
    used = [one.usage and f"{one.usage.input_tokens}+{one.usage.output_tokens}" for one in settled]
    return ", ".join(f"{s.outcome} {u} at {s.at:.3f}" for s, u in zip(settled, used, strict=True))


def _requests(journal: Sequence[Entry], name: str) -> str:
    """What the provider knows of a session's calls."""
    told = []
    for entry in journal:
        found = _MARK.search(entry.body)
        if found and found[1].decode() == name:
            left, tokens = (
                entry.client_disconnected_at,
                f"{entry.input_tokens}+{entry.output_tokens}",
            )
            ended = f"left at {left:.3f}" if left else "not left"
            told.append(f"{entry.path} {entry.model} {tokens} from {entry.started:.3f}, {ended}")
    return ", ".join(told)


def _chunks_on_their_way(outcome: ev.Outcome, *, killed: bool) -> int:
    if outcome in _ENDED_EARLY:
        return _LATE_CHUNKS if killed or outcome == "client_left" else _OVER_BUDGET_CHUNKS
    return 0 if outcome in _GIVEN else _FLIGHT_CHUNKS


def billed_of(journal: Sequence[Entry], logs: Iterable[str]) -> Counter[str]:
    """Micro-USD by session, of these sessions; children of a tree are told by their root."""
    names = set(logs)
    billed: Counter[str] = Counter()
    for entry in journal:
        found = _MARK.search(entry.body)
        if found and (name := found[1].decode()) in names:
            billed[name] += entry.input_tokens + 2 * entry.output_tokens
    return billed
