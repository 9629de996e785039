"""What every store promises. A new store is one line in `tests.fakes_stores.STORES`."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from proxy.core.events import HoldExtended, LimitWarned, SessionDeleted, SessionKilled, StepReserved
from proxy.core.session import SessionKey, fold
from proxy.errors import AccountExceeded, MalformedRequest, SeqConflict, StoreUnavailable
from proxy.stores import (
    Append,
    Appended,
    Balance,
    Charge,
    Content,
    Counts,
    Maximum,
    SessionHead,
    Store,
)
from proxy.stores.chain import GENESIS
from proxy.stores.codec import encode_cursor
from tests.fakes_stores import (
    KEY,
    NOW,
    OTHER,
    STORES,
    opened,
    outcome,
    outcomes,
    reserved,
    settled,
)


def within(account: str, held: int, maximum: int, spent: int = 0) -> Charge:
    """A charge that must not bring the account above the maximum."""
    return Charge(account, held, spent, maximum=Maximum(maximum))


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    store = STORES[request.param](tmp_path)
    await store.open()
    yield store
    await store.close()


async def test_what_was_appended_is_read_back_in_order(store: Store) -> None:
    """The state of a session is a fold of its log: not an event may change or move."""
    appends = (opened(), reserved("c1"), settled("c1"), Append(KEY, (SessionKilled(NOW + 1),)))
    results = [await store.append(append) for append in appends]
    log = await store.read(KEY)

    assert [stored.event for stored in log] == [a.events[0] for a in appends]
    assert [(stored.seq, stored.chain) for stored in log] == [(r.seq, r.chain) for r in results]
    assert fold(stored.event for stored in log).cost_micro_usd == 5


async def test_a_tail_is_read_after_a_seq(store: Store) -> None:
    """A cached fold is brought up to date by the tail alone."""
    await store.append(Append(KEY, tuple(LimitWarned(NOW, limit=str(n)) for n in range(5))))

    assert [stored.seq for stored in await store.read(KEY, after_seq=3)] == [4, 5]
    assert list(await store.read(KEY, after_seq=5)) == []


async def test_an_unknown_session_is_empty(store: Store) -> None:
    """Nothing is an error about a session that has not begun."""
    assert list(await store.read(KEY)) == []
    assert await store.balances(["a"]) == {"a": Balance()}
    assert await store.find_links("team-a", [b"x"]) == {}
    assert list(await store.find_tenants("s1")) == []
    assert list(await store.open_holds()) == []
    assert await store.purge(NOW, NOW + 1) == 0


async def test_a_decision_on_an_old_seq_is_refused(store: Store) -> None:
    """Who lost the race decides again; what it wanted to write is nowhere."""
    await store.append(opened())
    late = replace(reserved("c1", expected_seq=0), charges=(Charge("a", 9),), links=(b"x",))

    assert await outcome(store, late) == SeqConflict(1)
    assert len(await store.read(KEY)) == 1
    assert await store.balances(["a"]) == {"a": Balance()}
    assert list(await store.open_holds()) == []
    assert await store.find_links("team-a", [b"x"]) == {}


async def test_a_decision_on_the_current_seq_gets_through(store: Store) -> None:
    """Both on a new session (0) and on one that has a log."""
    first = await store.append(replace(opened(), expected_seq=0))
    second = await store.append(reserved("c1", expected_seq=first.seq))

    assert (first.seq, second.seq) == (1, 2)


async def test_facts_get_through_whatever_the_seq(store: Store) -> None:
    """A settlement has happened: nobody's race can undo it."""
    await store.append(reserved("c1"))
    await store.append(reserved("c2"))

    assert (await store.append(settled("c1"))).seq == 3


async def test_of_many_decisions_on_one_seq_one_gets_through(store: Store) -> None:
    """The lost update that a budget must not have."""
    results = await outcomes(store, [reserved(f"c{n}", expected_seq=0) for n in range(20)])

    assert results[1:] == [SeqConflict(1)] * 19
    assert len(await store.read(KEY)) == 1


