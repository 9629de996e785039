"""Attacks on the ledger that once went through: other processes, stores that fail, cancellation."""

import asyncio
import dataclasses
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from proxy.core import events as ev
from proxy.core.decision import Blocked, Granted, Refusal
from proxy.core.engine import Rules
from proxy.core.policy import Budget, Limits
from proxy.core.session import SessionKey, fold
from proxy.core.tools.facts import Handed
from proxy.errors import StoreUnavailable
from proxy.ledger import Ledger
from proxy.reservation import Admitted, Reservation
from proxy.stores import Append, Appended, Balance, Stored
from proxy.stores.memory import MemoryStore
from tests.unit.test_ledger import ASK, KEY, UNLIMITED, Bench, SlowStore, just, used, wants
from tests.unit.test_ledger import bench as bench

BUDGETS = (Budget("global", "1d", 1000),)


class Failing(MemoryStore):
    """A store that is away while a test says so, or cannot read one session."""

    def __init__(self) -> None:
        super().__init__()
        self.fails = False
        self.unreadable: SessionKey | None = None

    async def append(self, append: Append) -> Appended:
        if self.fails:
            raise StoreUnavailable("gone")
        return await super().append(append)

    async def read(self, key: SessionKey, after_seq: int = 0) -> Sequence[Stored]:
        if key == self.unreadable:
            raise StoreUnavailable("the ledger holds an event that cannot be read")
        return await super().read(key, after_seq)


class Direct(MemoryStore):
    """Another process's way to the tables of a store that holds its own back."""

    def __init__(self, store: SlowStore) -> None:
        super().__init__()
        self._tables, self._chain, self._open = store._tables, store._chain, True


async def account(bench: Bench) -> Balance:
    """The balance of the first shared account that was charged."""
    charged = next(e for e in bench.seen if isinstance(e, ev.StepReserved) and e.accounts)
    return (await bench.store.balances(charged.accounts))[charged.accounts[0]]


async def settle_loop() -> None:
    """Lets everything run that can run."""
    loop = asyncio.get_running_loop()
    for _ in range(20):
        turned = loop.create_future()
        loop.call_soon(turned.set_result, None)
        await turned


async def let_retries_through(bench: Bench) -> None:
    """The store is back: what it did not take is tried again."""
    while bench.tasks._tasks:
        bench.clock.advance(5)
        await asyncio.wait(bench.tasks._tasks, timeout=0.001)


async def test_a_lost_hold_of_another_process_is_booked_though_the_session_was_at_hand(
    bench: Bench,
) -> None:
    """The state at hand does not know the other's hold; the log does."""
    await bench.ledger.reserve(wants("a", budgets=BUDGETS))
    await bench.ledger.settle(KEY, "a", used(1))
    other = bench.another("dead")
    await other.reserve(wants("b", budgets=BUDGETS))
    bench.clock.advance(700)

    assert await bench.sweeper.sweep() == 1
    state = fold(s.event for s in await bench.store.read(KEY))
    balance = await account(bench)
    assert await bench.store.open_holds() == []
    assert (state.cost_micro_usd, state.held_micro_usd) == (101, 0)
    assert (balance.spent_micro_usd, balance.held_micro_usd) == (101, 0)


async def test_a_session_in_use_by_another_process_is_not_finished(bench: Bench) -> None:
    """The budget of a run that goes on elsewhere must not begin anew."""
    other = bench.another("other")
    await bench.ledger.reserve(wants("a"))
    await bench.ledger.settle(KEY, "a", used(1))
    bench.clock.advance(3000)
    await other.reserve(wants("b"))
    await other.settle(KEY, "b", used(900))
    bench.clock.advance(700)  # idle for 3700 s here, for 700 there

    assert await bench.sweeper.sweep() == 0
    outcome = await other.reserve(wants("d", minimum=90))
    assert isinstance(outcome, Refusal)


