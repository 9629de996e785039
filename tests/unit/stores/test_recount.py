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
