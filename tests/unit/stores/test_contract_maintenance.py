"""What every store promises of deleting, of what lies idle, and of being taken over by another."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from proxy.core.events import LimitWarned, SessionDeleted, SessionKilled
from proxy.core.session import SessionKey, fold
from proxy.errors import SeqConflict, SessionBusy, StoreUnavailable
from proxy.stores import (
    Append,
    Balance,
    Charge,
    Content,
    Counts,
    SessionDump,
    SessionHead,
    Store,
)
from proxy.stores.chain import GENESIS, first_altered
from proxy.stores.tombstones import begins_after
from tests.fakes_stores import KEY, NOW, OTHER, SECRET, STORES, opened, reserved, settled


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    store = STORES[request.param](tmp_path / "a")
    await store.open()
    yield store
    await store.close()


@pytest.fixture(params=STORES)
async def target(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Another store, of each kind."""
    store = STORES[request.param](tmp_path / "b")
    await store.open()
    yield store
    await store.close()


def a_call(key: SessionKey = KEY) -> list[Append]:
    """All that a session can have: events, links, contents, an open hold, money on an account."""
    return [
        replace(opened(key), links=(b"x",)),
        replace(reserved("c1", key), contents=(Content("c1.q", b"sent"),), links=(b"y",)),
        replace(settled("c1", key), contents=(Content("c1.a", b"said"),)),
        replace(reserved("c2", key, charges=[Charge("a", 40)]), token=b"mine"),
    ]


async def verifies(store: Store, key: SessionKey = KEY) -> bool:
    rows = await store.read_chain(key)
    start = begins_after(rows[0]) if rows else (0, GENESIS)
    return first_altered(SECRET, key, rows, start=start) is None


async def test_a_deleted_session_leaves_a_tombstone_on_its_chain(store: Store) -> None:
    """Nothing of it can be read any more, and that it was deleted cannot be hidden."""
    for append in a_call()[:3]:
        last = await store.append(append)

    assert await store.delete(KEY, NOW + 5)
    (stored,) = await store.read(KEY)
    assert stored.seq == 4
    told = SessionDeleted(NOW + 5, reason="request", events=3, chain=last.chain, touched=NOW)
    assert stored.event == told
    assert fold([stored.event]).seq == 4
    assert await verifies(store)
    assert await store.read_contents(KEY) == {}
    assert await store.find_links("team-a", [b"x", b"y"]) == {}
    assert list(await store.read(KEY, after_seq=3)) == [stored]
    assert list(await store.read(KEY, after_seq=4)) == []


async def test_a_deleted_session_is_listed_only_where_it_is_asked_for(store: Store) -> None:
    """By its id it is not found; how much it had cost is still told."""
    head = SessionHead(agent="coder", steps=3, cost_micro_usd=7, created_at=NOW, updated_at=NOW)
    await store.append(replace(opened(), head=replace(head, waits=("h1",), held_micro_usd=4)))
    await store.append(opened(OTHER))
    await store.delete(KEY, NOW + 5)

    assert [row.key for row in (await store.list_sessions())[0]] == [OTHER]
    assert list(await store.find_tenants("s1")) == ["team-b"]
    assert list(await store.list_queue("open", 9)) == []
    (row,), _ = await store.list_sessions(state="deleted")
    assert row.head == replace(head, state="deleted", updated_at=NOW + 5, seq=row.seq)
    await store.append(Append(KEY, (), links=(b"late",)))
    assert list(await store.find_tenants("s1")) == ["team-b"]
    assert sorted(await store.list_keys(None, 9)) == [KEY, OTHER]


async def test_a_session_with_a_call_under_way_is_not_deleted(store: Store) -> None:
    """Its money would be held for ever."""
    for append in a_call():
        await store.append(append)

    with pytest.raises(SessionBusy):
        await store.delete(KEY, NOW + 5)
    assert len(await store.read(KEY)) == 4
    await store.append(settled("c2"))
    assert await store.delete(KEY, NOW + 5)
    assert (await store.append(settled("c2"))).repeated


async def test_what_is_not_there_is_not_deleted(store: Store) -> None:
    """Neither one nobody knows, nor one that was deleted: it keeps its first tombstone."""
    assert not await store.delete(KEY, NOW)
    assert list(await store.list_keys(None, 9)) == []
    await store.append(opened())
    assert await store.delete(KEY, NOW + 1)
    assert not await store.delete(KEY, NOW + 2)
    assert [stored.event.at for stored in await store.read(KEY)] == [NOW + 1]