async def test_a_session_that_wakes_while_the_sweep_writes_is_not_finished() -> None:
    store = SlowStore()
    bench = Bench(store)
    await store.open()
    store.gate.set()
    second = SessionKey("t", "s2")
    for key, call in ((KEY, "a"), (second, "b")):
        await bench.ledger.reserve(wants(call, key=key))
        await bench.ledger.settle(key, call, used(1))
    bench.clock.advance(3601)
    store.gate.clear()
    sweep = asyncio.ensure_future(bench.sweeper.sweep())
    await settle_loop()
    wakes = asyncio.ensure_future(bench.ledger.reserve(wants("c", key=second)))
    await settle_loop()
    store.gate.set()
    await sweep
    await wakes

    state = await bench.ledger.settle(second, "c", used(900))
    assert (state.generation, state.cost_micro_usd, state.finished) == (2, 900, False)
    await store.close()


async def test_one_unreadable_session_does_not_stop_the_sweep() -> None:
    store = Failing()
    bench = Bench(store)
    await store.open()
    dead = bench.another("dead")
    bad = SessionKey("t", "bad")
    await dead.reserve(wants("x", key=bad))
    bench.clock.advance(1)
    await dead.reserve(wants("y"))
    store.unreadable = bad
    bench.clock.advance(700)
    await bench.sweeper.sweep()

    assert [hold.call_id for hold in await store.open_holds()] == ["x"]


async def test_a_settlement_that_the_store_did_not_take_is_booked_in_the_end() -> None:
    """The provider billed 500 and the hold was 100: 500 must be booked, once."""
    store = Failing()
    bench = Bench(store)
    await store.open()
    await bench.ledger.reserve(wants("a", budgets=BUDGETS))
    store.fails = True
    with pytest.raises(StoreUnavailable):
        await bench.ledger.settle(KEY, "a", used(500))
    bench.clock.advance(5)
    await settle_loop()
    assert bench.ledger.runs("a")
    store.fails = False
    await let_retries_through(bench)

    state = fold(s.event for s in await store.read(KEY))
    assert (state.held_micro_usd, state.cost_micro_usd) == (0, 500)
    assert not bench.ledger.runs("a")
    assert (await account(bench)).spent_micro_usd == 500


async def test_what_was_not_sent_is_not_booked_though_its_release_failed() -> None:
    store = Failing()
    bench = Bench(store)
    await store.open()
    await bench.ledger.reserve(wants("a"))
    store.fails = True
    with pytest.raises(StoreUnavailable):
        await bench.ledger.release(KEY, "a", "unsent")
    store.fails = False
    bench.clock.advance(700)
    await let_retries_through(bench)
    await bench.sweeper.sweep()

    assert fold(s.event for s in await store.read(KEY)).cost_micro_usd == 0
    assert await store.open_holds() == []


async def test_a_settlement_that_cannot_read_its_session_is_tried_again() -> None:
    """A call that nobody settles, yet that this process claims to run, would hold for ever."""
    store = Failing()
    bench = Bench(store)
    await store.open()
    await bench.ledger.reserve(wants("a"))
    store.fails = True
    with pytest.raises(StoreUnavailable):  # the session's fold has to be read anew after this
        await bench.ledger.record(KEY, ev.SessionPaused(at=bench.clock.now()))
    store.unreadable = KEY
    with pytest.raises(StoreUnavailable):
        await bench.ledger.settle(KEY, "a", used(500))
    store.fails, store.unreadable = False, None
    await let_retries_through(bench)

    assert bench.ledger.running == 0
    assert await store.open_holds() == []


async def test_a_pause_lasts_until_it_is_ended(bench: Bench) -> None:
    await bench.ledger.reserve(wants("a"))
    await bench.ledger.settle(KEY, "a", used(1))
    await bench.ledger.record(KEY, ev.SessionPaused(at=bench.clock.now()))
    bench.clock.advance(3601)

    assert await bench.sweeper.sweep() == 0
    assert isinstance(await bench.ledger.reserve(wants("b")), Refusal)