async def test_appends_are_applied_in_the_order_of_their_calls(store: Store) -> None:
    """The ledger appends without awaiting the one before."""
    await outcomes(store, [Append(KEY, (LimitWarned(NOW, limit=str(n)),)) for n in range(50)])
    limits = [s.event.limit for s in await store.read(KEY) if isinstance(s.event, LimitWarned)]

    assert limits == [str(n) for n in range(50)]


async def test_a_charge_may_reach_its_maximum_but_not_pass_it(store: Store) -> None:
    """To the micro-dollar."""
    await store.append(reserved("c1", charges=[within("a", 60, 100)]))

    assert await outcome(store, reserved("c2", charges=[within("a", 41, 100)])) == (
        AccountExceeded("a")
    )
    await store.append(reserved("c2", charges=[within("a", 30, 100, spent=10)]))
    assert await store.balances(["a", "b"]) == {"a": Balance(10, 90), "b": Balance()}


async def test_an_append_is_all_or_nothing(store: Store) -> None:
    """One account refuses: the others, the log, the holds and the links know nothing of it."""
    append = replace(
        reserved(
            "c1",
            charges=[within("a", 10, 100), within("b", 10, 9)],
        ),
        links=(b"x",),
    )

    assert await outcome(store, append) == AccountExceeded("b")
    assert await store.balances(["a", "b"]) == {"a": Balance(), "b": Balance()}
    assert list(await store.read(KEY)) == []
    assert list(await store.open_holds()) == []
    assert await store.find_links("team-a", [b"x"]) == {}
    assert (await store.list_sessions())[0] == []


async def test_a_fact_is_booked_above_any_maximum(store: Store) -> None:
    """What a provider billed is spent, whether we like it or not."""
    await store.append(reserved("c1", charges=[within("a", 100, 100)]))
    await store.append(settled("c1", charges=[Charge("a", -100, 250)]))

    assert await store.balances(["a"]) == {"a": Balance(250, 0)}


async def test_the_charges_of_one_append_count_together(store: Store) -> None:
    """Letting go of one hold makes room for another in the same append, in either order."""
    await store.append(reserved("c1", charges=[within("a", 100, 100)]))
    swap = [within("a", 80, 100), Charge("a", -100)]
    result = await store.append(replace(reserved("c2", charges=swap), closes=("c1",)))

    assert result.seq == 2
    assert await store.balances(["a"]) == {"a": Balance(0, 80)}
    assert await outcome(
        store,
        reserved(
            "c3",
            charges=[within("a", 15, 100), within("a", 15, 100)],
        ),
    ) == AccountExceeded("a")


async def test_an_account_past_what_can_be_stored_is_refused_alone(store: Store) -> None:
    """Not an overflow that fails every neighbour of the batch."""
    too_much, fine = await outcomes(
        store,
        [reserved("c1", charges=[Charge("a", 2**63)]), reserved("c2", charges=[Charge("b", 1)])],
    )

    assert too_much == AccountExceeded("a")
    assert not isinstance(fine, Exception)


async def test_a_text_that_cannot_be_stored_is_refused_alone(store: Store) -> None:
    """A client chose it: its fault, not its neighbours'."""
    bad, fine = await outcomes(
        store, [reserved("c1", charges=[Charge("agent:\udcff", 1)]), reserved("c2")]
    )

    assert isinstance(bad, MalformedRequest)
    assert not isinstance(fine, Exception)


async def test_a_time_that_cannot_be_stored_is_refused(store: Store) -> None:
    """An event that cannot be read again must not be written."""
    with pytest.raises(ValueError, match="finite"):
        await store.append(reserved("c1", deadline=float("inf")))
    with pytest.raises(ValueError, match="finite"):
        await store.append(replace(opened(), head=SessionHead(updated_at=float("nan"))))

    assert list(await store.read(KEY)) == []


