"""Random lives of calls in three processes on one store: trees, windows, crashes, clocks.

After each step every budget is compared with what the logs and the accounts say. What is played
is a model of nothing but the open calls: the truth is in the store.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import astuple
from msgspec.structs import replace as changed

from proxy.cli.heads import Heads
from proxy.cli.verifying import verify_ledger
from proxy.core import events as ev
from proxy.core.decision import Granted, Refusal, Wanted
from proxy.core.engine import Rules
from proxy.core.policy import Budget
from proxy.core.session import SessionKey, SessionState, fold
from proxy.ledger import Ledger
from proxy.reservation import Admitted, Reservation
from proxy.stores import Balance, Counts, Store
from proxy.stores.memory import MemoryStore
from proxy.stores.sqlite import SqliteStore
from proxy.sweeper import Sweeper
from proxy.tasks import Tasks
from tests.fakes import FakeClock
from tests.unit.test_ledger import ASK, UNLIMITED, just, used

T = TypeVar("T")

PARENTS: Mapping[str, str | None] = {"x": None, "y": None, "a": "x", "b": "x", "aa": "a"}
"""A tree of x, with a grandchild; y beside it."""
LIMITS = replace(UNLIMITED, cost_micro_usd=1_000, tokens=1_600, steps=30, parallel=5)
BUDGETS = (Budget("tenant", "1h", 1_300), Budget("global", "1d", 2_600))
DEADLINE_SECONDS = 600
IDLE_SECONDS = 4_000
PROCESSES = 3
sessions = st.sampled_from(sorted(PARENTS))


class Life:
    """A call that a process has open. overspent: booked past what it held."""

    def __init__(self, who: int, want: Reservation, held: int) -> None:
        self.who, self.want, self.held = who, want, held


class LedgerMachine(RuleBasedStateMachine):
    """Two stores that are one (handles on one file, or the same in memory) behind three ledgers."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = TemporaryDirectory()
        self.stores = self.open_stores(Path(self.folder.name))
        for store in self.stores:
            self.do(store.open())
        self.clock, self.tasks = FakeClock(), Tasks()
        self.ledgers = [self.process() for _ in range(PROCESSES)]
        self.open: list[Life] = []
        self.ids = 0
        self.over: Counter[str] = Counter()
        """Micro-USD booked past a hold, by session and by account: what the promise excepts."""

    def open_stores(self, folder: Path) -> list[Store]:
        return [MemoryStore()]

    def process(self) -> Ledger:
        number = len(self.ledgers) if hasattr(self, "ledgers") else 0
        store = self.stores[number % len(self.stores)]
        return Ledger(store, self.clock, f"p{number}", self.tasks, sessions_in_memory=3)

    def do(self, what: Coroutine[None, None, T]) -> T:
        return self.loop.run_until_complete(what)

    def teardown(self) -> None:
        try:
            self.end()
        finally:
            self.do(self.tasks.settle())
            for store in self.stores:
                self.do(store.close())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()
            self.folder.cleanup()

    def want(self, name: str, bound: int, input_tokens: int, own: int | None) -> Reservation:
        self.ids += 1
        return Reservation(
            key=SessionKey("t", name),
            call_id=f"c{self.ids}",
            ask=changed(
                ASK, session=name, output_bound=bound, input_tokens=input_tokens, usual_output=40
            ),
            rules=Rules(LIMITS, min_output_tokens=30),
            budgets=BUDGETS,
            agent=None,
            parent=PARENTS[name],
            source="path",
            upstream="openai",
            deadline_seconds=DEADLINE_SECONDS,
            idle_seconds=IDLE_SECONDS,
            limits_of=lambda agent: LIMITS,
            budget_micro_usd=own,
        )

    @rule(
        who=st.integers(0, PROCESSES - 1),
        name=sessions,
        bound=st.integers(1, 500),
        input_tokens=st.integers(0, 50),
        own=st.none() | st.integers(200, 900),
    )
    def reserve(self, who: int, name: str, bound: int, input_tokens: int, own: int | None) -> None:
        want = self.want(name, bound, input_tokens, own)
        outcome = self.do(self.ledgers[who].reserve(want))
        if isinstance(outcome, Admitted):
            self.open.append(Life(who, want, outcome.admit.hold_cost_micro_usd))

    @rule(data=st.data(), names=st.lists(sessions, min_size=2, max_size=6))
    def reserve_at_once(self, data: st.DataObject, names: list[str]) -> None:
        """In all processes together, some of whose clients leave meanwhile."""
        wants = [self.want(name, data.draw(st.integers(1, 500)), 5, None) for name in names]
        leaving = data.draw(st.integers(0, 4))
        self.do(self.all_at_once(wants, leaving))

    async def all_at_once(self, wants: list[Reservation], leaving: int) -> None:
        calls = [
            asyncio.ensure_future(self.ledgers[n % PROCESSES].reserve(want))
            for n, want in enumerate(wants)
        ]
        await asyncio.wait(calls, timeout=0)
        for call in calls[: leaving // 2]:
            call.cancel()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        await self.tasks.settle()
        for n, outcome in enumerate(outcomes):
            if isinstance(outcome, Admitted):
                held = outcome.admit.hold_cost_micro_usd
                self.open.append(Life(n % PROCESSES, wants[n], held))
            else:
                assert isinstance(outcome, Refusal | asyncio.CancelledError), outcome

    @precondition(lambda self: self.open)
    @rule(data=st.data(), tokens=st.integers(1, 400), most=st.integers(0, 300))
    def extend(self, data: st.DataObject, tokens: int, most: int) -> None:
        life = self.one(data)
        wanted = Wanted(tokens, tokens + most)
        more = self.do(self.ledgers[life.who].extend(life.want.call_id, wanted))
        if isinstance(more, Granted):
            assert more.output_tokens >= tokens
            life.held += more.cost_micro_usd

    @precondition(lambda self: self.open)
    @rule(data=st.data(), tokens=st.integers(1, 400), cost=st.integers(0, 300))
    def cut_while_extending(self, data: st.DataObject, tokens: int, cost: int) -> None:
        """The stream is cut while its hold grows, and settled at once."""
        life = self.one(data)
        self.open.remove(life)
        self.do(self.cut(life, tokens, min(cost, life.held)))

    async def cut(self, life: Life, tokens: int, cost: int) -> None:
        ledger, want = self.ledgers[life.who], life.want
        extending = asyncio.ensure_future(ledger.extend(want.call_id, just(tokens)))
        await asyncio.wait([extending], timeout=0)
        extending.cancel()
        await ledger.settle(want.key, want.call_id, used(cost, "cut"))
        await asyncio.wait([extending])

    @precondition(lambda self: self.open)
    @rule(data=st.data(), share=st.integers(0, 120), times=st.integers(1, 2))
    def settle(self, data: st.DataObject, share: int, times: int) -> None:
        """Also of more than was held: a provider that does not keep its bound."""
        life = self.one(data)
        self.open.remove(life)
        cost = life.held * share // 100
        self.count_over(life, cost)
        for _ in range(times):
            self.do(self.ledgers[life.who].settle(life.want.key, life.want.call_id, used(cost)))

    def count_over(self, life: Life, cost: int) -> None:
        if cost > life.held:
            held = next(
                state.held[life.want.call_id] for state in [self.state(life.want.key.session)]
            )
            for name in (life.want.key.session, *held.accounts, *held.trees):
                self.over[name] += cost - life.held

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        life = self.one(data)
        self.open.remove(life)
        self.do(self.ledgers[life.who].release(life.want.key, life.want.call_id, "unsent"))

    @rule(who=st.integers(0, PROCESSES - 1))
    def crash(self, who: int) -> None:
        """What it held is for others to book, at its deadline."""
        self.open = [life for life in self.open if life.who != who]
        store = self.stores[who % len(self.stores)]
        self.ledgers[who] = Ledger(store, self.clock, f"again{who}", self.tasks)

    @rule(seconds=st.sampled_from([1, 700, 3_700, 90_000, -700, -3_700, -90_000]))
    def time_passes(self, seconds: int) -> None:
        """Windows roll over; a clock may be set back."""
        if seconds > 0:
            self.clock.advance(seconds)
        else:
            self.clock.jump(seconds)

    @rule(who=st.integers(0, PROCESSES - 1))
    def sweep(self, who: int) -> None:
        """Other processes' holds past their deadline are booked, though their calls may go on."""
        ledger = self.ledgers[who]
        store = self.stores[who % len(self.stores)]
        self.do(Sweeper(ledger, store, self.clock, lambda: IDLE_SECONDS).sweep())
        held = {hold.call_id for hold in self.do(store.open_holds())}
        self.open = [life for life in self.open if life.want.call_id in held]

    @rule(who=st.integers(0, PROCESSES - 1), name=sessions, amount=st.integers(1, 300))
    def extend_limits(self, who: int, name: str, amount: int) -> None:
        added = (("cost_usd", amount), ("tokens", amount))
        self.record(who, name, ev.LimitsExtended(at=self.clock.now(), added=added))

    @rule(
        who=st.integers(0, PROCESSES - 1),
        name=sessions,
        kind=st.sampled_from([ev.SessionPaused, ev.SessionResumed, ev.SessionResumed]),
    )
    def pause(self, who: int, name: str, kind: type[ev.SessionPaused | ev.SessionResumed]) -> None:
        self.record(who, name, kind(at=self.clock.now()))

    @rule(who=st.integers(0, PROCESSES - 1))
    def kill(self, who: int) -> None:
        self.record(who, "b", ev.SessionKilled(at=self.clock.now()))

    def record(self, who: int, name: str, event: ev.AnyEvent) -> None:
        if self.state(name).seq:
            self.do(self.ledgers[who].record(SessionKey("t", name), event))

    def one(self, data: st.DataObject) -> Life:
        return data.draw(st.sampled_from(self.open))

    def log(self, name: str) -> list[ev.AnyEvent]:
        return [s.event for s in self.do(self.stores[0].read(SessionKey("t", name)))]

    def state(self, name: str) -> SessionState:
        return fold(self.log(name))

    @invariant()
    def no_budget_is_passed(self) -> None:
        accounts = self.added_up()
        stored = self.do(self.stores[-1].balances(accounts))
        for name, balance in stored.items():
            assert balance == accounts[name], name
            most = next((b.cost_micro_usd for b in BUDGETS if name.startswith(b.scope)), None)
            if most is not None:
                assert balance.spent_micro_usd + balance.held_micro_usd <= most + self.over[name]
        for name in PARENTS:
            self.check_session(name, accounts)

    def check_session(self, name: str, accounts: Mapping[str, Balance]) -> None:
        """Its own budget, in this generation, with everything below it."""
        state = self.state(name)
        if not state.seq:
            return
        prefix = f"tree:t:{name}:"
        newest = max((a for a in accounts if a.startswith(prefix)), default="", key=self.began)
        below = accounts.get(newest, Balance()) if self.began(newest) == began(state) else Balance()
        extended = state.extended
        limit = min(1_000, state.budget_micro_usd or 1_000) + extended.get("cost_usd", 0)
        spent = state.cost_micro_usd + state.held_micro_usd
        spent += below.spent_micro_usd + below.held_micro_usd
        over = self.over[name] + self.over[newest]
        assert spent <= limit + over, name
        counts = below.counts
        tokens = state.tokens + state.held_tokens + counts.tokens + counts.held_tokens
        assert tokens <= 1_600 + extended.get("tokens", 0) + over, name
        assert len(state.held) + counts.calls <= 5, name
        assert state.steps + counts.steps <= 30, name

    @staticmethod
    def began(account: str) -> int:
        return int(account.rpartition(":")[2] or -1)

    def added_up(self) -> dict[str, Balance]:
        """What the logs say that is on each account."""
        found: dict[str, Balance] = {}
        for name in PARENTS:
            calls: dict[str, ev.StepReserved] = {}
            held: dict[str, tuple[int, int]] = {}
            for event in self.log(name):
                match event:
                    case ev.StepReserved():
                        calls[event.call_id] = event
                        held[event.call_id] = (event.hold_cost_micro_usd, event.hold_tokens)
                        _move(found, event, held[event.call_id], steps=1, calls=1)
                    case ev.HoldExtended():
                        more = (event.hold_cost_micro_usd, event.hold_tokens)
                        before = held[event.call_id]
                        held[event.call_id] = (before[0] + more[0], before[1] + more[1])
                        _move(found, calls[event.call_id], more)
                    case ev.StepSettled() | ev.StepReleased():
                        call = calls.pop(event.call_id)  # once
                        back = held.pop(event.call_id)
                        _move(found, call, (-back[0], -back[1]), calls=-1)
                        if isinstance(event, ev.StepSettled):
                            _book(found, call, event)
                        else:
                            _move(found, call, (0, 0), steps=-1)
                    case _:
                        pass
        return found

    def end(self) -> None:
        """All is settled or past its deadline: then nothing is held anywhere."""
        for life in self.open:
            self.do(self.ledgers[life.who].settle(life.want.key, life.want.call_id, used(1)))
        self.clock.advance(10_000_000)  # however often it was set back
        self.ledgers = [self.process()]
        self.do(Sweeper(self.ledgers[0], self.stores[0], self.clock, lambda: 10**9).sweep())
        assert self.do(self.stores[0].open_holds()) == []
        accounts = self.added_up()
        for name, balance in self.do(self.stores[-1].balances(accounts)).items():
            assert balance == accounts[name]
            assert balance.held_micro_usd == 0
            assert (balance.counts.held_tokens, balance.counts.calls) == (0, 0)
        for name in PARENTS:
            state = self.state(name)
            assert (state.held_micro_usd, state.held_tokens, len(state.held)) == (0, 0, 0)


def began(state: SessionState) -> int:
    return round(state.created_at * 1_000)


def _parts(counts: Counts) -> tuple[int, ...]:
    return astuple(counts)


def _move(
    found: dict[str, Balance],
    call: ev.StepReserved,
    held: tuple[int, int],
    *,
    steps: int = 0,
    calls: int = 0,
) -> None:
    cost, tokens = held
    counts = Counts(held_tokens=tokens, steps=0 if call.retry else steps, calls=calls)
    _add(found, call, Balance(0, cost, counts))


def _book(found: dict[str, Balance], call: ev.StepReserved, event: ev.StepSettled) -> None:
    counts = Counts(tokens=event.tokens, tool_calls=len(event.tools))
    _add(found, call, Balance(event.cost_micro_usd, 0, counts))


def _add(found: dict[str, Balance], call: ev.StepReserved, more: Balance) -> None:
    for name in (*call.accounts, *call.trees):
        before = found.get(name, Balance())
        counts = before.counts
        if name in call.trees:
            counts = Counts(
                *(a + b for a, b in zip(_parts(counts), _parts(more.counts), strict=True))
            )
        found[name] = Balance(
            before.spent_micro_usd + more.spent_micro_usd,
            before.held_micro_usd + more.held_micro_usd,
            counts,
        )


class SqliteMachine(LedgerMachine):
    """The same, with two handles on one file: what two processes have."""

    def open_stores(self, folder: Path) -> list[Store]:
        return [SqliteStore(folder / "ledger.db"), SqliteStore(folder / "ledger.db")]

    @invariant()
    def it_verifies(self) -> None:
        """What accounts, holds and listings say is what the events say, at any moment."""
        with Heads() as heads:
            verified = verify_ledger(f"{self.folder.name}/ledger.db", {}, heads)
        assert verified.faults == ()


def _settings(examples: int, steps: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


LedgerMachine.TestCase.settings = _settings(80, 30)
SqliteMachine.TestCase.settings = _settings(8, 20)
TestLedgerMachine = pytest.mark.timeout(60)(LedgerMachine.TestCase)
TestSqliteMachine = pytest.mark.timeout(60)(SqliteMachine.TestCase)
