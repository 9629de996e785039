"""What a log says was charged, held and put before a human."""

from proxy.core import events as ev
from proxy.stores.chain import ChainedPayload
from proxy.stores.codec import encode_event
from proxy.stores.recount import Recount, recounted
from tests.fakes_stores import NOW


def of(*events: ev.AnyEvent) -> Recount:
    return recounted([ChainedPayload(n, encode_event(e), b"") for n, e in enumerate(events, 1)])


def held(call_id: str, *, retry: bool = False) -> ev.StepReserved:
    return ev.StepReserved(
        NOW, call_id, 1, retry, hold_cost_micro_usd=9, accounts=("w",), trees=("t",)
    )


def test_a_retry_is_no_step_of_a_tree_and_gives_none_back() -> None:
    released = of(held("a"), held("b", retry=True), ev.StepReleased(NOW, "b"))
    assert released.charged["t"].steps == 1
    assert of(held("a"), ev.StepReleased(NOW, "a")).charged["t"].steps == 0


def test_what_was_charged_elsewhere_is_not_charged_here() -> None:
    """A log that was imported: its calls in flight are closed behind the mark."""
    owed = ev.HandedOff(NOW, handoff="h", blocking=True, notify=True)
    came = (ev.SessionImported(NOW), ev.StepSettled(NOW, "a", "expired", cost_micro_usd=9))
    recount = of(ev.SessionOpened(NOW), held("a"), owed, *came)

    assert (recount.charged, recount.holds) == ({}, {})
    assert (recount.queue.waits, recount.queue.owed) == (("h",), ())
    assert of(came[0], came[1], held("c")).charged["w"].held == 9


def test_a_hold_that_was_extended_is_all_that_it_came_to() -> None:
    """One of a call that is over is nobody's."""
    more = ev.HoldExtended(NOW + 5, "a", hold_cost_micro_usd=4, hold_tokens=3)
    recount = of(held("a"), more, ev.HoldExtended(NOW + 6, "gone", hold_cost_micro_usd=4))
    hold, tree, window = recount.holds["a"], recount.charged["t"], recount.charged["w"]

    assert (hold.cost_micro_usd, hold.tokens) == (13, 3)
    assert (tree.held, tree.held_tokens, tree.calls) == (13, 3, 1)
    assert (window.held, window.held_tokens, window.calls) == (13, 0, 0)
    assert (window.since, window.until) == (NOW, NOW + 5)


def test_the_newest_event_need_not_be_the_last() -> None:
    """A clock was set back."""
    assert of(ev.SessionOpened(NOW), ev.SessionPaused(NOW - 9)).newest == NOW


def test_what_a_human_has_answered_stands_in_no_queue() -> None:
    asked = ev.HandedOff(NOW, handoff="h", blocking=True, notify=True)
    heard = (ev.WebhookDelivered(NOW, handoff="h"), ev.HandoffAnswered(NOW, handoff="h"))

    assert of(ev.SessionOpened(NOW), asked, heard[0]).queue.waits == ("h",)
    queue = of(ev.SessionOpened(NOW), asked, *heard).queue
    assert (queue.waits, queue.owed) == ((), ())