async def test_settling_twice_writes_once(store: Store) -> None:
    """A retry after a lost acknowledgement must not book the cost again."""
    await store.append(reserved("c1", charges=[Charge("a", 10)]))
    first = await store.append(settled("c1", charges=[Charge("a", -10, 7)]))
    again = await store.append(settled("c1", charges=[Charge("a", -10, 7)]))

    assert (first.repeated, again.repeated) == (False, True)
    assert (again.seq, again.chain) == (first.seq, first.chain)
    assert await store.balances(["a"]) == {"a": Balance(7, 0)}
    assert len(await store.read(KEY)) == 2


async def test_of_two_settlements_at_once_one_is_booked(store: Store) -> None:
    """The client leaves while the answer ends."""
    await store.append(reserved("c1", charges=[Charge("a", 10)]))
    await outcomes(store, [settled("c1", charges=[Charge("a", -10, 7)])] * 2)

    assert await store.balances(["a"]) == {"a": Balance(7, 0)}


async def test_settling_an_unknown_call_writes_nothing(store: Store) -> None:
    """Not even a session."""
    result = await store.append(settled("nobody", charges=[Charge("a", -10, 7)]))

    assert (result.seq, result.chain, result.repeated) == (0, GENESIS, True)
    assert await store.balances(["a"]) == {"a": Balance()}
    assert (await store.list_sessions())[0] == []


async def test_a_repeat_is_told_before_a_lost_race(store: Store) -> None:
    """Who repeats a settlement has an old seq as well; there is nothing to decide again."""
    await store.append(reserved("c1"))
    await store.append(settled("c1"))

    assert (await store.append(replace(settled("c1"), expected_seq=1))).repeated


async def test_one_open_hold_of_several_is_enough_to_settle(store: Store) -> None:
    """Only an append none of whose calls is open is a repeat."""
    await store.append(reserved("c1"))
    result = await store.append(replace(settled("c1"), closes=("gone", "c1")))

    assert not result.repeated
    assert list(await store.open_holds()) == []


async def test_holds_are_found_by_their_deadline(store: Store) -> None:
    """The reaper books what nobody settled in time, and only that."""
    for call, deadline in (("late", NOW + 20), ("due", NOW + 10), ("settled", NOW)):
        await store.append(reserved(call, deadline=deadline))
    await store.append(reserved("theirs", OTHER, deadline=NOW + 5))
    await store.append(settled("settled"))
    await store.append(Append(KEY, (HoldExtended(NOW, call_id="due", hold_cost_micro_usd=1),)))

    assert [hold.call_id for hold in await store.open_holds()] == ["theirs", "due", "late"]
    due = await store.open_holds(NOW + 10)
    assert [(h.key, h.call_id, h.owner, h.deadline) for h in due] == [
        (OTHER, "theirs", "here", NOW + 5),
        (KEY, "due", "here", NOW + 10),
    ]


async def test_a_digest_of_two_sessions_names_both(store: Store) -> None:
    """`get_user_0` proves nothing: the caller must see that it is shared."""
    await store.append(replace(opened(), links=(b"x", b"y", b"x")))
    await store.append(replace(opened(SessionKey("team-a", "s2")), links=(b"x",)))

    assert await store.find_links("team-a", [b"x", b"y", b"z"]) == {
        b"x": ("s1", "s2"),
        b"y": ("s1",),
    }


async def test_a_digest_remembers_its_newest_eight_sessions(store: Store) -> None:
    """Bounded; being given to a session again makes it the newest."""
    for n in range(9):
        await store.append(replace(opened(SessionKey("team-a", f"s{n}")), links=(b"x",)))
    newest = await store.find_links("team-a", [b"x"])
    for n in (3, 3, 3):
        await store.append(replace(opened(SessionKey("team-a", f"s{n}")), links=(b"x",)))

    assert newest == {b"x": tuple(f"s{n}" for n in range(1, 9))}
    assert await store.find_links("team-a", [b"x"]) == {
        b"x": tuple(f"s{n}" for n in (1, 2, 4, 5, 6, 7, 8, 3))
    }


