"""Store URLs: which store, and where its secrets are kept."""

import secrets
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

from proxy.errors import StoreUnavailable
from proxy.stores import Store
from proxy.stores.chain import create_secret, load_or_create_key
from proxy.stores.memory import MemoryStore
from proxy.stores.redis_url import ALLOWED as REDIS_ALLOWED
from proxy.stores.redis_url import is_redis, parse_url, shown_url
from proxy.stores.sqlite import SqliteStore, key_path
from proxy.stores.volumes import advice

KEY_VARIABLE = "HOLDFAST_CHAIN_KEY"
STATE_VARIABLE = "HOLDFAST_STATE_DIR"
_SHORTEST_KEY = 32
_HEX = "hex:"
_SQLITE = "sqlite:///"
_ALLOWED = f"memory://, sqlite:///PATH (sqlite:////PATH where it is absolute), {REDIS_ALLOWED}"


def open_store(url: str, key: bytes, retention_seconds: Callable[[], float] = lambda: 0.0) -> Store:
    """The store a URL names, not opened yet. key: of the log's HMAC chain. retention_seconds: what
    the policy says now, where it is looked after.

    Raises ValueError, with what is allowed; StoreUnavailable where what it needs is not installed.
    """
    if is_redis(url):
        return _redis(url, key, retention_seconds)
    path = _path_of(url)
    return MemoryStore(key) if path is None else SqliteStore(path, key)


def _redis(url: str, key: bytes, retention_seconds: Callable[[], float]) -> Store:
    parse_url(url)
    try:
        from proxy.stores.redis import RedisStore
    except ImportError as error:
        raise StoreUnavailable(str(error)) from error
    return RedisStore(url, key, retention_seconds=retention_seconds)


def chain_key(url: str, env: Mapping[str, str]) -> bytes:
    """The secret of a ledger: HOLDFAST_CHAIN_KEY, else the file beside it (made if need be), else
    random. Raises ValueError for a bad URL, StoreUnavailable for a key that cannot be used."""
    path = secret_beside(url)
    if (given := _key_from(env)) is not None:
        return given
    if is_redis(url):
        raise StoreUnavailable(
            f"a ledger in Redis is shared, and so is its key: set {KEY_VARIABLE}, the same for "
            "every process (`openssl rand -hex 32` makes one)"
        )
    if path is None:
        return secrets.token_bytes(_SHORTEST_KEY)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(
            f"the directory {path.parent} of the ledger cannot be made: "
            + advice(error, "check the owner and the permissions of the one above it")
        ) from error
    return load_or_create_key(path, _path_of(url))


def known_key(url: str, env: Mapping[str, str]) -> bytes:
    """The secret of a ledger that is there: none is made. Raises ValueError for a bad URL,
    StoreUnavailable where it is not known."""
    path = secret_beside(url)
    if (given := _key_from(env)) is not None:
        return given
    if path is None or not path.exists():
        beside = "" if path is None else f"put its key file back at {path}, or "
        raise StoreUnavailable(
            f"the key of the ledger {shown_url(url)} is not known: {beside}set {KEY_VARIABLE}"
        )
    return load_or_create_key(path)


def secret_beside(url: str) -> Path | None:
    """The key file of the store at `url`; None where the store has no place on disk."""
    path = _path_of(url)
    return None if path is None else key_path(path)


def spools_folder(url: str, env: Mapping[str, str]) -> Path | None:
    """Where processes keep what a store could not take (`store.on_failure: open`): beside it, else
    in the state folder. None for a store that is never away."""
    if is_redis(url):
        shown = f"{parse_url(url, env).shown} {parse_url(url, env).prefix}"
        return state_folder(env) / f"{sha256(shown.encode()).hexdigest()[:16]}.spools"
    path = _path_of(url)
    return None if path is None else path.with_name(f"{path.name}.spools")


def state_folder(env: Mapping[str, str]) -> Path:
    """Where a process keeps what is its machine's own: HOLDFAST_STATE_DIR, else as the XDG base
    directory specification has it."""
    if given := env.get(STATE_VARIABLE):
        return Path(given)
    home = env.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(home).expanduser() / "holdfast"


def _path_of(url: str) -> Path | None:
    """None for memory://."""
    if url == "memory://":
        return None
    if is_redis(url):
        parse_url(url)
        return None
    name = url.removeprefix(_SQLITE)
    if name == url:
        raise ValueError(f"no such store: {url!r} (allowed: {_ALLOWED})")
    if name in ("", ":memory:") or name.endswith("/") or "?" in name or "\0" in name:
        raise ValueError(f"not the path of a file: {url!r} (allowed: {_ALLOWED})")
    return Path(name).expanduser()


def _key_from(env: Mapping[str, str]) -> bytes | None:
    given = env.get(KEY_VARIABLE, "")
    if not given:
        return None
    key = _from_hex(given) if given.startswith(_HEX) else given.encode()
    if len(key) < _SHORTEST_KEY:
        raise StoreUnavailable(
            f"{KEY_VARIABLE} is too short: at least {_SHORTEST_KEY} characters "
            "(`openssl rand -hex 32` makes a good one)"
        )
    return key


def _from_hex(given: str) -> bytes:
    """The key of a key file, which is no text."""
    try:
        return bytes.fromhex(given.removeprefix(_HEX))
    except ValueError as error:
        raise StoreUnavailable(f"{KEY_VARIABLE}: hex: and then hexadecimal digits only") from error


def lay_key(url: str, key: bytes, env: Mapping[str, str]) -> None:
    """Sees to it that the store at `url` is opened with this key later, where HOLDFAST_CHAIN_KEY
    does not say it: puts it beside a file that has none. Raises StoreUnavailable where it has
    another."""
    path = secret_beside(url)
    if path is None or _key_from(env) is not None:
        return
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            create_secret(path, key)
    except OSError as error:
        reason = f"the key {path} cannot be written: "
        raise StoreUnavailable(reason + advice(error, "check its directory")) from error
    if load_or_create_key(path) != key:
        raise StoreUnavailable(
            f"{path} is another key than that of the ledger to be taken over: give another path"
        )
