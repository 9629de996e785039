"""What stands before a human, as every store keeps it: whatever writers know of it."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from proxy.core import events as ev
from proxy.core.session import SessionKey, fold
from proxy.stores import Append, Queue, SessionHead, Store
from proxy.stores.queue import queued
from tests.fakes_stores import KEY, NOW, OTHER, STORES, opened, reserved

HANDED_OFF = ev.HandedOff(at=NOW, handoff="h1", blocking=True, notify=True)
STOPPED = ev.HandedOff(at=NOW, handoff="h2")
names = st.sampled_from(["h1", "h2", "h3"])
events = st.one_of(
    st.builds(ev.HandedOff, st.just(NOW), names, blocking=st.booleans(), notify=st.booleans()),
    st.builds(ev.HandoffAnswered, st.just(NOW), names),
    st.builds(ev.WebhookDelivered, st.just(NOW), names),
    st.builds(ev.StepReserved, st.just(NOW), st.sampled_from(["a", "b"])),
    st.just(ev.SessionKilled(NOW)),
    st.just(ev.SessionFinished(NOW)),
    st.just(ev.SessionOpened(NOW)),
    st.just(ev.SessionPaused(NOW)),
    st.just(ev.Guided(NOW)),
)


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    store = STORES[request.param](tmp_path)
    await store.open()
    yield store
    await store.close()


@given(st.lists(st.lists(events, max_size=3), max_size=12))
def test_the_queue_is_that_of_the_fold(appends: list[list[ev.AnyEvent]]) -> None:
    """A queue that says something else than the log would wake somebody for nothing, or nobody."""
    head = SessionHead()
    for append in appends:
        head = queued(head, SessionHead(), append)
    log = [event for append in appends for event in append]
    handoffs = fold(log).handoffs

    assert sorted(head.waits) == sorted(h.handoff for h in handoffs if h.blocking)
    assert sorted(head.stands) == sorted(h.handoff for h in handoffs if not h.blocking)


@given(st.lists(events, max_size=12))
def test_a_webhook_is_owed_until_it_was_delivered(log: list[ev.AnyEvent]) -> None:
    """Whatever happens to the session meanwhile."""
    owed: list[str] = []
    for event in log:
        if isinstance(event, ev.HandedOff) and event.notify:
            owed.append(event.handoff)
        if isinstance(event, ev.WebhookDelivered):
            owed = [name for name in owed if name != event.handoff]

    assert list(queued(None, SessionHead(), log).owed) == owed


async def found(store: Store, queue: Queue) -> Sequence[SessionKey]:
    return [row.key for row in await store.list_queue(queue, 100)]


async def test_a_session_is_in_the_queue_until_it_was_answered(store: Store) -> None:
    await store.append(opened())
    await store.append(opened(OTHER))
    assert await found(store, "open") == []

    await store.append(Append(KEY, (HANDED_OFF,)))
    assert await found(store, "open") == [KEY]
    assert await found(store, "owed") == [KEY]
    assert [row.head.state for row in await store.list_queue("open", 100)] == ["awaiting_human"]

    await store.append(Append(KEY, (ev.HandoffAnswered(NOW, "h1"),)))
    assert await found(store, "open") == []
    assert await found(store, "owed") == [KEY]

    await store.append(Append(KEY, (ev.WebhookDelivered(NOW, "h1"),)))
    assert await found(store, "owed") == []


async def test_who_waits_longest_is_first_and_a_limit_holds(store: Store) -> None:
    keys = [SessionKey("t", f"s{n}") for n in (3, 1, 2)]
    for n, key in enumerate(keys):
        await store.append(Append(key, (ev.HandedOff(NOW + n, "h1", blocking=True),)))

    assert await found(store, "open") == keys
    assert [row.key for row in await store.list_queue("open", 2)] == keys[:2]


async def test_a_writer_that_has_not_heard_of_it_takes_nothing_out(store: Store) -> None:
    """Another process's fold lacks what has just been written; it may die before it mends that."""
    await store.append(opened())
    await store.append(Append(KEY, (HANDED_OFF, STOPPED)))
    late = SessionHead(state="warned", created_at=NOW, updated_at=NOW)
    settled = ev.StepSettled(NOW + 1, "c1")
    await store.append(Append(KEY, (settled,), head=late))

    (row,) = await store.list_queue("open", 100)
    assert (row.head.state, row.head.waits, row.head.stands) == ("awaiting_human", ("h1",), ("h2",))
    assert await store.purge(NOW + 100, NOW + 100) == 0


async def test_a_pause_is_shown_before_a_wait(store: Store) -> None:
    """As in the fold: both have to be ended, the pause first."""
    paused = SessionHead(state="paused", created_at=NOW, updated_at=NOW)
    await store.append(replace(Append(KEY, (HANDED_OFF,)), head=paused))

    (row,) = await store.list_queue("open", 100)
    assert (row.head.state, row.head.waits) == ("paused", ("h1",))


async def test_what_only_stands_goes_with_the_next_call(store: Store) -> None:
    await store.append(Append(KEY, (STOPPED,)))
    assert await found(store, "open") == [KEY]
    await store.append(reserved("c1"))

    assert await found(store, "open") == []


async def test_the_queue_is_there_after_a_restart(tmp_path: Path) -> None:
    for writing in (True, False):
        store = STORES["sqlite"](tmp_path)
        await store.open()
        if writing:
            await store.append(Append(KEY, (HANDED_OFF,)))
            await store.append(reserved("c1", key=OTHER))
        assert await found(store, "open") == [KEY]
        assert await found(store, "owed") == [KEY]
        await store.close()
