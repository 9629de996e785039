"""The ledger on a real (memory) store: reserve, extend, settle, release; what interrupts them."""

import asyncio
import gc
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from msgspec.structs import replace as changed

from proxy.core import events as ev
from proxy.core.ask import Ask
from proxy.core.decision import Blocked, Granted, Refusal, Wanted
from proxy.core.engine import Rules
from proxy.core.policy import Budget, Limits, Scope
from proxy.core.pricing import Price, Rates
from proxy.core.session import SessionKey, fold
from proxy.errors import StoreUnavailable
from proxy.ledger import Ledger
from proxy.reservation import Admitted, Reservation, Settlement
from proxy.stores import Append, Appended, Store
from proxy.stores.memory import MemoryStore
from proxy.sweeper import Sweeper
from proxy.tasks import Tasks
from tests.fakes import FakeClock
from tests.fakes_stores import Going

PICO = 1_000_000
PRICE = Price(Rates(PICO, PICO, PICO, PICO, PICO, PICO, PICO, PICO), source="policy")
KEY = SessionKey("t", "s1")
ASK = Ask("s1", "chat", "m", 10, 90, 1000, 1, PRICE)
"""Holds 100 micro-USD."""
UNLIMITED = Limits(
    steps=None, cost_micro_usd=None, tokens=None, duration_seconds=None, parallel=None
)


def just(tokens: int) -> Wanted:
    """Neither more nor less."""
    return Wanted(tokens, tokens)


def wants(
    call_id: str,
    *,
    key: SessionKey = KEY,
    cost: int | None = 1000,
    budgets: tuple[Budget, ...] = (),
    ask: Ask = ASK,
    minimum: int = 50,
) -> Reservation:
    return Reservation(
        key=key,
        call_id=call_id,
        ask=ask,
        rules=Rules(replace(UNLIMITED, cost_micro_usd=cost), min_output_tokens=minimum),
        budgets=budgets,
        agent=None,
        parent=None,
        source="path",
        upstream="openai",
        deadline_seconds=600,
        idle_seconds=3600,
    )


def used(cost: int, outcome: ev.Outcome = "answered") -> Settlement:
    return Settlement(outcome, 200, cost, None, cost)


class Bench:
    """A ledger with everything around it."""

    def __init__(self, store: Store | None = None) -> None:
        self.clock = FakeClock()
        self.store = store or MemoryStore()
        self.tasks = Tasks()
        self.seen: list[ev.AnyEvent] = []
        self.ledger = self.another("me")
        self.sweeper = Sweeper(self.ledger, self.store, self.clock, lambda: 3600)

    def another(self, owner: str) -> Ledger:
        """A second process on the same store."""
        return Ledger(
            self.store,
            self.clock,
            owner,
            self.tasks,
            observers=[lambda _key, event, _state: self.seen.append(event)],
        )


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    await bench.store.open()
    yield bench
    await bench.tasks.settle()
    await bench.store.close()


async def test_a_call_is_held_then_booked(bench: Bench) -> None:
    admitted = await bench.ledger.reserve(wants("a"))
    assert isinstance(admitted, Admitted)
    assert admitted.state.held_micro_usd == 100

    state = await bench.ledger.settle(KEY, "a", used(40))

    assert (state.cost_micro_usd, state.held_micro_usd, state.steps) == (40, 0, 1)


async def test_the_log_folds_to_the_state_at_hand(bench: Bench) -> None:
    """The cache must say what the log says."""
    await bench.ledger.reserve(wants("a"))
    await bench.ledger.settle(KEY, "a", used(40))
    await bench.ledger.reserve(wants("b"))

    stored = await bench.store.read(KEY)

    assert fold(s.event for s in stored) == await bench.ledger.state(KEY)


async def test_concurrent_calls_never_pass_the_budget_together(bench: Bench) -> None:
    """The defect of the field: 30 calls against a cap for a few, all let through."""
    outcomes = await asyncio.gather(
        *(bench.ledger.reserve(wants(f"c{i}", cost=500, minimum=90)) for i in range(30))
    )

    admitted = [o for o in outcomes if isinstance(o, Admitted)]
    assert len(admitted) == 5
    assert sorted(o.admit.step for o in admitted) == [1, 2, 3, 4, 5]


async def test_two_processes_on_one_store_never_pass_the_budget_together(bench: Bench) -> None:
    """No lock is shared; the store's check and deciding again are what keeps the promise."""
    other = bench.another("other")
    outcomes = await asyncio.gather(
        *(
            ledger.reserve(wants(f"{name}{i}", cost=500, minimum=90))
            for i in range(10)
            for name, ledger in (("a", bench.ledger), ("b", other))
        )
    )

    assert sum(isinstance(o, Admitted) for o in outcomes) == 5
    state = fold(s.event for s in await bench.store.read(KEY))
    assert state.held_micro_usd == 500
    assert len({o.admit.step for o in outcomes if isinstance(o, Admitted)}) == 5


