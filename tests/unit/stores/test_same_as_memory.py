"""Every store does what the one in memory does, whatever happens in whatever order."""

import asyncio
import tempfile
from pathlib import Path
from unittest import TestCase

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from proxy.core.events import AnyEvent, LimitWarned, StepReserved, StepSettled
from proxy.core.session import SessionKey
from proxy.errors import HoldfastError
from proxy.stores import (
    NO_COUNTS,
    AccountRow,
    Append,
    Balance,
    Charge,
    Content,
    Counts,
    Guard,
    Maximum,
    SessionDump,
    SessionHead,
    Store,
)
from proxy.stores.chain import GENESIS, first_altered
from proxy.stores.memory import MemoryStore
from proxy.stores.tombstones import begins_after
from tests.fakes_stores import SECRET, STORES, outcomes

KEYS = [SessionKey(tenant, session) for tenant in ("a", "b") for session in ("s", "t", "ü")]
CALLS = ("c1", "c2", "c3")
ACCOUNTS = ("global", "tenant")
DIGESTS = (b"x", b"y")
TIMES = st.integers(0, 20).map(float)

reservations = st.builds(
    StepReserved,
    TIMES,
    call_id=st.sampled_from(CALLS),
    deadline=TIMES,
    hold_cost_micro_usd=st.integers(0, 60),
    hold_tokens=st.integers(0, 60),
    accounts=st.sampled_from([(), ("global",)]),
    trees=st.sampled_from([(), ("tenant",), ("global", "tenant")]),
)
settlements = st.builds(StepSettled, TIMES, call_id=st.sampled_from(CALLS))
warnings = st.builds(LimitWarned, TIMES, limit=st.text(max_size=3))
events: st.SearchStrategy[tuple[AnyEvent, ...]] = st.lists(
    st.one_of(reservations, settlements, warnings), max_size=3
).map(tuple)
charges = st.builds(
    Charge,
    st.sampled_from(ACCOUNTS),
    st.integers(-60, 60),
    st.integers(0, 60),
    st.builds(Counts, *[st.integers(-5, 60)] * 5) | st.just(NO_COUNTS),
    st.builds(Maximum, *[st.none() | st.just(100)] * 4),
)
contents = st.builds(
    Content,
    st.sampled_from(["c1.q", "c1.a", "c2.q"]),
    st.binary(max_size=4).map(lambda some: some * 20_000) | st.binary(max_size=4),
)
guards = st.builds(Guard, st.sampled_from(KEYS), st.integers(0, 2))
accounts = st.lists(
    st.tuples(
        st.sampled_from(ACCOUNTS),
        st.builds(
            Balance,
            st.integers(0, 60),
            st.integers(0, 9),
            st.builds(Counts, *[st.integers(0, 9)] * 5),
        ),
        TIMES,
    ),
    max_size=2,
    unique_by=lambda row: row[0],
)
heads = st.builds(
    SessionHead,
    state=st.sampled_from(["active", "killed"]),
    agent=st.sampled_from([None, "coder"]),
    updated_at=TIMES,
)
appends = st.builds(
    Append,
    st.sampled_from(KEYS),
    events,
    expected_seq=st.none() | st.integers(0, 4),
    charges=st.lists(charges, max_size=3).map(tuple),
    guards=st.lists(guards, max_size=1).map(tuple),
    counts=st.builds(Counts, *[st.integers(-5, 60)] * 5) | st.just(NO_COUNTS),
    closes=st.just(()) | st.lists(st.sampled_from(CALLS), max_size=2).map(tuple),
    links=st.lists(st.sampled_from(DIGESTS), max_size=2).map(tuple),
    head=st.none() | heads,
    contents=st.lists(contents, max_size=2).map(tuple),
)


async def all_keys(store: Store) -> list[SessionKey]:
    """Page by page, in no order."""
    found: list[SessionKey] = []
    while page := await store.list_keys(found[-1] if found else None, 2):
        found += page
    return sorted(found)


async def deleted(
    store: Store, key: SessionKey, at: float, seq: int | None
) -> bool | HoldfastError:
    try:
        return await store.delete(key, at, expected_seq=seq)
    except HoldfastError as refused:
        return refused


async def restored(store: Store, dump: SessionDump) -> HoldfastError | None:
    try:
        await store.restore(dump)
    except HoldfastError as refused:
        return refused
    return None


async def _everything(store: Store) -> list[object]:
    """All that a store can be asked."""
    logs = [list(await store.read(key, after_seq=n)) for key in KEYS for n in (0, 2)]
    first, cursor = await store.list_sessions(limit=2)
    second, _ = await store.list_sessions(limit=2, cursor=cursor) if cursor else ([], None)
    return [
        logs,
        [dict(await store.read_contents(key)) for key in KEYS],
        [dict(await store.read_contents(key, ["c2.q", "c1.q", "c3.q"])) for key in KEYS],
        await store.balances(ACCOUNTS),
        await store.open_holds(),
        await store.open_holds(10.0),
        [await store.find_links(tenant, DIGESTS) for tenant in ("a", "b")],
        [*first, *second],
        (await store.list_sessions(state="killed", agent="coder", tenant="a"))[0],
        (await store.list_sessions(state="deleted"))[0],
        [set(await store.list_idle(at, 9)) for at in (5.0, 30.0)],
        set(await store.list_idle(30.0, 9, ("killed", "deleted"))),
        await all_keys(store),
        [await store.dump(key) for key in KEYS],
        # Without when: a file tells that of a batch, not of each append.
        [row[:2] for at in ("", "global") for row in await store.dump_accounts(at, 1)],
        [list(await store.find_tenants(key.session)) for key in KEYS],
    ]


