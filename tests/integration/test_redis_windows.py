"""Budgets above tenants in a cluster: whatever dies in between, they agree with the logs."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from proxy.clock import SystemClock
from proxy.core.events import StepReserved
from proxy.core.session import SessionKey
from proxy.errors import AccountExceeded, HoldfastError, SeqConflict
from proxy.stores import Append, Balance, Charge, Maximum
from proxy.stores.redis import RedisStore
from proxy.stores.redis_windows import Windows
from tests.fakes_redis import url_for
from tests.fakes_stores import NOW, SECRET, settled

pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]
GLOBAL, OTHER = "global:-:1d:1", "global:-:1h:1"
TENANTS = ("a", "b", "c")
COST, BUDGET = 10, 60


class Later(SystemClock):
    """A clock that is ahead: whoever it is given to takes every claim for old."""

    ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead


def hold(key: SessionKey, call: str, *, expected_seq: int | None = None) -> Append:
    accounts = (GLOBAL, OTHER, f"tenant:{key.tenant}:1d:1")
    event = StepReserved(
        NOW, call_id=call, step=1, owner="here", deadline=NOW + 600,
        hold_cost_micro_usd=COST, accounts=accounts,
    )  # fmt: skip
    charges = tuple(Charge(account, COST, maximum=Maximum(BUDGET)) for account in accounts)
    return Append(key, (event,), expected_seq=expected_seq, charges=charges)


async def opened(folder: Path) -> RedisStore:
    store = RedisStore(url_for("cluster", folder), SECRET, Later())
    await store.open()
    return store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[RedisStore]:
    store = await opened(tmp_path)
    yield store
    await store.close()


async def swept(folder: Path) -> RedisStore:
    """Another process, after all that died is old."""
    store = await opened(folder)
    clock = store.servers.clock
    assert isinstance(clock, Later)
    clock.ahead = 3_600.0
    await store.open_holds()
    return store


async def expected(store: RedisStore) -> dict[str, Balance]:
    """What the logs say."""
    balances = {}
    spent = held = 0
    for tenant in TENANTS:
        log = await store.read(SessionKey(tenant, "s"))
        calls = sum(isinstance(stored.event, StepReserved) for stored in log)
        ended = len(log) - calls
        balances[f"tenant:{tenant}:1d:1"] = Balance(7 * ended, COST * (calls - ended))
        spent, held = spent + 7 * ended, held + COST * (calls - ended)
    return {**balances, GLOBAL: Balance(spent, held), OTHER: Balance(spent, held)}


async def test_a_refused_append_leaves_no_trace_anywhere(store: RedisStore) -> None:
    """By the shared budget, by the tenant's, by the log."""
    for n in range(4):
        await store.append(hold(SessionKey("a", "s"), f"c{n}"))
    for n in range(2):
        await store.append(hold(SessionKey("b", "s"), f"c{n}"))

    with pytest.raises(AccountExceeded):
        await store.append(hold(SessionKey("c", "s"), "c1"))
    with pytest.raises(SeqConflict):
        await store.append(hold(SessionKey("a", "s"), "c9", expected_seq=1))
    assert list(await store.read(SessionKey("c", "s"))) == []
    assert await store.balances([GLOBAL]) == {GLOBAL: Balance(0, BUDGET)}
    claims = f"{store.servers.prefix}:{{*}}:p"
    assert await store.servers.call(claims, "HLEN", claims) == 0


async def test_how_far_it_is_carried_out_is_known_as_long_as_what_is_numbered(
    store: RedisStore,
) -> None:
    """After a long silence what is sent would follow nothing, and be carried out never."""
    await store.append(hold(SessionKey("a", "s"), "c"))
    await store.close()
    await store.open()
    names = [f"{store.servers.prefix}:{end}" for end in ("{a}:on", "{*}:a")]

    assert [await store.servers.call(name, "TTL", name) for name in names] == [-1, -1]


async def test_two_that_carry_out_the_same_do_not_take_it_for_lost(
    store: RedisStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one tidies up between what this one does."""
    monkeypatch.setattr(Windows, "carry_out", _nothing)
    await store.append(hold(SessionKey("a", "s"), "c"))
    other, trim = await opened(tmp_path), Windows._trim

    async def later(windows: Windows, p: str, last: int) -> None:
        await trim(windows, p, last)
        await trim(windows, p, last)

    monkeypatch.setattr(Windows, "_trim", later)
    await other.open_holds()

    assert await store.balances([GLOBAL]) == {GLOBAL: Balance(0, COST)}
    await other.close()


async def _nothing(windows: Windows, p: str, entry: bytes) -> None:
    return None


async def test_many_at_once_never_pass_a_budget_above_tenants(tmp_path: Path) -> None:
    """Two processes, three tenants, all at the same moment."""
    stores = [await opened(tmp_path), await opened(tmp_path)]
    appends = [
        store.append(hold(SessionKey(tenant, "s"), f"{n}-{tenant}-{number}"))
        for n in range(10)
        for tenant in TENANTS
        for number, store in enumerate(stores)
    ]
    results = await asyncio.gather(*appends, return_exceptions=True)

    taken = [one for one in results if not isinstance(one, BaseException)]
    assert len(taken) == BUDGET // COST
    assert {type(one) for one in results} == {type(taken[0]), AccountExceeded}
    found = await stores[0].balances(await expected(stores[0]))
    assert found == await expected(stores[0])
    for store in stores:
        await store.close()


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 2**32), lives=st.lists(st.integers(1, 30), min_size=1, max_size=4))
def test_whoever_dies_wherever_the_sweep_makes_it_agree_with_the_logs(
    tmp_path_factory: pytest.TempPathFactory, seed: int, lives: list[int]
) -> None:
    """Processes that lose their connections after some requests, in the middle of whatever they
    were doing, with calls of three tenants under way."""
    folder = tmp_path_factory.mktemp("ledger")
    asyncio.run(_lives(folder, random.Random(seed), lives))


async def _lives(folder: Path, chance: random.Random, lives: list[int]) -> None:
    calls: list[tuple[SessionKey, str]] = []
    for number, requests in enumerate(lives):
        store = await opened(folder)
        _die_after(store, requests)
        made = []
        for n in range(12):
            if calls and chance.random() < 0.4:
                key, call = chance.choice(calls)
                made.append(replace(settled(call, key), spent_micro_usd=7))
            else:
                key, call = SessionKey(chance.choice(TENANTS), "s"), f"{number}-{n}"
                calls.append((key, call))
                made.append(hold(key, call))
        results = await asyncio.gather(
            *(store.append(append) for append in made), return_exceptions=True
        )
        assert all(isinstance(one, HoldfastError) or one for one in results)
        await store.servers.close()
        await store.close()
    store = await swept(folder)
    logs = await expected(store)

    assert await store.balances(logs) == logs
    assert sum(b.held_micro_usd for b in logs.values()) // 3 // COST == len(
        await store.open_holds()
    )
    await store.close()


def _die_after(store: RedisStore, requests: int) -> None:
    """From then on nothing it sends arrives, or its answer does not: as the kernel has it."""
    exchange = store.servers.exchange
    left = requests

    async def dying(key: str | bytes, make: object) -> list[object]:
        nonlocal left
        left -= 1
        if left == 0:
            asked = asyncio.ensure_future(exchange(key, make))  # type: ignore[arg-type]
            await asyncio.wait([asked])  # it is carried out, and nobody hears of it
            await store.servers.close()
        return await exchange(key, make)  # type: ignore[arg-type]

    store.servers.exchange = dying  # type: ignore[method-assign]