async def test_a_shared_budget_bounds_sessions_of_two_processes(bench: Bench) -> None:
    other = bench.another("other")
    budgets = (Budget("global", "1d", 500),)
    outcomes = await asyncio.gather(
        *(
            ledger.reserve(
                wants(f"{i}", key=SessionKey("t", f"s{i}{n}"), budgets=budgets, minimum=90)
            )
            for i in range(10)
            for n, ledger in enumerate((bench.ledger, other))
        )
    )

    assert sum(isinstance(o, Admitted) for o in outcomes) == 5


async def test_what_another_process_frees_is_seen_before_refusing(bench: Bench) -> None:
    """A stale balance must not refuse a call that fits."""
    other = bench.another("other")
    budgets = (Budget("tenant", "1h", 100),)
    second = SessionKey("t", "s2")
    await bench.ledger.reserve(wants("a", budgets=budgets, minimum=90))
    assert isinstance(
        await other.reserve(wants("b", key=second, budgets=budgets, minimum=90)), Refusal
    )

    await bench.ledger.release(KEY, "a", "unsent")

    outcome = await other.reserve(wants("c", key=second, budgets=budgets, minimum=90))
    assert isinstance(outcome, Admitted)


async def test_a_hold_grows_only_while_there_is_room(bench: Bench) -> None:
    await bench.ledger.reserve(wants("a", cost=300))

    assert await bench.ledger.extend("a", just(150)) == Granted(150, 150)
    assert await bench.ledger.extend("a", just(51)) == Blocked("session")
    assert (await bench.ledger.state(KEY)).held_micro_usd == 250
    state = await bench.ledger.settle(KEY, "a", used(240))
    assert (state.cost_micro_usd, state.held_micro_usd) == (240, 0)


async def test_a_grown_hold_is_freed_on_its_shared_account_too(bench: Bench) -> None:
    budgets = (Budget("global", "1d", 400),)
    await bench.ledger.reserve(wants("a", budgets=budgets))
    assert await bench.ledger.extend("a", just(300)) == Granted(300, 300)
    assert await bench.ledger.extend("a", just(1)) == Blocked("global:-:1d:20833")

    await bench.ledger.settle(KEY, "a", used(10))

    reserved = next(e for e in bench.seen if isinstance(e, ev.StepReserved))
    balance = (await bench.store.balances(reserved.accounts))[reserved.accounts[0]]
    assert (balance.spent_micro_usd, balance.held_micro_usd) == (10, 0)


async def test_a_released_call_leaves_nothing_behind(bench: Bench) -> None:
    await bench.ledger.reserve(wants("a", budgets=(Budget("global", "1d", 1000),)))
    state = await bench.ledger.release(KEY, "a", "unsent")

    assert (state.steps, state.held_micro_usd, state.cost_micro_usd) == (0, 0, 0)
    assert await bench.store.open_holds() == []
    assert bench.ledger.running == 0


async def test_settling_twice_books_once(bench: Bench) -> None:
    budgets = (Budget("global", "1d", 1000),)
    await bench.ledger.reserve(wants("a", budgets=budgets))
    await bench.ledger.settle(KEY, "a", used(40))
    await bench.ledger.settle(KEY, "a", used(40))

    assert (await bench.another("later").state(KEY)).cost_micro_usd == 40
    reserved = next(e for e in bench.seen if isinstance(e, ev.StepReserved))
    assert (await bench.store.balances(reserved.accounts))[
        reserved.accounts[0]
    ].spent_micro_usd == 40


async def test_sessions_at_hand_are_bounded_and_those_in_use_stay(bench: Bench) -> None:
    """10,000 sessions must not be kept for ever, nor one dropped whose hold is not settled."""
    small = Ledger(bench.store, bench.clock, "small", bench.tasks, sessions_in_memory=2)
    await small.reserve(wants("held", key=SessionKey("t", "held")))
    for i in range(20):
        key = SessionKey("t", f"s{i}")
        await small.reserve(wants(f"c{i}", key=key))
        await small.settle(key, f"c{i}", used(1))

    assert len(small._folds._folds) == 2
    assert SessionKey("t", "held") in small._folds._folds
    assert (await small.state(SessionKey("t", "s0"))).cost_micro_usd == 1