@pytest.mark.parametrize("fact", [ev.SessionPaused, ev.SessionKilled])
async def test_a_human_may_stop_a_finished_session(
    bench: Bench, fact: type[ev.SessionPaused] | type[ev.SessionKilled]
) -> None:
    """Its next call must not begin a generation that knows nothing of it."""
    await bench.ledger.reserve(wants("a"))
    await bench.ledger.settle(KEY, "a", used(1))
    bench.clock.advance(3601)
    await bench.sweeper.sweep()
    await bench.ledger.record(KEY, fact(at=bench.clock.now()))
    bench.clock.advance(1)

    assert isinstance(await bench.ledger.reserve(wants("b")), Refusal)


async def test_a_hold_that_another_process_closed_is_not_extended(bench: Bench) -> None:
    """Its wall clock ran ahead of ours: it booked our hold while our stream went on."""
    await bench.ledger.reserve(wants("a", budgets=BUDGETS))
    await bench.another("other").expire(KEY, "a")

    assert await bench.ledger.extend("a", just(200)) == Blocked(None)
    await bench.ledger.settle(KEY, "a", used(300))
    assert (await account(bench)).held_micro_usd == 0


@pytest.mark.parametrize("why", ["account", "seq"])
async def test_a_call_cut_while_its_extension_is_refused_frees_only_what_it_held(why: str) -> None:
    """The hold on a shared account must never go below nought: the budget would grow by it."""
    store = SlowStore()
    store.gate.set()
    bench = Bench(store)
    await store.open()
    await bench.ledger.reserve(wants("a", cost=None, budgets=BUDGETS))
    other = bench.another("other")
    if why == "account":
        large = replace(ASK, output_bound=790)
        elsewhere = SessionKey("t", "s9")
        await other.reserve(wants("z", key=elsewhere, cost=None, budgets=BUDGETS, ask=large))
    else:
        await other.record(KEY, ev.LimitWarned(at=bench.clock.now(), limit="x"))
    store.gate.clear()
    extending = asyncio.ensure_future(bench.ledger.extend("a", just(500)))
    await settle_loop()
    extending.cancel()
    settling = asyncio.ensure_future(bench.ledger.settle(KEY, "a", used(50)))
    await settle_loop()
    store.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await extending
    await settling

    balance = await account(bench)
    others = 800 if why == "account" else 0
    assert (balance.spent_micro_usd, balance.held_micro_usd) == (50, others)


async def test_an_extension_that_the_store_did_not_take_is_not_freed() -> None:
    store = Failing()
    bench = Bench(store)
    await store.open()
    await bench.ledger.reserve(wants("a", cost=None, budgets=BUDGETS))
    store.fails = True
    with pytest.raises(StoreUnavailable):
        await bench.ledger.extend("a", just(500))
    store.fails = False
    await bench.ledger.settle(KEY, "a", used(50))

    balance = await account(bench)
    assert (balance.spent_micro_usd, balance.held_micro_usd) == (50, 0)


def sized(call: str, bound: int) -> Reservation:
    """Of output alone, in a session of 300 micro-USD."""
    ask = replace(ASK, input_tokens=0, output_bound=bound)
    return wants(call, cost=300, minimum=bound, ask=ask)


async def test_two_logs_of_one_length_are_not_one_log() -> None:
    """A is queued, then B on top of it; another process's X takes A's place. B's seq fits the log
    again, though it was decided on another one."""
    store = SlowStore()
    store.gate.set()
    bench = Bench(store)
    await store.open()
    other = Ledger(Direct(store), bench.clock, "other", bench.tasks)
    await bench.ledger.reserve(wants("0", cost=1000))
    await bench.ledger.settle(KEY, "0", used(1))

    store.gate.clear()
    first = asyncio.ensure_future(bench.ledger.reserve(sized("A", 10)))
    await settle_loop()
    second = asyncio.ensure_future(bench.ledger.reserve(sized("B", 200)))
    await settle_loop()
    assert isinstance(await other.reserve(sized("X", 200)), Admitted)
    store.gate.set()
    await asyncio.gather(first, second)

    state = fold(s.event for s in await store.read(KEY))
    assert state.cost_micro_usd + state.held_micro_usd <= 300