async def test_a_session_that_has_changed_is_not_deleted(store: Store) -> None:
    """Who archives it first has archived another one."""
    await store.append(opened())
    await store.append(Append(KEY, (SessionKilled(NOW),)))

    with pytest.raises(SeqConflict) as caught:
        await store.delete(KEY, NOW + 5, expected_seq=1)
    assert caught.value.actual_seq == 2
    assert await store.delete(KEY, NOW + 5, reason="retention", expected_seq=2)
    (stored,) = await store.read(KEY)
    assert stored.event == SessionDeleted(
        NOW + 5,
        reason="retention",
        events=2,
        chain=(stored.event.chain),  # type: ignore[union-attr]
        touched=NOW,
    )


async def test_a_later_session_of_the_same_id_goes_on_behind_the_tombstone(store: Store) -> None:
    """On one chain, and with nothing of the one before. Deleted again it has one tombstone."""
    head = SessionHead(state="killed", agent="coder", updated_at=NOW)
    await store.append(replace(opened(), head=head, links=(b"x",)))
    await store.delete(KEY, NOW + 5)
    late = await store.append(replace(reserved("c1", expected_seq=2), links=(b"y",)))

    assert late.seq == 3
    assert await verifies(store)
    (row,), _ = await store.list_sessions()
    assert (row.head.state, row.head.agent) == ("active", None)
    assert await store.find_links("team-a", [b"x", b"y"]) == {b"y": ("s1",)}
    await store.append(settled("c1"))
    assert await store.delete(KEY, NOW + 9)
    assert [stored.seq for stored in await store.read(KEY)] == [5]
    assert await verifies(store)


async def test_retention_deletes_as_a_request_does_and_says_so(store: Store) -> None:
    """And the tombstone goes when it is as old itself; counted from the deletion on."""
    await store.append(opened(at=NOW - 10))
    await store.append(opened(OTHER, at=NOW + 9))

    assert await store.purge(NOW, NOW + 3) == 1
    (stored,) = await store.read(KEY)
    assert isinstance(stored.event, SessionDeleted)
    assert (stored.event.reason, stored.event.at) == ("retention", NOW + 3)
    assert await verifies(store)
    assert await store.purge(NOW + 3, NOW + 8) == 0
    assert await store.purge(NOW + 4, NOW + 8) == 1
    assert list(await store.list_keys(None, 9)) == [OTHER]
    assert (await store.list_sessions(state="deleted"))[0] == []


async def test_idle_sessions_are_found_whoever_ran_them(store: Store) -> None:
    """Their process may be gone; who holds something, waits or has ended is not idle."""
    for n, state in enumerate(["active", "warned", "paused", "finished", "active", "active"]):
        head = SessionHead(state=state, updated_at=NOW + n)
        await store.append(replace(opened(SessionKey("t", f"s{n}"), NOW), head=head))
    await store.append(reserved("c1", SessionKey("t", "s4"), at=NOW + 4))
    await store.append(reserved("c2", SessionKey("t", "s0")))
    await store.append(settled("c2", SessionKey("t", "s0")))

    idle = await store.list_idle(NOW + 5, 9)
    assert sorted(key.session for key in idle) == ["s0", "s1"]
    assert len(await store.list_idle(NOW + 5, 1)) == 1
    assert list(await store.list_idle(NOW, 9)) == []
    ended = await store.list_idle(NOW + 9, 9, ("finished", "paused"))
    assert sorted(key.session for key in ended) == ["s2", "s3"]


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_every_session_is_named_once_page_by_page(store: Store, limit: int) -> None:
    """Whatever is written meanwhile: each that is there all the time."""
    names = ["s", "ss", "t", "ü", "s0"]
    keys = [SessionKey(tenant, name) for tenant in ("b", "a", "a-b") for name in names]
    for key in keys:
        await store.append(opened(key))
    await store.delete(keys[3], NOW + 1)
    found: list[SessionKey] = []
    while page := await store.list_keys(found[-1] if found else None, limit):
        assert len(page) <= limit
        found += page
        await store.append(opened(keys[0]))

    assert len(found) == len(keys)
    assert set(found) == set(keys)