class SlowStore(MemoryStore):
    """A store that answers an append only when it is let to."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.queue = asyncio.Lock()

    async def append(self, append: Append) -> Appended:
        async with self.queue:
            await self.gate.wait()
            return await super().append(append)


async def test_a_client_that_leaves_while_its_hold_is_written_leaves_no_hold() -> None:
    """The write cannot be recalled, so it is undone."""
    store = SlowStore()
    bench = Bench(store)
    await store.open()
    call = asyncio.ensure_future(bench.ledger.reserve(wants("a")))
    while not bench.ledger.running:
        await asyncio.wait([call], timeout=0)
    call.cancel()
    store.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    await bench.tasks.settle()

    assert await store.open_holds() == []
    assert (await bench.ledger.state(KEY)).steps == 0
    await store.close()


async def test_a_hold_that_nobody_settles_is_booked_whole_at_its_deadline(bench: Bench) -> None:
    """A crash: the provider may have billed all of it."""
    await bench.another("dead").reserve(wants("a"))
    bench.clock.advance(599)
    assert await bench.sweeper.sweep() == 0

    bench.clock.advance(2)
    assert await bench.sweeper.sweep() == 1

    state = await bench.ledger.state(KEY)
    assert (state.cost_micro_usd, state.held_micro_usd) == (100, 0)


async def test_a_clock_that_jumps_ahead_expires_no_call_that_still_runs(bench: Bench) -> None:
    await bench.ledger.reserve(wants("a"))
    bench.clock.jump(86_400)

    assert await bench.sweeper.sweep() == 0
    assert (await bench.ledger.settle(KEY, "a", used(7))).cost_micro_usd == 7


async def test_an_idle_session_is_finished_and_its_id_begins_anew(bench: Bench) -> None:
    """A base URL fixed in a Deployment must not run dry."""
    await bench.ledger.reserve(wants("a"))
    await bench.ledger.settle(KEY, "a", used(1000))
    assert isinstance(await bench.ledger.reserve(wants("b")), Refusal)
    bench.clock.advance(3601)
    assert await bench.sweeper.sweep() == 1
    assert (await bench.ledger.state(KEY)).status == "finished"

    again = await bench.ledger.reserve(wants("c"))

    assert isinstance(again, Admitted)
    assert (again.state.generation, again.admit.step) == (2, 1)


async def test_an_idle_session_begins_anew_without_the_sweep(bench: Bench) -> None:
    await bench.ledger.reserve(wants("a"))
    await bench.ledger.settle(KEY, "a", used(1000))
    bench.clock.advance(3601)

    again = await bench.another("restarted").reserve(wants("b"))

    assert isinstance(again, Admitted)
    assert again.state.generation == 2


async def test_a_session_that_was_deleted_begins_anew_behind_its_tombstone(bench: Bench) -> None:
    """With nothing of the one before, and no end of a generation that nobody knows of."""
    await bench.store.append(Append(KEY, (ev.SessionDeleted(bench.clock.now()),)))

    assert isinstance(await bench.ledger.reserve(wants("c1")), Admitted)
    log = [stored.event for stored in await bench.store.read(KEY)]
    assert [type(event) for event in log[1:]] == [ev.SessionOpened, ev.StepReserved]
    assert (fold(log).generation, fold(log).steps) == (1, 1)


async def test_a_session_with_a_call_in_flight_is_not_idle(bench: Bench) -> None:
    """A long call must not be cut off from its session's count by the one after it."""
    await bench.ledger.reserve(wants("long"))
    bench.clock.advance(3601)

    second = await bench.ledger.reserve(wants("b"))

    assert isinstance(second, Admitted)
    assert (second.state.generation, second.admit.step) == (1, 2)


async def test_the_same_refusal_is_written_once_a_minute(bench: Bench) -> None:
    """A client that hammers on a closed door must not fill the disk."""
    await bench.ledger.reserve(wants("a", cost=100, minimum=90))
    for i in range(5):
        await bench.ledger.reserve(wants(f"b{i}", cost=100, minimum=90))
    bench.clock.advance(61)
    await bench.ledger.reserve(wants("c", cost=100, minimum=90))

    assert sum(isinstance(e, ev.CallRefused) for e in bench.seen) == 2


async def test_a_warning_is_written_once(bench: Bench) -> None:
    for call in "abc":
        await bench.ledger.reserve(wants(call, cost=1000))
        await bench.ledger.settle(KEY, call, used(300 if call != "c" else 0))
    await bench.ledger.reserve(wants("d", cost=700))
    await bench.ledger.settle(KEY, "d", used(0))
    await bench.ledger.reserve(wants("e", cost=700))

    assert sum(isinstance(e, ev.LimitWarned) for e in bench.seen) == 1


async def test_a_call_is_decided_on_all_its_accounts_however_few_sessions_are_kept() -> None:
    """Those that were read first must not go for those that are read next, again and again."""
    store = MemoryStore()
    await store.open()
    ledger = Ledger(store, FakeClock(), "me", Tasks(), sessions_in_memory=1)
    scopes: tuple[Scope, ...] = ("tenant", "agent", "global")
    budgets = tuple(Budget(scope, "1d", 500) for scope in scopes)

    async with asyncio.timeout(1):
        outcome = await ledger.reserve(wants("a", budgets=budgets))

    assert isinstance(outcome, Admitted)