async def test_a_listing_tells_nothing_of_what_the_store_refused() -> None:
    """A fact was submitted behind a reservation that the store then refused, whose hold it saw."""
    store = SlowStore()
    store.gate.set()
    bench = Bench(store)
    await store.open()
    other = Ledger(Direct(store), bench.clock, "other", bench.tasks)

    await bench.ledger.reserve(sized("0", 1))
    assert isinstance(await bench.ledger.reserve(sized("too much", 300)), Refusal)
    store.gate.clear()
    refused = asyncio.ensure_future(bench.ledger.reserve(sized("A", 200)))
    await settle_loop()
    warned = ev.LimitWarned(at=bench.clock.now(), limit="steps")
    behind = asyncio.ensure_future(bench.ledger.record(KEY, warned))
    await settle_loop()
    assert isinstance(await other.reserve(sized("X", 250)), Admitted)
    store.gate.set()
    assert isinstance(await refused, Refusal)
    await behind
    await bench.tasks.settle()

    rows, _ = await store.list_sessions()
    assert (rows[0].head.held_micro_usd, rows[0].head.steps) == (251, 2)


class Noting(SlowStore):
    """Notes what listings were told to be held without an event."""

    def __init__(self) -> None:
        super().__init__()
        self.mended: list[int] = []

    async def append(self, append: Append) -> Appended:
        if append.head is not None and not append.events:
            self.mended.append(append.head.held_micro_usd)
        return await super().append(append)


async def test_a_listing_is_not_mended_with_what_may_be_refused() -> None:
    """A is on its way when the listing is mended, and another process's X takes its place: the log
    is as long as was foreseen, but another one."""
    store = Noting()
    store.gate.set()
    bench = Bench(store)
    await store.open()
    other = Ledger(Direct(store), bench.clock, "other", bench.tasks)

    await bench.ledger.reserve(sized("0", 1))
    store.gate.clear()
    refused = asyncio.ensure_future(bench.ledger.reserve(sized("A", 200)))
    await settle_loop()
    mending = asyncio.ensure_future(bench.ledger.mend_head(KEY))
    await settle_loop()
    assert isinstance(await other.reserve(sized("X", 250)), Admitted)
    store.gate.set()
    assert isinstance(await refused, Refusal)
    await mending
    await bench.tasks.settle()

    ((row,), _) = await store.list_sessions()
    assert (row.head.held_micro_usd, row.head.seq) == (251, row.seq)
    assert set(store.mended) <= {251}


async def test_a_listing_tells_of_what_two_processes_did(bench: Bench) -> None:
    """Each writes the head as it knows the session; the last one knew nothing of the other."""
    other = bench.another("other")
    await bench.ledger.reserve(wants("a"))
    await other.reserve(wants("b"))
    await bench.ledger.settle(KEY, "a", used(40))
    await bench.tasks.settle()

    rows, _ = await bench.store.list_sessions()
    head = rows[0].head
    assert (head.cost_micro_usd, head.held_micro_usd, head.steps) == (40, 100, 2)


async def test_a_stream_that_outlives_its_window_grows_and_is_booked_where_it_began(
    bench: Bench,
) -> None:
    """Else the old window would be given back more than it held, and the new one never enough."""
    budgets = (Budget("tenant", "1h", 1000),)
    await bench.ledger.reserve(wants("a", cost=None, budgets=budgets))
    bench.clock.advance(3_600)
    assert await bench.ledger.extend("a", just(50)) == Granted(50, 50)
    await bench.ledger.reserve(wants("b", cost=None, budgets=budgets))
    await bench.ledger.settle(KEY, "a", used(120))
    await bench.ledger.settle(KEY, "b", used(7))

    names = [e.accounts[0] for e in bench.seen if isinstance(e, ev.StepReserved)]
    stored = await bench.store.balances(names)
    assert [stored[name] for name in names] == [Balance(120, 0), Balance(7, 0)]


