"""However a page of sessions is found in the file, it is the page that there is."""

import random
import sqlite3
from contextlib import closing
from itertools import product
from pathlib import Path

import pytest
from msgspec.structs import replace

from proxy.core.session import SessionKey
from proxy.stores import Append, SessionHead, Store
from proxy.stores.memory import MemoryStore
from proxy.stores.sqlite import SqliteStore
from tests.fakes_stores import KEY, NOW, OTHER, SECRET, opened

STATES = (None, "active", "killed", "deleted", "paused")
AGENTS = (None, "coder", "triage", "")
TENANTS = (None, "t1", "t2")


async def _fill(store: Store, start: int) -> None:
    drawn = random.Random(start)
    for n in range(start, start + 60):
        key = SessionKey(drawn.choice(("t1", "t2", "t3")), f"s{n}")
        agent, at = drawn.choice(("coder", "triage", "", None)), NOW + drawn.randrange(9)
        state = drawn.choice(("active", "active", "killed", "warned"))
        head = SessionHead(state, agent, updated_at=at)
        await store.append(replace(opened(key, NOW), head=head))
        if not n % 7:
            await store.delete(key, NOW + 3)


async def _pages(
    store: Store, state: str | None, agent: str | None, tenant: str | None
) -> list[SessionKey]:
    found, cursor = [], None
    while True:
        rows, cursor = await store.list_sessions(
            state=state, agent=agent, tenant=tenant, limit=4, cursor=cursor
        )
        found += [row.key for row in rows]
        if cursor is None:
            return found


@pytest.mark.parametrize(("soon", "most"), [(10_000, 20_000), (3, 20_000), (3, 0), (7, 4)])
async def test_every_filter_finds_what_memory_finds(
    store: SqliteStore, soon: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Page by page in the same order: among the newest, among the few, facet by facet."""
    monkeypatch.setattr("proxy.stores.sqlite_listing._SOON", soon)
    monkeypatch.setattr("proxy.stores.sqlite_listing._MOST_FACETS", most)
    memory = MemoryStore(SECRET)
    await memory.open()
    for one in (memory, store):
        await _fill(one, 0)
    await store.close()  # into the tables
    await store.open()
    for one in (memory, store):
        await _fill(one, 60)

    for state, agent, tenant in product(STATES, AGENTS, TENANTS):
        expected = await _pages(memory, state, agent, tenant)
        assert await _pages(store, state, agent, tenant) == expected, (state, agent, tenant)


async def test_what_nobody_has_any_more_is_no_facet(path: Path, store: SqliteStore) -> None:
    """A client names its agents as it likes: they must not gather for ever."""
    for n in range(30):
        head = SessionHead("active", f"agent-{n}", updated_at=NOW)
        key = SessionKey("t", f"s{n}")
        await store.append(replace(opened(key), head=head))
        await store.append(Append(key, (), head=replace(head, state="killed")))
    await store.append(replace(opened(OTHER), head=SessionHead(agent="agent-0", updated_at=NOW)))
    await store.append(replace(opened(KEY), head=SessionHead(updated_at=NOW + 9)))
    assert await store.purge(NOW + 1, NOW + 1) == 31
    assert {row[2] for row in _facets(path)} == {"deleted", "active"}

    assert await store.purge(NOW + 2, NOW + 2) == 31
    assert _facets(path) == [("team-a", None, "active")]


def _facets(path: Path) -> list[tuple[str, str | None, str]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT tenant, agent, state FROM facets").fetchall()
