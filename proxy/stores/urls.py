"""Store URLs: which store, and where its secrets are kept."""

import os
from pathlib import Path

from proxy.errors import StoreUnavailable
from proxy.stores import Store
from proxy.stores.memory import MemoryStore
from proxy.stores.sqlite import SqliteStore, key_path

KEY_VARIABLE = "HOLDFAST_CHAIN_KEY"
_SHORTEST_KEY = 32
_SQLITE = "sqlite:///"
_ALLOWED = "memory://, sqlite:///PATH (sqlite:////PATH where it is absolute)"


def open_store(url: str, key: bytes | None = None) -> Store:
    """The store a URL names, not opened yet. Raises ValueError, with what is allowed.

    key: of the log's HMAC chain; None: from HOLDFAST_CHAIN_KEY, else from the file beside the
    ledger (made when the store is opened), else random. Raises StoreUnavailable for a variable too
    short.
    """
    path = _path_of(url)
    secret = key or _key_from_environment()
    return MemoryStore(secret) if path is None else SqliteStore(path, secret)


def secret_beside(url: str) -> Path | None:
    """The key file of the store at `url`; None where the store has no place on disk."""
    path = _path_of(url)
    return None if path is None else key_path(path)


def _path_of(url: str) -> Path | None:
    """None for memory://."""
    if url == "memory://":
        return None
    name = url.removeprefix(_SQLITE)
    if name == url:
        raise ValueError(f"no such store: {url!r} (allowed: {_ALLOWED})")
    if name in ("", ":memory:") or name.endswith("/") or "?" in name or "\0" in name:
        raise ValueError(f"not the path of a file: {url!r} (allowed: {_ALLOWED})")
    return Path(name).expanduser()


def _key_from_environment() -> bytes | None:
    key = os.environ.get(KEY_VARIABLE, "").encode()
    if not key:
        return None
    if len(key) < _SHORTEST_KEY:
        raise StoreUnavailable(
            f"{KEY_VARIABLE} is too short: at least {_SHORTEST_KEY} characters "
            "(`openssl rand -hex 32` makes a good one)"
        )
    return key
