"""Stops on a real (memory) store: each is put before a human once, and on nothing that changed."""

import asyncio
from dataclasses import replace

from msgspec.structs import replace as changed

from proxy.core import events as ev
from proxy.core.decision import Refusal
from proxy.core.engine import Rules
from proxy.core.handoff import Handoff, Webhook
from proxy.core.policy import Budget, Limits
from proxy.core.session import SessionKey
from proxy.ledger import Ledger
from proxy.reservation import Admitted, Reservation
from tests.unit.test_ledger import KEY, UNLIMITED, Bench, used, wants
from tests.unit.test_ledger import bench as bench
from tests.unit.test_ledger_trees import ROOT, child, own

HANDOFF = replace(UNLIMITED, steps=1, on_limit="handoff")
REJECT = replace(UNLIMITED, steps=1)
TOLD = Handoff(webhook=Webhook("http://h"))


def limited(call_id: str, limits: Limits, handoff: Handoff = TOLD) -> Reservation:
    return changed(wants(call_id), rules=Rules(limits, handoff=handoff))


async def refused(bench: Bench, want: Reservation) -> Refusal:
    outcome = await bench.ledger.reserve(want)
    assert isinstance(outcome, Refusal)
    return outcome


def handed_off(bench: Bench) -> list[ev.HandedOff]:
    return [event for event in bench.seen if isinstance(event, ev.HandedOff)]


async def one_step(bench: Bench, limits: Limits) -> None:
    assert isinstance(await bench.ledger.reserve(limited("first", limits)), Admitted)
    await bench.ledger.settle(KEY, "first", used(10))


async def test_past_a_limit_the_session_waits_for_its_human(bench: Bench) -> None:
    """The call that passes it is told so already: the next one is none of its business."""
    await one_step(bench, HANDOFF)
    refusal = await refused(bench, limited("a", HANDOFF))

    (handoff,) = handed_off(bench)
    assert (handoff.code, handoff.limit) == ("step_limit_exceeded", "steps")
    assert (handoff.blocking, handoff.notify, handoff.owner) == (True, True, "me")
    assert refusal.code == "awaiting_human"
    assert refusal.message == f"Session s1 waits for a human. {handoff.message}"
    assert (await bench.ledger.state(KEY)).status == "awaiting_human"


async def test_a_session_that_waits_is_handed_over_once(bench: Bench) -> None:
    """However often its agent asks: each handoff wakes somebody."""
    await one_step(bench, HANDOFF)
    for call in "abc":
        assert (await refused(bench, limited(call, HANDOFF))).code == "awaiting_human"

    assert len(handed_off(bench)) == 1


async def test_a_stop_that_is_rejected_stands_in_the_queue_and_tells_nobody(bench: Bench) -> None:
    await one_step(bench, REJECT)
    for call in "abc":
        assert (await refused(bench, limited(call, REJECT))).code == "step_limit_exceeded"

    (handoff,) = handed_off(bench)
    assert (handoff.blocking, handoff.notify) == (False, False)
    assert (await bench.ledger.state(KEY)).status == "active"


async def test_what_stood_there_is_waited_for_once_the_policy_says_so(bench: Bench) -> None:
    """An edit from reject to handoff is meant for the sessions that are stopped now, too."""
    await one_step(bench, REJECT)
    await refused(bench, limited("a", REJECT))

    assert (await refused(bench, limited("b", HANDOFF))).code == "awaiting_human"
    assert [handoff.blocking for handoff in handed_off(bench)] == [False, True]


async def test_without_a_webhook_nobody_is_told(bench: Bench) -> None:
    await one_step(bench, HANDOFF)
    await refused(bench, limited("a", HANDOFF, Handoff()))

    assert not handed_off(bench)[0].notify


async def test_a_budget_that_many_share_holds_no_single_session(bench: Bench) -> None:
    """Nothing that a human does to one of them would help, and every one would wake somebody."""
    limits = replace(UNLIMITED, on_limit="handoff")
    budgets = (Budget("global", "1d", 150),)
    want = changed(limited("a", limits), budgets=budgets)
    assert isinstance(await bench.ledger.reserve(want), Admitted)
    await bench.ledger.settle(KEY, "a", used(100))

    refusal = await refused(bench, changed(want, call_id="b"))

    assert refusal.code == "budget_exceeded"
    assert [handoff.blocking for handoff in handed_off(bench)] == [False]


