"""One round of a race, in a sidecar of this process or in real workers, and what it came to."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp

from proxy.app import App
from proxy.core import events as ev
from proxy.core.session import SessionKey, fold
from proxy.simulator import Simulator
from proxy.stores import Store
from proxy.stores.sqlite import SqliteStore
from tests.integration.crew_kit import Serving, serving
from tests.integration.kit import sidecar
from tests.race.calls import Call, Kind, Model, drawn, mean_cost, play

WHOLE_ANSWERS = 40
"""What the budget is enough for."""
_WARM_CALLS = 12
"""For each process: enough for it to know what answers usually come to."""
_WARM_AT_ONCE = 6
_KILL_EVERY_SECONDS = 1.0
_SESSION = "limits: {{cost_usd: {usd}, parallel: null, steps: null}}\nbudgets: []\n"
_WINDOW = (
    "limits: {{cost_usd: null, parallel: null, steps: null}}\n"
    "budgets: [{{scope: tenant, cost_usd: {usd}, window: 1d}}]\n"
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """path: of the session of the n-th call, as /s/{path} has it. workers 0: in this process.
    own_budget: the sessions of the warm-up are on another."""

    name: str
    path: Callable[[int], str]
    policy: str = _SESSION
    own_budget: bool = True
    workers: int = 0
    kills: bool = False
    warm: bool = False
    gap_seconds: float = 0.0015


SCENARIOS = (
    Scenario("one session, cold", lambda n: "s1"),
    Scenario("one session, warm", lambda n: "s1", warm=True),
    Scenario("a tree of ten", lambda n: f"root/child-{n % 10}", warm=True),
    Scenario("a tenant's window", lambda n: f"s{n % 50}", _WINDOW, own_budget=False, warm=True),
    Scenario("4 workers, cold", lambda n: "s1", workers=4),
    Scenario("4 workers, warm", lambda n: "s1", workers=4, warm=True),
    Scenario("4 workers, a tree", lambda n: f"root/child-{n % 10}", workers=4, warm=True),
    Scenario(
        *("4 workers, a window", lambda n: f"s{n % 50}", _WINDOW),
        own_budget=False,
        workers=4,
        warm=True,
    ),
    Scenario(
        "4 workers, kill -9", lambda n: "s1", workers=4, warm=True, kills=True, gap_seconds=0.008
    ),
)


@dataclass(slots=True)
class Round:
    """What one came to. chunks: of the answers that were cut, the largest ones' cost together.
    left_over: whatever was not given back, in words."""

    budget: int
    seen: Counter[Kind] = field(default_factory=Counter)
    billed: int = 0
    booked: int = 0
    chunks: int = 0
    seconds: float = 0.0
    killed: int = 0
    left_over: list[str] = field(default_factory=list)

    @property
    def overspend(self) -> int:
        """Micro-USD billed past the budget and a chunk for each stream that was cut."""
        return max(0, self.billed - self.budget - self.chunks)


@dataclass(slots=True)
class _Field:
    """Where it is run."""

    url: str
    http: aiohttp.ClientSession
    sim: Simulator
    app: App | None = None
    serving: Serving | None = None


async def run(scenario: Scenario, calls: int, seed: int, accounting: str = "") -> Round:
    """One round. accounting: more of the policy's, as the inside of a YAML mapping."""
    gap = scenario.gap_seconds
    plan = drawn(calls, seed, leave_within_seconds=gap * 2_000)
    warm_up = drawn(_WARM_CALLS * max(1, scenario.workers), -seed - 1, leave_within_seconds=1)
    budget = WHOLE_ANSWERS * mean_cost(plan)
    if not scenario.own_budget:
        budget += sum(call.cost_micro_usd for call in warm_up)
    policy = scenario.policy.format(usd=f"{budget / 1e6:f}")
    policy += f"accounting: {{min_output_tokens: 50, {accounting}}}\n"
    with TemporaryDirectory() as folder:
        async with _field(Path(folder), scenario, policy, gap) as on:
            tasks = await _standing(on.app) if on.app else 0
            if scenario.warm:
                await _warm_up(on, warm_up)
            before = _billed(on.sim)
            round_ = Round(budget if scenario.own_budget else budget - before)
            began = asyncio.get_running_loop().time()
            await _storm(on, scenario, plan, round_, random.Random(seed))
            round_.seconds = asyncio.get_running_loop().time() - began
            await _quiet(on, round_, tasks)
            round_.billed = _billed(on.sim) - before
            async with _store(on, Path(folder)) as store:
                await _check(store, round_)
        return round_


@asynccontextmanager
async def _field(
    folder: Path, scenario: Scenario, policy: str, gap: float
) -> AsyncIterator[_Field]:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        sim = await enter(Simulator(Model(gap), seed=1, journal_size=1_000_000))
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        http = await enter(aiohttp.ClientSession(connector=connector))
        if not scenario.workers:
            store = f"sqlite:///{folder}/ledger.db"
            on = await enter(sidecar(folder, policy, upstream=sim.url, store=store))
            yield _Field(on.url, http, sim, app=on.app)
        else:
            crew = await enter(serving(folder, sim.url, scenario.workers, policy=policy))
            yield _Field(crew.url, http, sim, serving=crew)


