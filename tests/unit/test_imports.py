"""A session of another ledger as this one would have it."""

import json
from hashlib import blake2b
from random import Random

import msgspec
import pytest
from msgspec.structs import replace

from proxy.core import events as ev
from proxy.core.session import SessionKey, fold
from proxy.core.tools.facts import HeldTool
from proxy.errors import MalformedRequest
from proxy.imports import Adopted, adopted, is_of
from proxy.stores import Append, Content, SessionDump, SessionHead
from proxy.stores.chain import ChainedPayload, first_altered
from proxy.stores.codec import decode_event, encode_event
from proxy.stores.memory import MemoryStore
from tests.fakes_stores import NOW, SECRET

OURS = b"the key of the ledger that takes in"
KEY = SessionKey("tenant", "s1")
ASKED, SAID = b"what was asked", b"what was answered"


def mark(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest() + b"-more"


def reserved(call_id: str, step: int = 1, content: bytes = b"") -> ev.StepReserved:
    return ev.StepReserved(
        at=NOW + 1,
        call_id=call_id,
        step=step,
        owner="theirs",
        deadline=NOW + 600,
        hold_cost_micro_usd=90,
        hold_tokens=30,
        accounts=("global:day",),
        content=content,
    )


def settled(call_id: str, content: bytes = b"") -> ev.StepSettled:
    return ev.StepSettled(at=NOW + 2, call_id=call_id, cost_micro_usd=12, tokens=5, content=content)


RUN: tuple[ev.AnyEvent, ...] = (
    ev.SessionOpened(at=NOW, agent="a"),
    reserved("c1", content=mark(ASKED)),
    settled("c1", content=mark(SAID)),
)
KEPT = (Content("c1.q", ASKED), Content("c1.a", SAID))


async def dump_of(*events: ev.AnyEvent, contents: tuple[Content, ...] = KEPT) -> SessionDump:
    """As a ledger with another key has it."""
    store = MemoryStore(SECRET)
    await store.open()
    await store.append(Append(KEY, events, contents=contents, links=(b"l" * 16,)))
    dump = await store.dump(KEY)
    assert dump is not None
    return dump


def taken(dump: SessionDump, key: SessionKey = KEY) -> Adopted:
    return adopted(dump, key, OURS, NOW + 100)


def events_of(dump: SessionDump) -> list[ev.AnyEvent]:
    return [decode_event(row.payload) for row in dump.rows]


async def test_its_log_is_the_same_and_says_where_it_came_from() -> None:
    dump = await dump_of(*RUN)

    found = taken(dump).dump
    came = ev.SessionImported(at=NOW + 100, chain=dump.chain, events=3, origin="s1")
    assert events_of(found) == [*RUN, came]
    assert [row.payload for row in found.rows[:3]] == [row.payload for row in dump.rows]
    assert set(found.contents) == set(KEPT)
    assert found.links == dump.links


async def test_its_chain_is_of_this_ledger_and_of_its_new_name() -> None:
    dump = await dump_of(*RUN)
    other = SessionKey("team", "copy")

    found = taken(dump, other).dump
    assert first_altered(OURS, other, found.rows, (found.seq, found.chain)) is None
    assert first_altered(SECRET, KEY, found.rows) == 1
    assert found.links == (), "they would lead callers of the first one to both"


async def test_a_store_takes_it_and_goes_on_from_it() -> None:
    found = taken(await dump_of(*RUN))
    store = MemoryStore(OURS)
    await store.open()

    await store.restore(found.dump)
    after = await store.append(Append(KEY, (ev.SessionPaused(at=NOW + 200),)))
    assert after.seq == 5
    assert fold([one.event for one in await store.read(KEY)][:4]) == found.state
    rows = await store.read_chain(KEY)
    assert first_altered(OURS, KEY, rows, (5, after.chain)) is None
    assert await store.open_holds() == []
    (row,), _ = await store.list_sessions()
    assert (row.head.steps, row.head.cost_micro_usd, row.head.agent) == (1, 12, "a")
    assert (await store.balances(["global:day"]))["global:day"].spent_micro_usd == 0


async def test_what_was_in_flight_is_booked_at_what_it_held() -> None:
    """Nobody here will settle it: its session has spent it, no account of ours."""
    found = taken(await dump_of(*RUN, reserved("c2", 2)))

    assert found.expired == ("c2",)
    assert (found.state.cost_micro_usd, dict(found.state.held)) == (102, {})
    assert events_of(found.dump)[-1] == ev.StepSettled(
        at=NOW + 100, call_id="c2", outcome="expired", status=0, cost_micro_usd=90, tokens=30
    )
    assert found.dump.holds == ()


async def test_what_waits_for_a_human_waits_here_and_no_webhook_is_owed() -> None:
    """The other ledger has told of it."""
    off = ev.HandedOff(
        at=NOW + 3, handoff="ho_1", blocking=True, notify=True, held=HeldTool("c", "t", b"d")
    )

    head = taken(await dump_of(*RUN, off)).dump.head
    assert (head.state, head.waits, head.owed) == ("awaiting_human", ("ho_1",), ())


async def test_only_the_newest_life_of_an_id_is_taken_in() -> None:
    store = MemoryStore(SECRET)
    await store.open()
    await store.append(Append(KEY, (RUN[0], ev.SessionPaused(at=NOW))))
    assert await store.delete(KEY, NOW)
    gone = await store.dump(KEY)
    await store.append(Append(KEY, RUN, contents=KEPT))
    dump = await store.dump(KEY)
    assert gone is not None
    assert dump is not None

    assert [type(one).__name__ for one in events_of(taken(dump).dump)] == [
        "SessionOpened",
        "StepReserved",
        "StepSettled",
        "SessionImported",
    ]
    assert taken(dump).dump.rows[0].seq == 1
    assert is_of(dump, SECRET)
    with pytest.raises(MalformedRequest, match="was deleted"):
        taken(gone)


async def test_a_ledger_knows_its_own_export() -> None:
    dump = await dump_of(*RUN)
    rows = dump.rows

    assert is_of(dump, SECRET)
    assert not is_of(dump, OURS)
    assert not is_of(replace(dump, rows=rows[:-1]), SECRET)
    assert not is_of(replace(dump, rows=()), SECRET)
    assert not is_of(replace(dump, key=SessionKey("tenant", "s2")), SECRET)
    for seq in (7, -7, 2**70):
        gone = ev.SessionDeleted(at=NOW, events=seq - 1)
        stone = ChainedPayload(seq, encode_event(gone), b"")
        assert not is_of(replace(dump, rows=(stone,)), SECRET)


async def test_a_content_that_is_not_what_its_event_says_is_refused() -> None:
    for name in ("c1.q", "c1.a"):
        wrong = tuple([replace(one, data=b"x") if one.name == name else one for one in KEPT])
        with pytest.raises(MalformedRequest, match=f"content {name} is not what"):
            taken(await dump_of(*RUN, contents=wrong))


async def test_contents_that_no_event_speaks_of_are_left_out() -> None:
    dump = await dump_of(*RUN, contents=(*KEPT, Content("../../etc/passwd", b"x")))

    assert set(taken(dump).dump.contents) == set(KEPT)


async def test_inherited_contents_are_taken_along() -> None:
    """Of a fork."""
    step = ev.StepInherited(at=NOW, step=1, call_id="c1", content=mark(ASKED), answer=mark(SAID))
    fork = (RUN[0], ev.SessionForked(at=NOW, origin="s0", step=1), step)

    assert set(taken(await dump_of(*fork)).dump.contents) == set(KEPT)


def with_payload(dump: SessionDump, payload: bytes) -> SessionDump:
    return replace(dump, rows=(*dump.rows[:1], replace(dump.rows[1], payload=payload)))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[1]",
        b'{"type":"Nothing","at":1.0}',
        b'{"type":"SessionPaused"}',
        b'{"type":"SessionPaused","at":1e999}',
        b'{"type":"SessionPaused","at":NaN}',
        b'{"type":"StepSettled","at":1.0,"cost_micro_usd":"9"}',
        b'{"type":"StepSettled","at":1.0,"cost_micro_usd":%s}' % (b"9" * 40),
        b'{"type":"Guided","at":1.0,"message":"\xff"}',
        b"[" * 100_000,
    ],
)
async def test_what_is_no_event_is_refused(payload: bytes) -> None:
    with pytest.raises(MalformedRequest, match="event 2 is none that this version"):
        taken(with_payload(await dump_of(*RUN), payload))