async def test_a_hold_that_is_gone_is_not_booked(bench: Bench) -> None:
    """Two processes sweep one store: the second finds it done."""
    await bench.ledger.reserve(wants("a"))

    assert await bench.ledger.expire(KEY, "a")
    assert not await bench.ledger.expire(KEY, "a")
    assert (await bench.ledger.state(KEY)).cost_micro_usd == 100


class FailingLate(SlowStore):
    """A store that takes its time to say that it is away."""

    fails = False

    async def append(self, append: Append) -> Appended:
        await self.gate.wait()
        if self.fails:
            raise StoreUnavailable("gone")
        return await super().append(append)


async def test_a_settlement_cancelled_before_the_store_fails_is_made_later() -> None:
    """A kill during an outage: nobody waits for the answer any more, and the hold must go."""
    store = FailingLate()
    store.gate.set()
    bench = Bench(store)
    await store.open()
    await bench.ledger.reserve(wants("a", budgets=BUDGETS))
    store.gate.clear()
    store.fails = True
    settling = asyncio.ensure_future(bench.ledger.settle(KEY, "a", used(40)))
    await settle_loop()
    settling.cancel()
    store.gate.set()
    await settle_loop()
    assert settling.cancelled()
    store.fails = False
    bench.clock.advance(1)
    await bench.tasks.settle()

    assert (await account(bench)).spent_micro_usd == 40
    assert await store.open_holds() == []


@pytest.mark.parametrize(
    "limits",
    [
        dataclasses.replace(UNLIMITED, parallel=1),
        dataclasses.replace(UNLIMITED, cost_micro_usd=150),
    ],
)
async def test_nobody_is_refused_for_what_another_process_gave_back(
    bench: Bench, limits: Limits
) -> None:
    """What is at hand of a session may be older than what became of its calls elsewhere."""
    other = bench.another("other")
    rules = Rules(limits, min_output_tokens=90)
    await other.reserve(replace(wants("a"), rules=rules))
    assert isinstance(await bench.ledger.reserve(replace(wants("b"), rules=rules)), Refusal)
    await other.settle(KEY, "a", used(0))

    outcome = await bench.ledger.reserve(replace(wants("c"), rules=rules))

    assert isinstance(outcome, Admitted)


async def test_a_stream_grows_into_what_another_process_gave_back(bench: Bench) -> None:
    """Else it is cut, as nobody is left here who could make room."""
    other = bench.another("other")
    for ledger, name in ((bench.ledger, "mine"), (other, "theirs")):
        await ledger.reserve(wants(name, cost=300))
    await bench.ledger.extend("mine", just(50))
    await other.settle(KEY, "theirs", used(0))

    more = await bench.ledger.extend("mine", just(100))

    assert isinstance(more, Granted)


async def test_what_others_wrote_is_seen_while_an_append_of_ours_is_under_way() -> None:
    """Its answer tells of it; until then what is at hand may be old."""
    store = SlowStore()
    bench, call_id = Bench(store), "call_1"
    await store.open()
    store.gate.set()
    await bench.ledger.reserve(wants("a"))
    handed = ev.CallsHanded(at=1.0, calls=(Handed(call_id, "send_email", b"d" * 16),))
    await Direct(store).append(Append(KEY, (handed,)))
    store.gate.clear()
    ours = asyncio.ensure_future(bench.ledger.record(KEY, ev.Guided(at=1.0, message="hi")))
    await settle_loop()
    asked = asyncio.ensure_future(bench.ledger.latest(KEY))
    await settle_loop()
    store.gate.set()

    assert call_id in (await asked).tools.handed
    await ours
    await bench.tasks.settle()
    await store.close()