async def test_a_session_is_restored_in_another_store_as_it_was(
    store: Store, target: Store
) -> None:
    """Byte for byte: its chain verifies there, its call is settled there, it goes on there."""
    for append in a_call():
        await store.append(append)
    dump = await store.dump(KEY)
    assert dump is not None
    await target.restore(dump)

    assert await target.dump(KEY) == dump
    assert await target.read(KEY) == await store.read(KEY)
    assert await verifies(target)
    assert await target.open_holds() == await store.open_holds()
    assert await target.find_links("team-a", [b"x", b"y"]) == {b"x": ("s1",), b"y": ("s1",)}
    assert await target.read_contents(KEY) == {"c1.q": b"sent", "c1.a": b"said"}
    assert (await target.list_sessions())[0] == (await store.list_sessions())[0]
    done = replace(settled("c2"), expected_seq=4, after=b"mine")
    assert (await target.append(done)).seq == 5
    assert await verifies(target)
    assert await target.delete(KEY, NOW + 9)
    assert await target.find_links("team-a", [b"x", b"y"]) == {}


async def test_a_tombstone_is_restored_too(store: Store, target: Store) -> None:
    """With the session that came after it."""
    await store.append(opened())
    await store.delete(KEY, NOW + 1)
    await store.append(Append(KEY, (LimitWarned(NOW + 2, limit="steps"),)))
    dump = await store.dump(KEY)
    assert dump is not None
    await target.restore(dump)

    assert [stored.seq for stored in await target.read(KEY)] == [2, 3]
    assert await verifies(target)


async def test_nothing_is_restored_over_what_is_there(store: Store) -> None:
    """Not even over a tombstone: two logs under one id would be one."""
    assert await store.dump(KEY) is None
    await store.append(opened())
    dump = await store.dump(KEY)
    assert dump is not None

    with pytest.raises(SeqConflict):
        await store.restore(replace(dump, seq=9, contents=(Content("n", b"n"),)))
    await store.delete(KEY, NOW + 1)
    with pytest.raises(SeqConflict):
        await store.restore(dump)
    assert [stored.seq for stored in await store.read(KEY)] == [2]
    assert await store.read_contents(KEY) == {}


async def test_links_that_an_append_without_an_event_gave_are_restored(
    store: Store, target: Store
) -> None:
    """Also where there is no event at all; a digest that others took over does not come back."""
    await store.append(Append(KEY, (), links=(b"loose",), head=SessionHead(updated_at=NOW)))
    await store.append(Append(OTHER, (), links=(b"loose", b"shared")))
    for n in range(8):
        await store.append(replace(opened(SessionKey("team-b", f"n{n}")), links=(b"shared",)))
    dumps = [await store.dump(key) for key in (KEY, OTHER)]
    for dump in dumps:
        assert dump is not None
        await target.restore(dump)

    assert [dump.links for dump in dumps if dump] == [(b"loose",), (b"loose",)]
    assert await target.find_links("team-a", [b"loose"]) == {b"loose": ("s1",)}
    assert await target.find_links("team-b", [b"loose", b"shared"]) == {b"loose": ("s1",)}


async def test_accounts_are_taken_over_page_by_page(store: Store, target: Store) -> None:
    """With when they were charged, so that they are kept as long as there; what was there of them
    is replaced, so that an interrupted take-over may begin again."""
    counts = Counts(tokens=5, held_tokens=1, steps=2, tool_calls=3, calls=1)
    for n in range(7):
        charge = Charge(f"a{n}", n, 10 + n, counts)
        await store.append(replace(opened(at=NOW + n), charges=(charge,)))
    await target.append(replace(opened(at=NOW + 99), charges=(Charge("a3", 1, 1),)))
    rows = await store.dump_accounts("", 100)
    after = ""
    for _ in itertools.repeat(None, 3):
        page = await store.dump_accounts(after, 3)
        await target.restore_accounts(page)
        after = page[-1][0]

    assert [row[0] for row in rows] == [f"a{n}" for n in range(7)]
    assert rows[3][1:] == (Balance(13, 3, counts), NOW + 3)
    assert await target.dump_accounts("", 100) == rows
    assert await target.dump_accounts("a6", 3) == []
    await target.restore_accounts(())


async def test_care_of_a_closed_store_is_refused(store: Store) -> None:
    """As everything else."""
    head = SessionHead(updated_at=NOW)
    await store.close()

    with pytest.raises(StoreUnavailable, match="closed"):
        await store.delete(KEY, NOW)
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.restore(SessionDump(KEY, 0, GENESIS, b"", head, ()))
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.dump(KEY)
