"""Trees of sessions on a real (memory) store: what a limit above counts, whoever calls."""

import asyncio
from dataclasses import replace
from functools import partial

import pytest
from msgspec.structs import replace as changed

from proxy.core import events as ev
from proxy.core.decision import Blocked, Granted, Refusal
from proxy.core.engine import Rules, remaining_micro_usd
from proxy.core.policy import Limits
from proxy.core.session import SessionKey
from proxy.core.tree import tree_account
from proxy.errors import MalformedRequest
from proxy.reservation import Admitted, Reservation
from proxy.stores import Balance, Counts
from tests.unit.test_ledger import ASK, UNLIMITED, Bench, just, used, wants
from tests.unit.test_ledger import bench as bench

ROOT = SessionKey("t", "root")


def child(name: str, call_id: str, limits: Limits, *, parent: str = "root") -> Reservation:
    """A call of 100 micro-USD and 100 tokens of a session below `parent`."""
    want = wants(call_id, key=SessionKey("t", name), cost=None, minimum=90)
    return changed(want, parent=parent, limits_of=lambda agent: limits)


def own(call_id: str, limits: Limits) -> Reservation:
    """A call of the root's own."""
    want = wants(call_id, key=ROOT, minimum=90)
    return changed(want, rules=Rules(limits, min_output_tokens=90), limits_of=lambda agent: limits)


async def test_the_children_share_what_the_root_may_spend(bench: Bench) -> None:
    limits = replace(UNLIMITED, cost_micro_usd=250)
    first = await bench.ledger.reserve(child("a", "1", limits))
    second = await bench.ledger.reserve(child("b", "2", limits))
    third = await bench.ledger.reserve(child("c", "3", limits))

    assert isinstance(first, Admitted)
    assert isinstance(second, Admitted)
    assert isinstance(third, Refusal)
    assert third.facts is not None
    assert (third.facts.session, third.facts.limit) == ("root", "cost_usd")


async def test_the_roots_own_calls_and_those_below_count_together(bench: Bench) -> None:
    limits = replace(UNLIMITED, cost_micro_usd=250)
    await bench.ledger.reserve(own("1", limits))
    await bench.ledger.reserve(child("a", "2", limits))

    assert isinstance(await bench.ledger.reserve(own("3", limits)), Refusal)
    assert isinstance(await bench.ledger.reserve(child("a", "4", limits)), Refusal)


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (replace(UNLIMITED, steps=1), "step_limit_exceeded"),
        (replace(UNLIMITED, tokens=150), "token_limit_exceeded"),
        (replace(UNLIMITED, parallel=1), "parallel_limit_exceeded"),
    ],
)
async def test_every_limit_above_counts_those_below(
    bench: Bench, limits: Limits, code: str
) -> None:
    await bench.ledger.reserve(child("a", "1", limits))

    refusal = await bench.ledger.reserve(child("b", "2", limits))
    assert isinstance(refusal, Refusal)
    assert refusal.code == code


async def test_what_is_settled_or_given_back_leaves_no_hold_above(bench: Bench) -> None:
    limits = replace(UNLIMITED, cost_micro_usd=1000)
    await bench.ledger.reserve(child("a", "1", limits))
    await bench.ledger.reserve(child("b", "2", limits))
    await bench.ledger.settle(SessionKey("t", "a"), "1", changed(used(40), tools=("x", "y")))
    await bench.ledger.release(SessionKey("t", "b"), "2", "unsent")

    account = tree_account(ROOT, await bench.ledger.state(ROOT))
    stored = (await bench.store.balances([account]))[account]
    assert stored == Balance(40, 0, Counts(tokens=used(40).tokens, steps=1, tool_calls=2))


async def test_a_hold_grows_only_while_there_is_room_above(bench: Bench) -> None:
    limits = replace(UNLIMITED, cost_micro_usd=250)
    await bench.ledger.reserve(child("a", "1", limits))

    assert await bench.ledger.extend("1", just(150)) == Granted(150, 150)
    assert await bench.ledger.extend("1", just(1)) == Blocked(ROOT)


async def test_a_grandchild_counts_in_both_above(bench: Bench) -> None:
    limits = replace(UNLIMITED, cost_micro_usd=250)
    await bench.ledger.reserve(child("a", "1", limits))
    await bench.ledger.reserve(child("aa", "2", limits, parent="a"))

    assert isinstance(await bench.ledger.reserve(child("b", "3", limits)), Refusal)


