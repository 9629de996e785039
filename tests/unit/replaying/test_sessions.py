"""What a process has read of the sessions that are resumed."""

import gc

from proxy.contents import Line
from proxy.core import events as ev
from proxy.core.checkpoints import Checkpoints
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.registry import DIALECTS
from proxy.core.request import Request
from proxy.core.session import SessionKey
from proxy.record_reader import RecordReader
from proxy.replaying import sessions as module
from proxy.replaying.sessions import ResumedSession, ResumedSessions
from proxy.sealing import Sealing
from proxy.stores import Append
from proxy.stores.memory import MemoryStore
from tests.unit.core.test_histories import chain

KEY = SessionKey("t1", "s1")


class Client:
    """A connection. is_open: its client has not left."""

    def __init__(self) -> None:
        self.is_open = True


def reserved(call_id: str) -> ev.StepReserved:
    return ev.StepReserved(at=1.0, call_id=call_id, step=1)


async def written(store: MemoryStore, *events: ev.AnyEvent) -> None:
    await store.append(Append(KEY, events))


async def opened() -> tuple[MemoryStore, ResumedSessions]:
    store = MemoryStore(b"k" * 32)
    await store.open()
    await written(store, ev.SessionOpened(at=0.0), reserved("c1"))
    return store, ResumedSessions(store)


async def test_a_log_is_read_on_from_where_it_was_read() -> None:
    """By the same object: what is known of connections stays."""
    store, sessions = await opened()
    first = await sessions.read(KEY)
    await written(store, reserved("c2"))

    again = await sessions.read(KEY)

    assert again is first
    assert [step.call_id for step in again.record.steps] == ["c1", "c2"]
    assert (await sessions.read(KEY)).record.seq == 3


async def test_another_log_of_the_same_name_is_read_from_its_beginning() -> None:
    """The session was deleted, its tombstone forgotten, and its id used anew: also where the new
    log is as long, or longer."""
    for events in (1, 2, 5):
        _, sessions = await opened()
        before = await sessions.read(KEY)
        other = MemoryStore(b"k" * 32)
        await other.open()
        await written(other, ev.SessionOpened(at=5.0))
        for n in range(events - 1):
            await written(other, reserved(f"d{n}"))
        sessions._store = other

        again = await sessions.read(KEY)

        assert again is not before
        assert [s.call_id for s in again.record.steps] == [f"d{n}" for n in range(events - 1)]


async def test_the_next_generation_has_histories_of_its_own() -> None:
    store, sessions = await opened()
    known = await sessions.read(KEY)
    known.histories.add("c1", chain("a"))
    await written(store, ev.SessionOpened(at=5.0, generation=2), reserved("d1"))

    await sessions.read(KEY)

    assert "c1" not in known.histories


async def test_only_so_many_sessions_are_kept() -> None:
    _, sessions = await opened()
    first = await sessions.read(KEY)
    for n in range(module._SESSIONS):
        await sessions.read(SessionKey("t1", f"other-{n}"))

    assert await sessions.read(KEY) is not first


class Reader(RecordReader):
    """One that has read so much."""

    size_bytes = 40 * 1024 * 1024


async def test_no_more_is_kept_of_what_was_read_than_so_much() -> None:
    """Of the sessions resumed last."""
    _, sessions = await opened()
    known = []
    for n in (1, 2, 3):
        known.append(await sessions.read(SessionKey("t1", f"other-{n}")))
        known[-1].line = Line(Reader(Sealing({}, Checkpoints)), lambda call_id: "")

    await sessions.read(SessionKey("t1", "other-2"))

    assert [one.line is None for one in known] == [True, False, True]


def asked(text: str) -> Request:
    body = b'{"model":"m","messages":[{"role":"user","content":"%s"}]}' % text.encode()
    return DIALECTS["chat"].parse(body, Bounds())


def test_calls_that_come_to_nothing_do_not_fill_the_memory() -> None:
    """An agent over its limits, whose every call is another one."""
    known = ResumedSession()
    known.histories.add("c", chain("a"))
    for n in range(3 * module._NOT_ANSWERED):
        known.goes_live(f"c{n}", asked(str(n)))

    assert len(known.histories) <= module._NOT_ANSWERED + 1


def test_a_call_whose_session_was_read_needs_not_be_read() -> None:
    known = ResumedSession()
    known.goes_live("c1", asked("a"))
    assert "c1" not in known.histories  # nothing was read: it is not asked for

    known.histories.add("c0", chain("a"))
    known.goes_live("c1", asked("a"))

    assert "c1" in known.histories


def test_a_run_is_alone_once_its_connections_are_closed() -> None:
    known, one, other = ResumedSession(), Client(), Client()
    assert known.is_alone()

    known.came_by(one, begins=False)
    known.came_by(other, begins=False)
    one.is_open = False
    assert not known.is_alone()
    other.is_open = False
    assert known.is_alone()


def test_a_run_that_begins_has_used_no_other_connection() -> None:
    known, one, other = ResumedSession(), Client(), Client()
    known.came_by(one, begins=False)

    known.came_by(other, begins=True)

    assert one not in known.connections
    assert other in known.connections


def test_a_connection_that_is_gone_is_kept_by_nobody() -> None:
    known = ResumedSession()
    known.came_by(Client(), begins=False)

    gc.collect()

    assert len(known.connections) == 0
