"""What a listing shows, held against the log: what a store may have made of it, and what not."""

from collections.abc import Mapping, Sequence

import pytest
from msgspec.structs import replace

from proxy.core import events as ev
from proxy.stores import Hold, SessionHead
from proxy.stores.chain import ChainedPayload
from proxy.stores.codec import encode_event
from proxy.stores.derived import derived_faults
from proxy.stores.recount import recounted
from proxy.stores.verification import SessionLog
from tests.fakes_stores import KEY, NOW

DAY = 86_400
OPENED = ev.SessionOpened(NOW)
ASKED = ev.HandedOff(NOW, handoff="h", blocking=True, notify=True)
TOMBSTONE = ev.SessionDeleted(NOW)


def faults(
    events: Sequence[ev.AnyEvent], head: SessionHead, holds: Mapping[str, Hold] | None = None
) -> list[str]:
    rows = [ChainedPayload(n, encode_event(e), b"") for n, e in enumerate(events, 1)]
    head = replace(head, seq=len(rows))
    log = SessionLog(KEY, rows, (len(rows), b""), {}, head, holds)
    return [fault.detail for fault in derived_faults(log, recounted(rows))]


def active(**more: object) -> SessionHead:
    head = SessionHead("active", generation=1, created_at=NOW, updated_at=NOW)
    return replace(head, **more)


def test_what_is_not_asked_for_is_not_compared() -> None:
    """Holds of a log of which none were read; a session without events."""
    held = ev.StepReserved(NOW, "a", 1, hold_cost_micro_usd=9)
    head = active(steps=1, held_micro_usd=9)

    assert faults([OPENED, held], head) == []
    assert len(faults([OPENED, held], head, {})) == 1
    assert faults([], active()) == []


@pytest.mark.parametrize(
    ("updated_at", "is_told"),
    [(NOW - 1, True), (NOW, False), (NOW + DAY, False), (NOW + DAY + 1, True)],
)
def test_a_listing_may_be_some_hours_younger_than_its_log(updated_at: float, is_told: bool) -> None:
    """An append that was refused left its time, by a clock that was ahead."""
    assert bool(faults([OPENED], active(updated_at=updated_at))) is is_told


def test_who_waits_for_a_human_is_listed_so() -> None:
    """Each of the three that the queue is made of is compared."""
    head = active(state="awaiting_human", waits=("h",), owed=("h",))
    assert faults([OPENED, ASKED], head) == []

    for name, value in (("state", "active"), ("waits", ()), ("stands", ("h",)), ("owed", ())):
        assert len(faults([OPENED, ASKED], replace(head, **{name: value}))) == 1


def test_a_killed_session_that_waits_is_listed_as_killed() -> None:
    """Its human is still waited for where it was handed off after that."""
    head = active(state="killed", waits=("h",), owed=("h",))

    assert faults([OPENED, ev.SessionKilled(NOW), ASKED], head) == []


def test_a_deleted_session_shows_what_it_came_to_and_holds_nothing() -> None:
    """Nothing tells its figures any more; its time is at least that of its tombstone."""
    head = SessionHead("deleted", cost_micro_usd=7, updated_at=NOW + 5)
    assert faults([TOMBSTONE], head) == []

    wrong = {"state": "active", "held_micro_usd": 1, "updated_at": NOW - 1}
    for name, value in {**wrong, "waits": ("h",), "stands": ("h",), "owed": ("h",)}.items():
        assert len(faults([TOMBSTONE], replace(head, **{name: value}))) == 1


def test_a_session_that_began_anew_behind_its_tombstone_is_compared() -> None:
    assert faults([TOMBSTONE, OPENED], active()) == []
    assert len(faults([TOMBSTONE, OPENED], active(cost_micro_usd=7))) == 1