async def test_tenants_share_nothing(store: Store) -> None:
    """The same session id under two tenants is two sessions."""
    await store.append(replace(reserved("c1"), links=(b"x",)))
    await store.append(opened(OTHER))
    await store.append(opened(OTHER))

    assert [s.seq for s in await store.read(KEY)] == [1]
    assert (await store.append(settled("c1", OTHER))).repeated
    assert await store.find_links("team-b", [b"x"]) == {}
    assert list(await store.find_tenants("s1")) == ["team-a", "team-b"]
    assert list(await store.find_tenants("s2")) == []
    rows, _ = await store.list_sessions(tenant="team-b")
    assert [(row.key, row.seq) for row in rows] == [(OTHER, 2)]


async def test_sessions_are_listed_newest_first_page_by_page(store: Store) -> None:
    """Each once, though several were touched at the same time and more are touched meanwhile."""
    for n in range(7):
        await store.append(opened(SessionKey("t", f"s{n}"), NOW + n // 2))
    first, cursor = await store.list_sessions(limit=3)
    await store.append(opened(SessionKey("t", "new"), NOW + 100))
    second, more = await store.list_sessions(limit=3, cursor=cursor)
    third, end = await store.list_sessions(limit=3, cursor=more)

    listed = [row.key.session for row in (*first, *second, *third)]
    assert listed == ["s6", "s5", "s4", "s3", "s2", "s1", "s0"]
    assert end is None
    assert len((await store.list_sessions())[0]) == 8


async def test_a_listing_can_begin_at_a_time(store: Store) -> None:
    """With the newest session that was last used before it: is a clock right?."""
    for n in range(4):
        key = SessionKey(f"t{n % 2}", f"s{n}")
        await store.append(opened(key, NOW + n))
    asked = (NOW + 9, NOW + 2.5, NOW + 2, NOW)
    rows = [(await store.list_sessions(limit=1, cursor=encode_cursor(at, 0)))[0] for at in asked]

    assert [[row.key.session for row in page] for page in rows] == [["s3"], ["s2"], ["s1"], []]


async def test_sessions_are_listed_by_state_agent_and_tenant(store: Store) -> None:
    """Filters combine."""
    for n, (state, agent) in enumerate(
        [("active", "coder"), ("killed", "coder"), ("killed", None), ("killed", "triage")]
    ):
        head = SessionHead(state=state, agent=agent, steps=n, created_at=NOW, updated_at=NOW + n)
        await store.append(replace(opened(SessionKey("t", f"s{n}")), head=head))

    killed, _ = await store.list_sessions(state="killed")
    assert [row.key.session for row in killed] == ["s3", "s2", "s1"]
    rows, _ = await store.list_sessions(state="killed", agent="coder", tenant="t")
    assert [(row.key.session, row.head.steps) for row in rows] == [("s1", 1)]
    assert (await store.list_sessions(tenant="nobody"))[0] == []


async def test_a_head_stays_until_another_is_given(store: Store) -> None:
    """It is touched by every event, in order or not."""
    head = SessionHead(state="paused", steps=3, created_at=NOW, updated_at=NOW)
    await store.append(replace(opened(), head=head))
    await store.append(reserved("c1", at=NOW + 9))
    await store.append(settled("c1", at=NOW + 5))

    rows, _ = await store.list_sessions()
    assert rows[0].head == SessionHead("paused", steps=3, created_at=NOW, updated_at=NOW + 9)


@pytest.mark.parametrize(
    "cursor", ["", "?", "é", "bm90IGpzb24", "W10", "WzEsMTAwMDAwMDAwMDAwMDAwMDAwMDAwXQ"]
)
async def test_a_cursor_that_is_not_ours_is_refused_by_name(store: Store, cursor: str) -> None:
    """It comes from outside: a 400, not a 500."""
    with pytest.raises(MalformedRequest) as caught:
        await store.list_sessions(cursor=cursor)

    assert caught.value.param == "cursor"


async def test_purging_removes_old_sessions_whole(store: Store) -> None:
    """Their log and their links; balances stay: they are not the session's. A tombstone is left."""
    for n in range(45):
        key = SessionKey("team-a", f"old{n}")
        await store.append(replace(opened(key, NOW - 1 - n), links=(b"x", bytes([n]))))
    await store.append(replace(reserved("c1", charges=[Charge("a", 10)]), links=(b"x",)))
    await store.append(settled("c1", charges=[Charge("a", -10, 7)]))

    assert await store.purge(NOW, NOW + 1) == 45
    rows, _ = await store.list_sessions()
    assert [row.key for row in rows] == [KEY]
    assert [type(stored.event) for stored in await store.read(key)] == [SessionDeleted]
    assert await store.find_links("team-a", [b"x", b"\x2c"]) == {b"x": (KEY.session,)}
    assert await store.balances(["a"]) == {"a": Balance(7, 0)}


async def test_contents_are_written_with_their_events_and_read_by_name(store: Store) -> None:
    """What a call sent is there from the moment at which the log says so."""
    many = tuple(Content(f"c{n}.q", bytes([n % 256]) * n) for n in range(1200))
    await store.append(replace(opened(), contents=(Content("c1.q", b"sent"), many[2])))
    await store.append(replace(reserved("c2"), contents=(Content("c1.a", b"\0\xff"),)))

    assert await store.read_contents(KEY, ["c1.a", "c9.q"]) == {"c1.a": b"\0\xff"}
    assert await store.read_contents(KEY) == {"c1.q": b"sent", "c1.a": b"\0\xff", "c2.q": b"\2\2"}
    assert await store.read_contents(OTHER) == {}
    await store.append(Append(KEY, (), contents=many))
    assert await store.read_contents(KEY, [one.name for one in many]) == {
        one.name: one.data for one in many
    }


async def test_contents_of_an_append_that_is_not_written_are_not_either(store: Store) -> None:
    """Neither where its decision was made on an old state, nor where it is a repeat."""
    await store.append(opened())
    await outcome(store, replace(reserved("c1", expected_seq=0), contents=(Content("x", b"x"),)))
    await store.append(reserved("c1"))
    await store.append(replace(settled("c1"), contents=(Content("c1.a", b"first"),)))
    await store.append(replace(settled("c1"), contents=(Content("c1.a", b"again"),)))

    assert await store.read_contents(KEY) == {"c1.a": b"first"}


async def test_contents_go_with_their_session(store: Store) -> None:
    """A session of the same name that begins later must not be answered with them."""
    await store.append(replace(opened(), contents=(Content("c1.q", b"sent"),)))
    await store.append(replace(opened(OTHER, NOW + 9), contents=(Content("c1.q", b"kept"),)))
    await store.purge(NOW + 1, NOW + 1)
    await store.append(opened())

    assert await store.read_contents(KEY) == {}
    assert await store.read_contents(OTHER) == {"c1.q": b"kept"}


async def test_a_session_with_an_open_hold_is_not_purged(store: Store) -> None:
    """Its money would be held for ever."""
    await store.append(reserved("c1"))

    assert await store.purge(NOW + 1, NOW + 1) == 0
    await store.append(settled("c1"))
    assert await store.purge(NOW + 1, NOW + 1) == 1
    assert [type(stored.event) for stored in await store.read(KEY)] == [SessionDeleted]


@pytest.mark.parametrize("state", ["paused", "awaiting_human"])
async def test_a_session_that_waits_for_a_human_is_not_purged(store: Store, state: str) -> None:
    """Its next call would go on as if nobody had stopped it."""
    await store.append(replace(opened(), head=SessionHead(state=state, updated_at=NOW)))
    assert await store.purge(NOW + 1, NOW + 1) == 0

    await store.append(Append(KEY, (), head=SessionHead(state="active", updated_at=NOW)))
    assert await store.purge(NOW + 1, NOW + 1) == 1


async def test_a_purged_session_may_begin_again(store: Store) -> None:
    """Behind its tombstone; at seq 1 once that has gone too. With nothing of the one before."""
    before = await store.append(replace(opened(), links=(b"x",)))
    await store.purge(NOW + 1, NOW + 1)
    after = await store.append(replace(opened(), expected_seq=2))
    await store.purge(NOW + 1, NOW + 1)
    await store.purge(NOW + 2, NOW + 2)
    anew = await store.append(replace(opened(), expected_seq=0))

    assert after.seq == 3
    assert (anew.seq, anew.chain) == (before.seq, before.chain)
    assert await store.find_links("team-a", [b"x"]) == {}


async def test_a_cancelled_waiter_does_not_cancel_the_write(store: Store) -> None:
    """The client leaves while the reservation is written: the hold exists and must be settled. Who
    waits beside it hears of its own."""

    async def appended(append: Append) -> Appended:
        return await store.append(append)

    async with asyncio.TaskGroup() as tasks:
        waiter = tasks.create_task(appended(reserved("c1")))
        beside = tasks.create_task(appended(opened(OTHER)))
        await _one_turn()
        waiter.cancel()

    assert beside.result().seq == 1
    assert [hold.call_id for hold in await store.open_holds()] == ["c1"]


async def test_a_closed_store_refuses(store: Store) -> None:
    """Late calls hear why, and readiness tells the truth."""
    assert await store.writable()
    await store.close()

    assert not await store.writable()
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.append(opened())
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.read(KEY)


async def _one_turn() -> None:
    """Lets every task that is ready run once."""
    turn = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(turn.set_result, None)
    await turn


def holding(call_id: str, cost: int, *, expected_seq: int | None = None) -> Append:
    event = StepReserved(
        NOW,
        call_id=call_id,
        step=1,
        owner="here",
        deadline=NOW + 600,
        hold_cost_micro_usd=cost,
        accounts=("day", "week"),
    )
    charges = tuple(Charge(account, held_micro_usd=cost) for account in event.accounts)
    return Append(KEY, (event,), expected_seq=expected_seq, charges=charges)


async def test_closing_a_call_frees_all_that_it_held_and_books_what_it_cost(store: Store) -> None:
    """The store knows the hold, extensions included; who closes it may not."""
    await store.append(holding("c1", 100))
    more = HoldExtended(NOW, call_id="c1", hold_cost_micro_usd=50)
    grown = tuple(Charge(account, held_micro_usd=50) for account in ("day", "week"))
    await store.append(Append(KEY, (more,), expected_seq=1, charges=grown))
    done = replace(settled("c1"), spent_micro_usd=30)
    await store.append(done)
    repeat = await store.append(done)

    assert repeat.repeated
    balances = await store.balances(("day", "week"))
    assert set(balances.values()) == {Balance(spent_micro_usd=30, held_micro_usd=0)}


async def test_a_closed_hold_cannot_grow(store: Store) -> None:
    """Nobody would free it again."""
    await store.append(holding("c1", 100))
    await store.append(settled("c1"))
    more = HoldExtended(NOW, call_id="c1", hold_cost_micro_usd=50)
    charges = (Charge("day", held_micro_usd=50),)

    refused = await outcome(store, Append(KEY, (more,), expected_seq=2, charges=charges))
    assert isinstance(refused, SeqConflict)
    assert (await store.balances(("day",)))["day"].held_micro_usd == 0


async def test_a_decision_stands_only_on_the_append_that_it_was_made_on(store: Store) -> None:
    """Another append in that place makes a log of the same length, but not the same log."""
    await store.append(replace(reserved("c1"), token=b"theirs"))

    wrong = await outcome(store, replace(reserved("c2"), expected_seq=1, after=b"ours"))
    assert isinstance(wrong, SeqConflict)
    right = replace(reserved("c2"), expected_seq=1, after=b"theirs", token=b"ours")
    assert (await store.append(right)).seq == 2
    unsure = replace(reserved("c3"), expected_seq=2, after=None)
    assert (await store.append(unsure)).seq == 3


async def test_accounts_that_were_not_charged_for_long_are_purged(store: Store) -> None:
    """Windows that are over; not one on which something is held, however old it is."""
    head = SessionHead(created_at=NOW, updated_at=NOW)
    for n in range(250):
        charges = (Charge(f"old{n}", 0, 5), Charge("on", 0, 5))
        await store.append(replace(opened(at=NOW), head=head, charges=charges))
    trees = Charge("tree", counts=Counts(calls=1))
    await store.append(reserved("c1", charges=[Charge("held", 1), trees], at=NOW))
    await store.append(replace(opened(at=NOW + 9), charges=(Charge("on", 0, 5),)))

    assert await store.purge_accounts(NOW) == 0
    assert await store.purge_accounts(NOW + 9) == 250
    left = await store.balances(["old7", "on", "held", "tree"])
    assert [b.spent_micro_usd for b in left.values()] == [0, 1255, 0, 0]
    assert (left["held"].held_micro_usd, left["tree"].counts.calls) == (1, 1)
    await store.append(reserved("c2", charges=[Charge("old7", 3)]))
    assert await store.balances(["old7"]) == {"old7": Balance(0, 3)}


async def test_closing_a_call_of_a_tree_frees_what_it_held_there_and_counts_what_it_was(
    store: Store,
) -> None:
    """Tokens held and the call in flight go down by themselves; steps and tool calls are told."""
    event = StepReserved(
        NOW,
        call_id="c1",
        step=1,
        owner="here",
        deadline=NOW + 600,
        hold_cost_micro_usd=9,
        hold_tokens=50,
        accounts=("day",),
        trees=("tree",),
    )
    held = Charge("tree", 9, counts=Counts(held_tokens=50, steps=1, calls=1))
    await store.append(Append(KEY, (event,), charges=(held, Charge("day", 9))))
    done = replace(settled("c1"), spent_micro_usd=4, counts=Counts(tokens=30, tool_calls=2))
    await store.append(done)

    assert await store.balances(["tree", "day"]) == {
        "tree": Balance(4, 0, Counts(tokens=30, steps=1, tool_calls=2)),
        "day": Balance(4, 0),
    }


@pytest.mark.parametrize("limit", [1, 4, 7, 100])
async def test_pages_of_many_tenants(store: Store, limit: int) -> None:
    """Each session once, newest first, though many were touched at the same moment."""
    heads = {}
    for n in range(60):
        key = SessionKey(f"t{n % 13}", f"s{n}")
        head = SessionHead(
            "killed" if n % 3 == 0 else "active",
            f"a{n % 2}",
            created_at=NOW,
            updated_at=NOW + n // 9,
        )
        heads[key] = head
        await store.append(replace(opened(key), head=head))

    filters: list[tuple[str | None, str | None]] = [
        *((None, None), ("killed", None), (None, "a1"), ("killed", "a1"))
    ]
    for state, agent in filters:
        rows, cursor = await store.list_sessions(state=state, agent=agent, limit=limit)
        found = [*rows]
        while cursor is not None:
            rows, cursor = await store.list_sessions(
                state=state, agent=agent, limit=limit, cursor=cursor
            )
            assert len(rows) <= limit
            found += rows
        assert len(found) == len({row.key for row in found})
        wanted = {
            key
            for key, head in heads.items()
            if state in (None, head.state) and agent in (None, head.agent)
        }
        assert {row.key for row in found} == wanted
        times = [row.head.updated_at for row in found]
        assert times == sorted(times, reverse=True)