async def _standing(app: App) -> int:
    """How many tasks there are while nobody calls: what opens the admin port is over by then."""
    await asyncio.wait([app._admin._opened])
    return len(app.tasks._tasks)


async def _warm_up(on: _Field, calls: tuple[Call, ...]) -> None:
    """Calls enough for what is learned, each in a session of its own, on new connections."""
    few = asyncio.Semaphore(_WARM_AT_ONCE)

    async def one(call: Call) -> Kind:
        async with few:
            return await play(on.http, on.url, _staying(call), f"warm-{call.number}")

    kinds = await asyncio.gather(*map(one, calls))
    assert set(kinds) == {"whole"}, kinds


def _staying(call: Call) -> Call:
    return Call(
        *(call.number, call.dialect, True, call.prompt_bytes, 1_000),
        *(call.answer_tokens, call.chunk_tokens, None),
    )


async def _storm(
    on: _Field, scenario: Scenario, plan: tuple[Call, ...], round_: Round, draw: random.Random
) -> None:
    killing = asyncio.ensure_future(_kill(on, round_, draw)) if scenario.kills else None
    kinds = await asyncio.gather(
        *(play(on.http, on.url, call, scenario.path(call.number)) for call in plan)
    )
    if killing is not None:
        killing.cancel()
        await asyncio.wait([killing])
    round_.seen.update(kinds)
    chunks = sorted((call.chunk_tokens * 2 for call in plan if call.stream), reverse=True)
    round_.chunks = sum(chunks[: round_.seen["cut"]])


async def _kill(on: _Field, round_: Round, draw: random.Random) -> None:
    assert on.serving is not None
    while True:
        await asyncio.sleep(_KILL_EVERY_SECONDS)  # noqa: TID251 - real processes in real time
        pid = draw.choice(on.serving.pids())
        os.kill(pid, signal.SIGKILL)
        round_.killed += 1


async def _quiet(on: _Field, round_: Round, tasks: int) -> None:
    """Nothing is in flight any more, or is named."""
    left: list[str] = []
    for _ in range(200):
        left = await _in_flight(on, tasks)
        if not left:
            return
        await asyncio.sleep(0.1)  # noqa: TID251 - real processes in real time
    round_.left_over += left


async def _in_flight(on: _Field, tasks: int) -> list[str]:
    if on.serving is not None:
        holds = await on.serving.open_holds()
        _, metrics = await on.serving.text("/metrics")
        gauges = [line for line in metrics.splitlines() if line.startswith(_GAUGES)]
        left = [line for line in gauges if not line.endswith(" 0.0")]
        return [*left, *(f"held: {hold}" for hold in holds)]
    app = on.app
    assert app is not None
    counts = {
        "running": app.ledger.running,
        "lines": len(app.ledger.lines),
        "calls": len(app.calls),
        "streams": app.calls.streams,
        "holds": len(await app.store.open_holds()),
        "tasks": len(app.tasks._tasks) - tasks,
    }
    return [f"{count} {name}" for name, count in counts.items() if count]


_GAUGES = ("holdfast_holds", "holdfast_active_streams")


@asynccontextmanager
async def _store(on: _Field, folder: Path) -> AsyncIterator[Store]:
    if on.app is not None:
        yield on.app.store
        return
    store = SqliteStore(folder / "ledger.db")
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def _check(store: Store, round_: Round) -> None:
    """Compares every balance with what the logs add up to."""
    rows, more = await store.list_sessions(limit=10_000)
    assert more is None
    spent: Counter[str] = Counter()
    for row in rows:
        log = [stored.event for stored in await store.read(row.key)]
        state = fold(log)
        _add_up(row.key, log, spent)
        if state.held_micro_usd or state.held or row.head.held_micro_usd:
            round_.left_over.append(f"{row.key} holds {state.held_micro_usd}")
        if not row.key.session.startswith("warm"):
            round_.booked += state.cost_micro_usd
    for account, balance in (await store.balances(spent)).items():
        if balance.held_micro_usd or balance.counts.held_tokens or balance.counts.calls:
            round_.left_over.append(f"{account} holds {balance}")
        if balance.spent_micro_usd != spent[account]:
            round_.left_over.append(f"{account}: {balance} is not {spent[account]}")


def _add_up(key: SessionKey, log: list[ev.AnyEvent], spent: Counter[str]) -> None:
    on: dict[str, tuple[str, ...]] = {}
    for event in log:
        if isinstance(event, ev.StepReserved):
            on[event.call_id] = (*event.accounts, *event.trees)
            spent.update(dict.fromkeys(on[event.call_id], 0))
        elif isinstance(event, ev.StepSettled):
            for name in on.pop(event.call_id, ()):
                spent[name] += event.cost_micro_usd


def _billed(sim: Simulator) -> int:
    return sum(entry.input_tokens + 2 * entry.output_tokens for entry in sim.journal)