@pytest.mark.parametrize("at", [NOW + 100 + 86_401, 1e300, -1.0])
async def test_events_of_the_future_are_refused(at: float) -> None:
    """A session of the year 9999 would never be idle, nor be deleted."""
    with pytest.raises(MalformedRequest, match="and it is"):
        taken(with_payload(await dump_of(*RUN), encode_event(ev.SessionPaused(at=at))))


@pytest.mark.parametrize(
    "event",
    [
        ev.StepReserved(at=NOW, call_id="x", step=2**63),
        ev.SessionOpened(at=NOW, generation=2**63),
        ev.LimitsExtended(at=NOW, added=(("steps", 2**63),)),
        ev.LimitsExtended(at=NOW, added=(("steps", -1),)),
    ],
)
async def test_figures_that_no_ledger_holds_are_refused(event: ev.AnyEvent) -> None:
    with pytest.raises(MalformedRequest, match="figures"):
        taken(with_payload(await dump_of(*RUN), encode_event(event)))


async def test_costs_that_add_up_to_more_than_a_ledger_holds_are_refused() -> None:
    huge = [replace(settled("c1"), cost_micro_usd=2**62) for _ in range(3)]
    log = [(reserved(f"n{n}"), replace(one, call_id=f"n{n}")) for n, one in enumerate(huge)]

    with pytest.raises(MalformedRequest, match="figures"):
        taken(await dump_of(*RUN, *[each for pair in log for each in pair]))


async def test_an_empty_log_is_refused() -> None:
    dump = SessionDump(KEY, 0, b"", b"", SessionHead(), ())

    with pytest.raises(MalformedRequest, match="nothing in it"):
        taken(dump)


async def test_whatever_stands_in_an_event_is_taken_in_or_refused() -> None:
    """Random values in the place of an event's own: never another error."""
    chance, dump = Random(3), await dump_of(*RUN)
    values: list[object] = [
        -1,
        0,
        2**70,
        1.5,
        None,
        True,
        "",
        "é",
        "AAAA",
        [],
        [[]],
        {},
        [["a", 1]],
        [1, "b"],
    ]
    known = json.loads(dump.rows[1].payload)
    names = sorted(ev.StepReserved.__struct_fields__ + ev.StepSettled.__struct_fields__)
    kinds = [kind.__name__ for kind in ev.AnyEvent.__args__]
    taken_in = refused = 0
    for _ in range(3_000):
        event = dict(known)
        for name in chance.sample(names, 3):
            event[name] = chance.choice(values)
        event["type"] = chance.choice([*kinds, "StepReserved", "StepSettled"])
        try:
            taken(with_payload(dump, msgspec.json.encode(event)))
            taken_in += 1
        except MalformedRequest:
            refused += 1
    print(f"{taken_in} taken in, {refused} refused")
    assert taken_in > 100
