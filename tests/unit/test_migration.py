"""A ledger taken into another store, whatever happens on the way."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from proxy.core.events import SessionKilled
from proxy.core.recording import digest_of
from proxy.core.session import SessionKey
from proxy.errors import StoreUnavailable
from proxy.migration import Counted, Migrated, migrate, verify
from proxy.stores import AccountRow, Append, Charge, Content, SessionDump, Store
from proxy.stores.chain import first_altered
from proxy.stores.memory import MemoryStore
from proxy.stores.sqlite import SqliteStore
from tests.fakes_stores import KEY, NOW, OTHER, SECRET, STORES, opened, reserved, settled

SESSIONS = 40
WHOLE = Counted(sessions=SESSIONS + 2, events=SESSIONS + 5, contents=1, accounts=1, holds=1)


class Failing(MemoryStore):
    """A target that goes away after some sessions."""

    left = 7

    async def restore(self, dump: SessionDump) -> None:
        if not self.left:
            raise StoreUnavailable("away")
        self.left -= 1
        await super().restore(dump)


class Forgetful(MemoryStore):
    """A target that takes no accounts."""

    async def restore_accounts(self, rows: Sequence[AccountRow]) -> None:
        """Takes none."""


def tell(_: int) -> None:
    """Nobody looks."""


async def fill(store: Store) -> None:
    for n in range(SESSIONS):
        key = SessionKey(f"t{n % 3}", f"s{n}")
        await store.append(replace(opened(key, NOW + n), links=(b"x", bytes([n]))))
    await store.append(opened())
    body = Content("c1.q", b"sent")
    held = reserved("c1", charges=[Charge("global", 40)])
    told = replace(held.events[0], content=digest_of(b"sent"))
    await store.append(replace(held, events=(told,), contents=(body,)))
    await store.append(reserved("c2"))
    await store.append(settled("c2"))
    await store.append(opened(OTHER))
    await store.delete(OTHER, NOW + 99)


@pytest.fixture(params=STORES)
async def source(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    store = STORES[request.param](tmp_path / "a")
    await store.open()
    await fill(store)
    yield store
    await store.close()


@pytest.fixture(params=["memory", "sqlite", "redis"])
async def target(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    store = STORES[request.param](tmp_path / "b")
    await store.open()
    yield store
    await store.close()


async def test_all_of_a_ledger_is_there_then(source: Store, target: Store) -> None:
    """Byte for byte, from each store into each; and it goes on there."""
    migrated = await migrate(source, target, tell)

    assert (migrated.source, migrated.present, migrated.faults) == (WHOLE, 0, [])
    for key in await source.list_keys(None, 100):
        assert await target.dump(key) == await source.dump(key)
    assert await target.balances(["global"]) == await source.balances(["global"])
    assert await target.open_holds() == await source.open_holds()
    assert (await target.append(settled("c1"))).seq == 5
    assert first_altered(SECRET, KEY, await target.read_chain(KEY)) is None


async def test_what_was_interrupted_goes_on() -> None:
    """A session is there whole or not at all; one that is there is not taken again."""
    source, target = MemoryStore(SECRET), Failing(SECRET)
    await source.open()
    await target.open()
    await fill(source)
    with pytest.raises(StoreUnavailable):
        await migrate(source, target, tell)
    target.left = 1000
    migrated = await migrate(source, target, tell)

    assert (migrated.source, migrated.present, migrated.faults) == (WHOLE, 7, [])
    assert (await migrate(source, target, tell)).present == SESSIONS + 2


async def test_an_account_that_did_not_arrive_is_named() -> None:
    """Money that was spent is spent there too."""
    source, target = MemoryStore(SECRET), Forgetful(SECRET)
    await source.open()
    await target.open()
    await fill(source)

    assert (await migrate(source, target, tell)).faults == [
        "account global has another balance there"
    ]


async def test_what_is_there_as_another_is_named_and_left() -> None:
    """Two histories under one id are not one."""
    source, target = MemoryStore(SECRET), MemoryStore(SECRET)
    await source.open()
    await target.open()
    await fill(source)
    await target.append(Append(KEY, (SessionKilled(NOW),)))
    migrated = await migrate(source, target, tell)

    assert migrated.faults == ["session s1 of team-a is there, and is another one"]
    assert len(await target.read(KEY)) == 1


async def test_what_is_there_beyond_the_source_is_told_by_its_counts(tmp_path: Path) -> None:
    """And what is not as it was written, by its chain."""
    path = tmp_path / "ledger.db"
    store = SqliteStore(path, SECRET)
    await store.open()
    await fill(store)
    await store.close()
    right = Migrated(source=WHOLE, target=Counted(accounts=1, holds=1))
    more = Migrated(source=replace_counts(WHOLE), target=Counted(accounts=1, holds=1))
    verify(f"sqlite:///{path}", SECRET, right)
    verify(f"sqlite:///{path}", SECRET, more)

    assert (right.target, right.faults) == (WHOLE, [])
    assert more.faults == ["42 sessions are there, and 41 were in the source"]
    wrong = Migrated(source=WHOLE, target=Counted(accounts=1, holds=1))
    with pytest.raises(StoreUnavailable, match="another key"):
        verify(f"sqlite:///{path}", b"x" * 32, wrong)


def replace_counts(counted: Counted) -> Counted:
    return Counted(41, counted.events, counted.contents, counted.accounts, counted.holds)