async def test_a_killed_root_ends_those_below(bench: Bench) -> None:
    await bench.ledger.reserve(child("a", "1", UNLIMITED))
    await bench.ledger.record(ROOT, ev.SessionKilled(at=bench.clock.now()))

    refusal = await bench.ledger.reserve(child("b", "2", UNLIMITED))
    assert isinstance(refusal, Refusal)
    assert refusal.code == "session_killed"


async def test_two_processes_share_one_tree(bench: Bench) -> None:
    """What one has not heard of is compared when it is written."""
    limits, other = replace(UNLIMITED, cost_micro_usd=250), bench.another("other")
    await bench.ledger.reserve(child("a", "1", limits))
    await other.reserve(child("b", "2", limits))

    assert isinstance(await bench.ledger.reserve(child("a", "3", limits)), Refusal)
    assert isinstance(await other.reserve(own("4", limits)), Refusal)


async def test_the_root_may_call_between_a_childs_decision_and_its_writing(bench: Bench) -> None:
    limits, other = replace(UNLIMITED, cost_micro_usd=250), bench.another("other")
    await bench.ledger.reserve(child("a", "1", limits))
    await other.reserve(own("2", limits))

    assert isinstance(await bench.ledger.reserve(child("b", "3", limits)), Refusal)


async def test_a_budget_that_a_run_brings_along_stays(bench: Bench) -> None:
    """It is named at the first call; a child's calls do not carry the root's headers."""
    first = changed(own("1", UNLIMITED), budget_micro_usd=250)
    await bench.ledger.reserve(first)
    await bench.ledger.reserve(child("a", "2", UNLIMITED))

    assert isinstance(await bench.ledger.reserve(child("a", "3", UNLIMITED)), Refusal)
    assert isinstance(await bench.ledger.reserve(own("4", UNLIMITED)), Refusal)


async def test_a_tree_that_was_idle_begins_anew(bench: Bench) -> None:
    """A base URL fixed in a Deployment must not run dry, with or without children."""
    limits = replace(UNLIMITED, cost_micro_usd=250)
    await bench.ledger.reserve(child("a", "1", limits))
    await bench.ledger.settle(SessionKey("t", "a"), "1", used(250))
    assert isinstance(await bench.ledger.reserve(child("b", "2", limits)), Refusal)
    bench.clock.advance(3_601)

    assert isinstance(await bench.ledger.reserve(child("b", "3", limits)), Admitted)
    assert (await bench.ledger.state(ROOT)).generation == 2


async def test_a_tree_is_in_use_as_long_as_those_below_call(bench: Bench) -> None:
    """Else its budget would begin anew while it is being spent."""
    limits = replace(UNLIMITED, cost_micro_usd=250)
    for number in range(4):
        await bench.ledger.reserve(child("a", f"{number}", limits))
        await bench.ledger.settle(SessionKey("t", "a"), f"{number}", used(50))
        bench.clock.advance(1_800)

    refusal = await bench.ledger.reserve(child("a", "4", limits))
    assert isinstance(refusal, Refusal)
    assert (await bench.ledger.state(ROOT)).generation == 1


async def test_a_tree_does_not_begin_anew_while_a_call_in_it_may_run(bench: Bench) -> None:
    """However short a time it may be idle: the call would grow where nothing bounds it."""
    limits = replace(UNLIMITED, cost_micro_usd=250)
    want = changed(child("a", "1", limits), idle_seconds=80)
    await bench.ledger.reserve(changed(want, call_id="0"))
    bench.clock.advance(9)
    await bench.ledger.reserve(want)
    bench.clock.advance(600)
    root = changed(own("2", limits), idle_seconds=80)

    assert isinstance(await bench.ledger.reserve(root), Refusal)
    assert await bench.ledger.extend("1", just(100)) == Blocked(ROOT)
    bench.clock.advance(611)
    assert isinstance(await bench.ledger.reserve(changed(root, call_id="3")), Admitted)