async def test_what_only_calls_in_flight_hold_is_no_stop(bench: Bench) -> None:
    """It comes free by itself."""
    limits = replace(UNLIMITED, cost_micro_usd=150, on_limit="handoff")
    assert isinstance(await bench.ledger.reserve(limited("a", limits)), Admitted)

    assert (await refused(bench, limited("b", limits))).code == "budget_exceeded"
    assert handed_off(bench) == []


async def test_too_many_calls_at_once_are_no_stop(bench: Bench) -> None:
    limits = replace(UNLIMITED, parallel=1, on_limit="handoff")
    assert isinstance(await bench.ledger.reserve(limited("a", limits)), Admitted)

    assert (await refused(bench, limited("b", limits))).code == "parallel_limit_exceeded"
    assert handed_off(bench) == []


async def test_a_first_call_that_is_refused_has_no_session_to_hand_over(bench: Bench) -> None:
    """Whoever makes sessions up would fill the disk, and the human's queue."""
    limits = replace(UNLIMITED, steps=0, on_limit="handoff")

    assert (await refused(bench, limited("a", limits))).code == "step_limit_exceeded"
    assert await bench.store.read(KEY) == ()


async def test_the_first_call_of_a_new_generation_is_not_handed_over_either(bench: Bench) -> None:
    await one_step(bench, HANDOFF)
    bench.clock.advance(3601)
    limits = replace(UNLIMITED, cost_micro_usd=1, on_limit="handoff")

    assert (await refused(bench, limited("a", limits))).code == "budget_exceeded"
    assert handed_off(bench) == []


async def test_a_limit_of_a_session_above_hands_that_one_over(bench: Bench) -> None:
    """It is the one that a human can extend, and all below it wait."""
    limits = replace(UNLIMITED, cost_micro_usd=100, on_limit="handoff")
    assert isinstance(await bench.ledger.reserve(own("1", limits)), Admitted)
    await bench.ledger.settle(ROOT, "1", used(100))
    assert isinstance(await bench.ledger.reserve(child("x", "2", UNLIMITED)), Admitted)
    await bench.ledger.settle(SessionKey("t", "x"), "2", used(0))

    refusal = await refused(bench, child("x", "3", limits))
    again = await refused(bench, child("y", "4", limits))

    assert (refusal.code, again.code) == ("awaiting_human", "awaiting_human")
    assert refusal.message.startswith("Session root waits for a human.")
    assert (await bench.ledger.state(ROOT)).status == "awaiting_human"
    assert (await bench.ledger.state(SessionKey("t", "x"))).status == "active"
    assert len(handed_off(bench)) == 1


async def test_a_stop_is_told_however_few_sessions_are_kept() -> None:
    """Deciding again on what is evicted each time must come to an end."""
    bench = Bench()
    await bench.store.open()
    ledger = Ledger(bench.store, bench.clock, "me", bench.tasks, sessions_in_memory=1)
    limits = replace(UNLIMITED, cost_micro_usd=100, on_limit="handoff")

    def below(name: str, call_id: str, parent: str) -> Reservation:
        want = child(name, call_id, UNLIMITED, parent=parent)
        limits_of = {"a": limits}
        agent = name if name == "a" else None
        return changed(
            want, agent=agent, limits_of=lambda agent: limits_of.get(agent or "", UNLIMITED)
        )

    for name, parent, cost in (("a", "root", 0), ("b", "a", 0), ("c", "b", 100)):
        assert isinstance(await ledger.reserve(below(name, name, parent)), Admitted)
        await ledger.settle(SessionKey("t", name), name, used(cost))

    async with asyncio.timeout(5):
        outcome = await ledger.reserve(below("c", "again", "b"))

    assert isinstance(outcome, Refusal)
    assert outcome.facts is not None
    assert outcome.facts.session == "a"
    await bench.tasks.settle()


async def test_a_human_who_was_faster_elsewhere_is_not_asked_again(bench: Bench) -> None:
    """Another process extended the session while this one refused on what it knew."""
    await one_step(bench, HANDOFF)
    other = bench.another("other")
    await other.record(KEY, ev.LimitsExtended(at=bench.clock.now(), added=(("steps", 5),)))

    outcome = await bench.ledger.reserve(limited("a", HANDOFF))

    assert isinstance(outcome, Admitted)
    assert outcome.admit.step == 2
    assert handed_off(bench) == []


async def test_two_processes_hand_a_session_over_once(bench: Bench) -> None:
    await one_step(bench, HANDOFF)
    other = bench.another("other")
    await other.state(KEY)
    await refused(bench, limited("a", HANDOFF))

    outcome = await other.reserve(limited("b", HANDOFF))

    assert isinstance(outcome, Refusal)
    assert outcome.code == "awaiting_human"
    assert len(handed_off(bench)) == 1