async def test_no_later_call_of_a_session_overtakes_one_that_waits(bench: Bench) -> None:
    """Small calls that still fit would keep a large one waiting for ever."""
    await bench.ledger.reserve(wants("a", cost=150))
    large = changed(wants("b", cost=150, minimum=90), wait_seconds=30.0)
    small = changed(
        wants("c", cost=150, ask=changed(ASK, output_bound=10), minimum=1), wait_seconds=30.0
    )
    first = asyncio.ensure_future(bench.ledger.reserve(large))
    await asyncio.wait([first], timeout=0)
    second = asyncio.ensure_future(bench.ledger.reserve(small))
    await asyncio.wait([first, second], timeout=0.01)

    assert not first.done()
    assert not second.done()
    await bench.ledger.settle(KEY, "a", used(20))
    assert isinstance(await first, Admitted)
    assert isinstance(await second, Admitted)


async def test_a_call_waits_rather_than_be_bounded_below_what_it_likely_comes_to(
    bench: Bench,
) -> None:
    await bench.ledger.reserve(wants("a", cost=150))
    likely = changed(ASK, likely_output=80)
    want = changed(wants("b", cost=150, ask=likely, minimum=10), wait_seconds=30.0)

    waiting = asyncio.ensure_future(bench.ledger.reserve(want))
    await asyncio.wait([waiting], timeout=0.01)
    assert not waiting.done()
    await bench.ledger.settle(KEY, "a", used(20))
    admitted = await waiting

    assert isinstance(admitted, Admitted)
    assert admitted.admit.output_allowance == 90


async def test_who_has_waited_long_enough_takes_what_there_is(bench: Bench) -> None:
    """A short answer is better than none."""
    await bench.ledger.reserve(wants("a", cost=150))
    likely = changed(ASK, likely_output=80)
    want = changed(wants("b", cost=150, ask=likely, minimum=10), wait_seconds=30.0)

    waiting = asyncio.ensure_future(bench.ledger.reserve(want))
    await asyncio.wait([waiting], timeout=0.01)
    bench.clock.advance(31)
    admitted = await waiting

    assert isinstance(admitted, Admitted)
    assert admitted.admit.output_bound == 40
    assert len(bench.ledger.lines) == 0


async def test_who_finds_no_place_in_line_takes_what_there_is(bench: Bench) -> None:
    await bench.ledger.reserve(wants("a", cost=150))
    likely = changed(ASK, likely_output=80)
    want = changed(wants("b", cost=150, ask=likely, minimum=10), wait_seconds=30.0)
    while bench.ledger.lines.join(KEY, KEY) is not None:
        pass

    admitted = await bench.ledger.reserve(want)

    assert isinstance(admitted, Admitted)
    assert admitted.admit.output_bound == 40


async def test_who_may_not_wait_takes_what_there_is(bench: Bench) -> None:
    await bench.ledger.reserve(wants("a", cost=150))
    likely = changed(ASK, likely_output=80)

    admitted = await bench.ledger.reserve(wants("b", cost=150, ask=likely, minimum=10))

    assert isinstance(admitted, Admitted)
    assert admitted.admit.output_bound == 40


async def test_a_call_leaves_nothing_to_the_garbage_collector(bench: Bench) -> None:
    """Circles that each append leaves behind are found by looking at all that is alive."""

    async def calls(name: str) -> None:
        for number in range(20):
            await bench.ledger.reserve(wants(f"{name}{number}"))
            await bench.ledger.settle(KEY, f"{name}{number}", used(1))

    await calls("first")
    gc.collect()
    gc.disable()
    try:
        await calls("then")
        assert gc.collect() < 20
    finally:
        gc.enable()


async def test_a_reservation_whose_answer_was_lost_is_given_back(bench: Bench) -> None:
    """Over a network nobody knows whether it was written: the call is refused, and must not hold
    its money until its deadline."""
    bench.store = going = Going(bench.store)
    ledger = bench.another("me")
    sweeper = Sweeper(ledger, going, bench.clock, lambda: 3600)
    going.away = "after"
    with pytest.raises(StoreUnavailable):
        await ledger.reserve(wants("a"))
    assert [hold.call_id for hold in await going.open_holds()] == ["a"]
    going.away = "before"
    with pytest.raises(StoreUnavailable):
        await ledger.reserve(wants("b"))
    with pytest.raises(StoreUnavailable):
        await sweeper.sweep()
    going.away = ""
    await sweeper.sweep()

    assert list(await going.open_holds()) == []
    state = await ledger.state(KEY)
    assert (state.held, state.cost_micro_usd, state.steps) == ({}, 0, 0)
