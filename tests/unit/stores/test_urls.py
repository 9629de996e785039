"""Store URLs: what they open, where the secrets are, and what is said of one that is wrong."""

import subprocess
import sys
from pathlib import Path

import pytest

from proxy.errors import StoreUnavailable
from proxy.stores.chain import first_altered
from proxy.stores.memory import MemoryStore
from proxy.stores.redis import RedisStore
from proxy.stores.sqlite import SqliteStore
from proxy.stores.urls import chain_key, open_store, secret_beside
from tests.fakes_redis import url_for
from tests.fakes_stores import KEY, SECRET, opened


async def test_a_url_opens_its_store(tmp_path: Path) -> None:
    """The key lies beside the ledger, in a folder that is nobody else's."""
    url = f"sqlite:///{tmp_path}/a b/ledger.db"
    store = open_store(url, chain_key(url, {}))
    key = secret_beside(url)

    assert isinstance(store, SqliteStore)
    assert key == tmp_path / "a b" / "ledger.db.key"
    assert (tmp_path / "a b").stat().st_mode & 0o777 == 0o700
    await store.open()
    await store.append(opened())
    assert first_altered(key.read_bytes(), KEY, await store.read_chain(KEY)) is None
    await store.close()


async def test_a_store_in_memory_has_no_place_for_secrets() -> None:
    """Its log ends with it."""
    store = open_store("memory://", SECRET)
    await store.open()
    await store.append(opened())

    assert isinstance(store, MemoryStore)
    assert secret_beside("memory://") is None
    assert first_altered(SECRET, KEY, await store.read_chain(KEY)) is None


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///holdfast.db", "holdfast.db.key"),
        ("sqlite:////var/lib/h.db", "/var/lib/h.db.key"),
        ("sqlite:///~/h.db", str(Path.home() / "h.db.key")),
    ],
)
def test_three_slashes_are_relative_and_four_absolute(url: str, path: str) -> None:
    """As every other tool reads such URLs."""
    assert secret_beside(url) == Path(path)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "redis+ring://x",
        "sqlite://x.db",
        "sqlite:///",
        "sqlite:///:memory:",
        "memory://x",
        "/tmp/x.db",
        "sqlite:///dir/",
        "sqlite:///x.db?mode=ro",
    ],
)
def test_any_other_url_is_told_what_is_allowed(url: str) -> None:
    """The policy loader shows the text as it stands."""
    with pytest.raises(ValueError, match=r"allowed: memory://, sqlite:///PATH"):
        open_store(url, SECRET)
    with pytest.raises(ValueError, match=r"allowed: memory://, sqlite:///PATH"):
        chain_key(url, {})


@pytest.mark.parametrize("url", ["memory://", "sqlite:///{}/ledger.db"])
def test_the_key_may_come_from_the_environment(url: str, tmp_path: Path) -> None:
    """So that it need not lie beside what it seals."""
    key = chain_key(url.format(tmp_path), {"HOLDFAST_CHAIN_KEY": "k" * 32})

    assert key == b"k" * 32
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_without_a_place_has_another_key_each_time() -> None:
    assert chain_key("memory://", {}) != chain_key("memory://", {})


def test_a_short_key_is_refused() -> None:
    """It could be guessed, and the chain with it."""
    with pytest.raises(StoreUnavailable, match="openssl rand"):
        chain_key("memory://", {"HOLDFAST_CHAIN_KEY": "secret"})


async def test_a_redis_url_opens_the_store_of_a_fleet(tmp_path: Path) -> None:
    """Whatever it is called, and however it is reached; the same ledger under the same key only."""
    for url in ("redis://h", "valkeys://u:p@h:1/2", "redis+cluster://a,b", "redis+sentinel://a/m"):
        assert isinstance(open_store(url, SECRET), RedisStore)
        assert secret_beside(url) is None
    with pytest.raises(ValueError, match="primary"):
        open_store("redis+sentinel://a", SECRET)
    url = url_for("redis", tmp_path)
    store, other = open_store(url, SECRET), open_store(url, b"x" * 32)
    await store.open()

    with pytest.raises(StoreUnavailable, match="HOLDFAST_CHAIN_KEY"):
        await other.open()
    await store.close()


def test_a_ledger_in_redis_needs_a_key_that_all_share() -> None:
    """One made up at the start would chain each process's events under another."""
    assert chain_key("redis://h", {"HOLDFAST_CHAIN_KEY": "k" * 32}) == b"k" * 32
    with pytest.raises(StoreUnavailable, match="HOLDFAST_CHAIN_KEY"):
        chain_key("redis://h", {})


def test_without_the_extra_a_sentence_says_what_to_install() -> None:
    """In a process of its own: what has been imported here stays so."""
    program = (
        "import sys; sys.modules['hiredis'] = None\n"
        "from proxy.stores.urls import open_store\n"
        "open_store('memory://', b'k')\n"
        "open_store('redis://h', b'k')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.returncode == 1
    assert "StoreUnavailable: store.url names Redis: `pip install holdfast[redis]`" in done.stderr