async def test_a_hold_that_outlives_its_trees_generation_is_given_back_whole(bench: Bench) -> None:
    """It grows where it began, so that what is freed is what was held."""
    limits = replace(UNLIMITED, cost_micro_usd=1_000)
    await bench.ledger.reserve(child("a", "1", limits))
    first = tree_account(ROOT, await bench.ledger.state(ROOT))
    bench.clock.advance(3_601)
    await bench.ledger.reserve(own("2", limits))
    assert await bench.ledger.extend("1", just(50)) == Granted(50, 50)
    await bench.ledger.settle(SessionKey("t", "a"), "1", used(120))

    second = tree_account(ROOT, await bench.ledger.state(ROOT))
    stored = await bench.store.balances([first, second])
    assert stored[first] == Balance(120, 0, Counts(tokens=120, steps=1))
    assert stored[second] == Balance()


async def test_two_processes_may_begin_one_tree(bench: Bench) -> None:
    """The second knew the root before it was one."""
    other = bench.another("other")
    await bench.ledger.reserve(own("0", UNLIMITED))
    await other.state(ROOT)
    await bench.ledger.reserve(child("a", "1", UNLIMITED))

    assert isinstance(await other.reserve(child("b", "2", UNLIMITED)), Admitted)


async def test_a_circle_is_refused(bench: Bench) -> None:
    await bench.ledger.reserve(child("a", "1", UNLIMITED, parent="b"))
    below = partial(child, limits=UNLIMITED)
    await bench.ledger.reserve(below("c", "2", parent="a"))

    with pytest.raises(MalformedRequest):
        await bench.ledger.reserve(below("x", "3", parent="x"))


async def test_a_tree_is_only_so_deep(bench: Bench) -> None:
    for depth in range(8):
        await bench.ledger.reserve(
            child(f"s{depth + 1}", f"{depth}", UNLIMITED, parent=f"s{depth}")
        )

    with pytest.raises(MalformedRequest):
        await bench.ledger.reserve(child("s9", "9", UNLIMITED, parent="s8"))


def test_the_calls_here_are_of_a_hundred() -> None:
    assert (ASK.input_tokens, ASK.output_bound) == (10, 90)


async def test_a_call_that_waits_ends_when_a_session_above_is_killed(bench: Bench) -> None:
    """Behind others in a line that nothing else moves, and within its wait."""
    limits = replace(UNLIMITED, cost_micro_usd=100)
    await bench.ledger.reserve(child("a", "1", limits))
    waiting = [
        asyncio.ensure_future(
            bench.ledger.reserve(changed(child("a", f"w{n}", limits), wait_seconds=30))
        )
        for n in range(3)
    ]
    while len(bench.ledger.lines) < 3:
        await asyncio.wait(waiting, timeout=0)
    await bench.ledger.record(ROOT, ev.SessionKilled(at=bench.clock.now()))
    for _ in range(20):  # turns of the loop, and no time
        await asyncio.wait(waiting, timeout=0)

    outcomes = [call.result() for call in waiting]
    assert {o.code for o in outcomes if isinstance(o, Refusal)} == {"session_killed"}
    assert not bench.ledger.lines


async def test_what_a_root_has_left_counts_those_below(bench: Bench) -> None:
    limits = replace(UNLIMITED, cost_micro_usd=1_000)
    await bench.ledger.reserve(child("a", "1", limits))
    await bench.ledger.settle(SessionKey("t", "a"), "1", used(60))
    admitted = await bench.ledger.reserve(own("2", limits))
    assert isinstance(admitted, Admitted)
    assert remaining_micro_usd(limits, admitted.state) == 840

    settled = await bench.ledger.settle(ROOT, "2", used(40))
    assert remaining_micro_usd(limits, settled) == 900
    elsewhere = await bench.another("other").state(ROOT)
    assert remaining_micro_usd(limits, elsewhere) == 900


async def test_a_call_of_the_roots_own_is_compared_with_those_below(bench: Bench) -> None:
    """Where another process charged the tree, and this one has not heard of it."""
    limits, other = replace(UNLIMITED, cost_micro_usd=290), bench.another("other")
    await bench.ledger.reserve(child("a", "1", limits))
    assert isinstance(await other.reserve(child("b", "2", limits)), Admitted)

    assert isinstance(await bench.ledger.reserve(own("3", limits)), Refusal)