class SameAsMemory(RuleBasedStateMachine):
    """Two stores on one ledger take turns: neither may trust what it saw before."""

    kind = "sqlite"

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.copied: set[SessionKey] = set()
        self.memory = MemoryStore(SECRET)
        folder = Path(self.folder.name)
        self.files = [STORES[self.kind](folder), STORES[self.kind](folder)]
        self.runner.run(self.memory.open())
        for store in self.files:
            self.runner.run(store.open())

    @rule(batch=st.lists(appends, min_size=1, max_size=6), turn=st.booleans())
    def append_at_once(self, batch: list[Append], turn: bool) -> None:
        batch = self.together(batch)
        expected = self.runner.run(outcomes(self.memory, batch))

        assert self.runner.run(outcomes(self.files[turn], batch)) == expected

    def together(self, batch: list[Append]) -> list[Append]:
        """What is applied in the order of its making, and so has one outcome only."""
        return batch

    @rule(before=TIMES, at=TIMES, turn=st.booleans())
    def purge(self, before: float, at: float, turn: bool) -> None:
        expected = self.runner.run(self.memory.purge(before, at))

        assert self.runner.run(self.files[turn].purge(before, at)) == expected

    @rule(
        key=st.sampled_from(KEYS), at=TIMES, seq=st.none() | st.integers(0, 4), turn=st.booleans()
    )
    def delete(self, key: SessionKey, at: float, seq: int | None, turn: bool) -> None:
        expected = self.runner.run(deleted(self.memory, key, at, seq))

        assert self.runner.run(deleted(self.files[turn], key, at, seq)) == expected

    @rule(key=st.sampled_from(KEYS), to=st.sampled_from(KEYS), turn=st.booleans())
    def restore(self, key: SessionKey, to: SessionKey, turn: bool) -> None:
        """Under another id its chain does not verify: `copied` says which are such."""
        found = self.runner.run(self.memory.dump(key))
        if found is None:
            return
        dump = replace(found, key=to)
        expected = self.runner.run(restored(self.memory, dump))

        assert self.runner.run(restored(self.files[turn], dump)) == expected
        if expected is None and to != key:
            self.copied.add(to)

    @rule(rows=accounts, turn=st.booleans())
    def restore_accounts(self, rows: list[AccountRow], turn: bool) -> None:
        self.runner.run(self.memory.restore_accounts(rows))
        self.runner.run(self.files[turn].restore_accounts(rows))

    @rule(turn=st.booleans())
    def reopen(self, turn: bool) -> None:
        self.runner.run(self.files[turn].close())
        self.runner.run(self.files[turn].open())

    @invariant()
    def they_answer_the_same(self) -> None:
        expected = self.runner.run(_everything(self.memory))

        for store in self.files:
            assert self.runner.run(_everything(store)) == expected

    @invariant()
    def every_chain_verifies(self) -> None:
        for key in set(KEYS) - self.copied:
            rows = self.runner.run(self.files[0].read_chain(key))
            start = begins_after(rows[0]) if rows else (0, GENESIS)

            assert first_altered(SECRET, key, rows, start=start) is None

    def teardown(self) -> None:
        for store in self.files:
            self.runner.run(store.close())
        self.runner.close()
        self.folder.cleanup()


class RedisAsMemory(SameAsMemory):
    kind = "redis"


class ValkeyAsMemory(SameAsMemory):
    kind = "valkey"


class ClusterAsMemory(SameAsMemory):
    """Its tenants are written side by side, and a decision stands on its own tenant only."""

    kind = "cluster"

    def together(self, batch: list[Append]) -> list[Append]:
        tenant = batch[0].key.tenant
        return [
            append
            for append in batch
            if {append.key.tenant, *(g.key.tenant for g in append.guards)} == {tenant}
        ]


_SETTINGS = settings(
    max_examples=15,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def _case(machine: type[SameAsMemory], settings: settings = _SETTINGS) -> type[TestCase]:
    case: type[TestCase] = machine.TestCase
    case.settings = settings  # type: ignore[attr-defined]  # as hypothesis documents it
    return pytest.mark.timeout(60)(case)


TestSameAsMemory = _case(SameAsMemory)
TestRedisAsMemory = _case(RedisAsMemory)
TestValkeyAsMemory = _case(ValkeyAsMemory)
TestClusterAsMemory = _case(ClusterAsMemory)