async def test_who_asks_for_the_latest_does_not_wait_for_what_is_submitted_later() -> None:
    store = SlowStore()
    bench = Bench(store)
    await store.open()
    first = asyncio.ensure_future(bench.ledger.record(KEY, ev.SessionOpened(at=1.0)))
    await settle_loop()
    asked = asyncio.ensure_future(bench.ledger.latest(KEY))
    left = asyncio.ensure_future(bench.ledger.latest(KEY))
    await settle_loop()
    left.cancel()
    store.gate.set()
    await first
    store.gate.clear()
    second = asyncio.ensure_future(bench.ledger.record(KEY, ev.Guided(at=1.0, message="hi")))

    assert (await asked).seq >= 1
    assert left.cancelled() or not left.done()
    store.gate.set()
    await second
    await bench.tasks.settle()
    await store.close()


class LateReading(SlowStore):
    """A store whose answer to a reading is on its way until a test lets it come."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = asyncio.Event()
        for gate in (self.gate, self.answer):
            gate.set()

    async def read(self, key: SessionKey, after_seq: int = 0) -> Sequence[Stored]:
        read = await super().read(key, after_seq)
        await self.answer.wait()
        return read


async def test_a_reading_does_not_undo_what_was_written_beside_it() -> None:
    """A call is held while another one's reading of the session is on its way, and grows after."""
    store = LateReading()
    bench = Bench(store)
    await store.open()
    await bench.ledger.reserve(wants("a"))
    store.answer.clear()
    reading = asyncio.ensure_future(bench.ledger.refresh(KEY))
    await settle_loop()
    assert isinstance(await bench.ledger.reserve(wants("b")), Admitted)
    store.answer.set()
    await reading

    more = await bench.ledger.extend("b", just(100))
    settled = await bench.ledger.settle(KEY, "b", used(40))
    ((row,), _) = await store.list_sessions()
    await bench.tasks.settle()

    assert isinstance(more, Granted)
    assert (settled.cost_micro_usd, settled.held_micro_usd) == (40, 100)
    assert (row.head.cost_micro_usd, row.head.held_micro_usd) == (40, 100)
    await store.close()


async def test_a_session_gone_on_with_while_it_is_read_is_not_all_that_was_asked_for() -> None:
    """Another process's event is in what was read, and not in what was gone on with."""
    store, call_id = LateReading(), "call_1"
    bench = Bench(store)
    await store.open()
    await bench.ledger.reserve(wants("a"))
    handed = ev.CallsHanded(at=1.0, calls=(Handed(call_id, "send_email", b"d" * 16),))
    await Direct(store).append(Append(KEY, (handed,)))
    for gate in (store.gate, store.answer):
        gate.clear()
    asked = asyncio.ensure_future(bench.ledger.latest(KEY))
    await settle_loop()
    ours = asyncio.ensure_future(bench.ledger.record(KEY, ev.Guided(at=1.0, message="hi")))
    await settle_loop()
    store.answer.set()
    await settle_loop()
    store.gate.set()

    assert call_id in (await asked).tools.handed
    await ours
    await bench.tasks.settle()
    await store.close()


class OneByOne(SlowStore):
    """Takes one append each time that it is let to; the first one fails."""

    fails = True

    async def append(self, append: Append) -> Appended:
        async with self.queue:
            await self.gate.wait()
            self.gate.clear()
            if self.fails:
                self.fails = False
                raise StoreUnavailable("gone")
            return await MemoryStore.append(self, append)


async def test_what_is_written_behind_what_failed_is_known() -> None:
    """The session is read anew between the two."""
    store = OneByOne()
    bench = Bench(store)
    await store.open()
    first = asyncio.ensure_future(bench.ledger.record(KEY, ev.SessionOpened(at=1.0)))
    await settle_loop()
    behind = asyncio.ensure_future(bench.ledger.record(KEY, ev.Guided(at=1.0, message="hi")))
    await settle_loop()
    store.gate.set()
    with pytest.raises(StoreUnavailable):
        await first
    assert (await bench.ledger.state(KEY)).seq == 0
    store.gate.set()
    await behind

    assert (await bench.ledger.state(KEY)).guidance == ("hi",)
    store.gate.set()  # its listing is mended
    await bench.tasks.settle()
    ((row,), _) = await store.list_sessions()
    assert row.head.seq == row.seq
    await store.close()
