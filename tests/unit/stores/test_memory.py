"""What the memory store adds to the contract: a bound."""

from msgspec.structs import replace

from proxy.core.session import SessionKey
from proxy.stores import Append, Balance, Charge, Content
from proxy.stores.memory import MemoryStore
from tests.fakes_stores import NOW, opened, reserved, settled


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


async def test_what_is_kept_of_sessions_is_bounded_together() -> None:
    """A run without a ledger must not fill the memory with what nobody reads again."""
    store = MemoryStore(maximum_content_bytes=100)
    await store.open()
    for n in range(4):
        contents = (Content("c.q", b"x" * 40),)
        await store.append(replace(opened(_key(n), NOW + n), contents=contents))
        await store.append(Append(_key(n), (), contents=contents))

    assert await _listed(store) == ["s2", "s3"]
    await store.purge(NOW + 9, NOW + 9)
    for n in (4, 5):
        await store.append(replace(opened(_key(n), NOW + n), contents=contents))
    assert [len(await store.read_contents(_key(n))) for n in (3, 4, 5)] == [0, 1, 1]
