"""What the memory store adds to the contract: a bound."""

from msgspec.structs import replace

from proxy.core.session import SessionKey
from proxy.stores import Balance, Charge
from proxy.stores.memory import MemoryStore
from tests.fakes_stores import opened, reserved, settled


def _key(n: int) -> SessionKey:
    return SessionKey("t", f"s{n}")


async def _listed(store: MemoryStore) -> list[str]:
    rows, _ = await store.list_sessions()
    return sorted(row.key.session for row in rows)


async def test_above_the_maximum_the_longest_untouched_goes() -> None:
    """Whole, with its links; balances stay."""
    store = MemoryStore(maximum_sessions=3)
    await store.open()
    for n in range(3):
        await store.append(replace(opened(_key(n)), links=(b"x",), charges=(Charge("a", 0, 1),)))
    await store.append(opened(_key(0)))
    await store.append(opened(_key(3)))

    assert await _listed(store) == ["s0", "s2", "s3"]
    assert list(await store.read(_key(1))) == []
    assert await store.find_links("t", [b"x"]) == {b"x": ("s0", "s2")}
    assert await store.balances(["a"]) == {"a": Balance(3, 0)}


async def test_a_session_with_an_open_hold_stays() -> None:
    """Above the maximum for as long as it must; the one that is being opened stays as well."""
    store = MemoryStore(maximum_sessions=2)
    await store.open()
    for n in range(3):
        await store.append(reserved("c1", _key(n)))
    await store.append(opened(_key(3)))
    assert await _listed(store) == ["s0", "s1", "s2", "s3"]
    for n in range(3):
        await store.append(settled("c1", _key(n)))

    assert await _listed(store) == ["s1", "s2"]