async def test_what_the_root_itself_spent_is_not_left_to_those_below(bench: Bench) -> None:
    """Where another process charged the tree, and this one has not heard of it."""
    limits, other = replace(UNLIMITED, cost_micro_usd=450), bench.another("other")
    await bench.ledger.reserve(own("1", limits))
    await bench.ledger.settle(ROOT, "1", used(200))
    await bench.ledger.reserve(child("a", "2", limits))
    assert isinstance(await other.reserve(child("b", "3", limits)), Admitted)

    assert isinstance(await bench.ledger.reserve(child("a", "4", limits)), Refusal)


async def test_tools_are_counted_over_the_tree(bench: Bench) -> None:
    """By glob, whichever of the tools each session has; a repeat counts nothing."""
    limits = replace(UNLIMITED, per_tool={"send_*": 3})
    for number, tool in enumerate(("send_mail", "send_sms", "search")):
        name = SessionKey("t", f"s{number}")
        await bench.ledger.reserve(child(name.session, f"{number}", limits))
        asked = changed(used(1), tools=(tool, tool) if number else (tool,))
        await bench.ledger.settle(name, f"{number}", asked)
        await bench.ledger.settle(name, f"{number}", asked)

    want = child("s4", "4", limits)
    offering = changed(want, ask=changed(want.ask, tools=("send_fax",)))
    refusal = await bench.ledger.reserve(offering)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.facts and refusal.facts.used) == ("tool_call_limit_exceeded", 3)
    assert isinstance(await bench.another("other").reserve(offering), Refusal)
    assert isinstance(await bench.ledger.reserve(want), Admitted)


async def test_what_a_tree_spends_within_a_minute_is_bounded(bench: Bench) -> None:
    """Spent and held together, for every process; a minute later it may go on."""
    limits, other = replace(UNLIMITED, cost_micro_usd_per_minute=300), bench.another("other")
    await bench.ledger.reserve(child("a", "1", limits))
    await bench.ledger.settle(SessionKey("t", "a"), "1", used(90))
    assert isinstance(await other.reserve(child("b", "2", limits)), Admitted)
    assert isinstance(await bench.ledger.reserve(child("a", "3", limits)), Admitted)

    refusal = await bench.ledger.reserve(child("a", "4", limits))
    assert isinstance(refusal, Refusal)
    assert refusal.code == "velocity_exceeded"
    await other.settle(SessionKey("t", "b"), "2", used(100))
    await bench.ledger.settle(SessionKey("t", "a"), "3", used(100))
    assert isinstance(await bench.ledger.reserve(child("a", "5", limits)), Refusal)
    bench.clock.advance(76)
    assert isinstance(await bench.ledger.reserve(child("a", "6", limits)), Admitted)


async def test_a_minute_of_a_tree_is_compared_when_it_is_written(bench: Bench) -> None:
    """What this process knows of the tree is behind what another has held."""
    limits, other = replace(UNLIMITED, cost_micro_usd_per_minute=250), bench.another("other")
    await bench.ledger.reserve(child("a", "1", limits))
    await bench.ledger.settle(SessionKey("t", "a"), "1", used(100))
    assert isinstance(await other.reserve(child("b", "2", limits)), Admitted)

    assert isinstance(await bench.ledger.reserve(child("a", "3", limits)), Refusal)


async def test_a_call_that_does_not_name_its_parent_again_counts_above(bench: Bench) -> None:
    """A child was opened below its root, and stays there."""
    limits = replace(UNLIMITED, cost_micro_usd=250)
    await bench.ledger.reserve(child("a", "1", limits))
    await bench.ledger.reserve(changed(child("a", "2", limits), parent=None))

    refusal = await bench.ledger.reserve(changed(child("a", "3", limits), parent=None))
    assert isinstance(refusal, Refusal)


async def test_what_is_below_is_read_where_it_is_not_at_hand(bench: Bench) -> None:
    """Tools below are compared with nothing when a call is written: only when it is decided on."""
    limits = replace(UNLIMITED, per_tool={"x": 1})
    await bench.ledger.reserve(child("a", "1", limits))
    await bench.ledger.settle(SessionKey("t", "a"), "1", changed(used(40), tools=("x",)))
    bench.ledger._folds._balances.clear()  # pushed out by those of others

    want = own("2", limits)
    asked = changed(want, ask=changed(want.ask, tools=("x",)))
    assert isinstance(await bench.ledger.reserve(asked), Refusal)
