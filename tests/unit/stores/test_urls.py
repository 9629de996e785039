"""Store URLs: what they open, where the secrets are, and what is said of one that is wrong."""

# ruff: noqa: ASYNC240 - a test has its loop for itself

from pathlib import Path

import pytest

from proxy.errors import StoreUnavailable
from proxy.stores.chain import first_altered
from proxy.stores.memory import MemoryStore
from proxy.stores.sqlite import SqliteStore
from proxy.stores.urls import open_store, secret_beside
from tests.fakes_stores import KEY, SECRET, opened


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOLDFAST_CHAIN_KEY", raising=False)


async def test_a_url_opens_its_store(tmp_path: Path) -> None:
    """Nothing is touched before `open`; then the key is beside the ledger."""
    url = f"sqlite:///{tmp_path}/a b/ledger.db"
    store = open_store(url)
    key = secret_beside(url)

    assert isinstance(store, SqliteStore)
    assert key == tmp_path / "a b" / "ledger.db.key"
    assert list(tmp_path.iterdir()) == []
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
        "redis://x",
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
        open_store(url)


async def test_the_key_may_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """So that it need not lie beside what it seals."""
    monkeypatch.setenv("HOLDFAST_CHAIN_KEY", "k" * 32)
    store = open_store(f"sqlite:///{tmp_path}/ledger.db")
    await store.open()
    await store.close()

    assert [file.name for file in tmp_path.iterdir()] == ["ledger.db"]


def test_a_short_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It could be guessed, and the chain with it."""
    monkeypatch.setenv("HOLDFAST_CHAIN_KEY", "secret")

    with pytest.raises(StoreUnavailable, match="openssl rand"):
        open_store("memory://")
