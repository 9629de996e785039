"""What a Redis URL says: which servers, how to log in to them, and how much is asked of them.

    redis://[user:password@]host[:port][/database]   rediss:// with TLS; valkey://, valkeys://
    redis+cluster://host[:port],host[:port],…        any of its nodes
    redis+sentinel://host[:port],host[:port],…/name  the sentinels, and the primary's name

Parameters: `prefix` of all keys, `timeout` (seconds), `replicas` that must confirm a write,
`expire_days`, `persistence=none`, `cluster=1`, `username_env`, `password_env`, with TLS `ca`,
`cert`, `key` (files), and of sentinels `sentinel_username`, `sentinel_password`, both with `_env`.
"""

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

Address = tuple[str, int]

SCHEMES = tuple(
    f"{name}{kind}"
    for name in ("redis", "rediss", "valkey", "valkeys")
    for kind in ("", "+cluster", "+sentinel")
)
ALLOWED = "redis://HOST[:PORT][/DB], redis+cluster://HOST,…, redis+sentinel://HOST,…/NAME"
_PARAMETERS = {
    "prefix", "timeout", "replicas", "expire_days", "persistence", "cluster",
    "username_env", "password_env", "ca", "cert", "key",
    "sentinel_username", "sentinel_password", "sentinel_username_env", "sentinel_password_env",
}  # fmt: skip
_SECRET = re.compile(r"(?<=://)[^/]*@|(?<=[?&]sentinel_password=)[^&]*")
_PREFIX = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_PORT, _SENTINEL_PORT = 6379, 26379


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """kind: "", "cluster" or "sentinel". replicas: None for as many as there are, at most one.
    timeout_seconds: of an answer, and of patience with a server that is away."""

    addresses: tuple[Address, ...]
    kind: str = ""
    primary: str = ""
    database: int = 0
    username: str = ""
    password: str = field(default="", repr=False)
    prefix: str = "holdfast"
    timeout_seconds: float = 3.0
    replicas: int | None = None
    expire_seconds: int = 90 * 86_400
    persistence: bool = True
    tls: bool = False
    files: Mapping[str, str] = field(default_factory=dict)
    sentinel_username: str = ""
    sentinel_password: str = field(default="", repr=False)

    @property
    def shown(self) -> str:
        """For logs: without what is secret."""
        scheme = f"redis{'s' if self.tls else ''}{f'+{self.kind}' if self.kind else ''}"
        hosts = ",".join(f"{host}:{port}" for host, port in self.addresses)
        return f"{scheme}://{hosts}"

    def context(self) -> ssl.SSLContext | None:
        """Raises ValueError where a file cannot be read."""
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.files.get("ca"))
            if "cert" in self.files:
                context.load_cert_chain(self.files["cert"], self.files.get("key"))
        except OSError as error:
            raise ValueError(f"a TLS file of store.url cannot be read: {error}") from error
        return context


def shown_url(url: str) -> str:
    """For logs: without what is secret."""
    return _SECRET.sub("", url)


def is_redis(url: str) -> bool:
    return url.partition("://")[0] in SCHEMES


def parse_url(url: str, env: Mapping[str, str] = os.environ) -> RedisUrl:
    """Raises ValueError, which does not show the password."""
    try:
        parts = urlsplit(url)
        given = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    except ValueError as error:
        raise ValueError(f"not a URL of Redis (allowed: {ALLOWED})") from error
    if unknown := sorted(set(given) - _PARAMETERS):
        raise ValueError(f"a URL of Redis has no parameter {unknown[0]!r}")
    name, _, kind = parts.scheme.partition("+")
    if given.get("cluster") == "1" and not kind:
        kind = "cluster"
    user, password = _login(parts, given, env)
    sentinel = _sentinel_login(given, env, kind)
    prefix = given.get("prefix", "holdfast")
    if not _PREFIX.fullmatch(prefix):
        raise ValueError("prefix: letters, digits, and . _ : - only")
    primary, database = _path(parts.path, kind)
    replicas = given.get("replicas")
    return RedisUrl(
        _addresses(parts, kind),
        kind,
        primary,
        database,
        user,
        password,
        prefix,
        _number("timeout", given.get("timeout", "3"), 0.05, 60),
        None if replicas is None else int(_number("replicas", replicas, 0, 8)),
        int(_number("expire_days", given.get("expire_days", "90"), 1, 36_500) * 86_400),
        given.get("persistence") != "none",
        name in ("rediss", "valkeys"),
        {name: given[name] for name in ("ca", "cert", "key") if name in given},
        *sentinel,
    )


def _login(parts: SplitResult, given: Mapping[str, str], env: Mapping[str, str]) -> tuple[str, str]:
    userinfo = parts.netloc.rpartition("@")[0]
    user, _, password = (unquote(part) for part in userinfo.partition(":"))
    return (
        _from_env("username_env", given, env, user),
        _from_env("password_env", given, env, password),
    )


def _sentinel_login(given: Mapping[str, str], env: Mapping[str, str], kind: str) -> tuple[str, str]:
    names = ("sentinel_username", "sentinel_password")
    if kind != "sentinel" and any(name.startswith(names) for name in given):
        raise ValueError("only redis+sentinel:// has a login for sentinels")
    user, password = (_from_env(f"{name}_env", given, env, given.get(name, "")) for name in names)
    return user, password


def _from_env(name: str, given: Mapping[str, str], env: Mapping[str, str], otherwise: str) -> str:
    if name not in given:
        return otherwise
    if given[name] not in env:
        raise ValueError(f"{name} of store.url: the variable {given[name]} is not set")
    return env[given[name]]


def _addresses(parts: SplitResult, kind: str) -> tuple[Address, ...]:
    default = _SENTINEL_PORT if kind == "sentinel" else _PORT
    found = []
    for host in parts.netloc.rpartition("@")[2].split(","):
        match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::(\d{1,5}))?", host)
        if match is None or not 0 < int(match[2] or default) < 65_536:
            raise ValueError(f"not the address of a server: {host!r} (allowed: {ALLOWED})")
        found.append((match[1].strip("[]"), int(match[2] or default)))
    if len(found) > 1 and not kind:
        raise ValueError(f"several servers are a cluster or sentinels (allowed: {ALLOWED})")
    return tuple(found)


def _path(path: str, kind: str) -> tuple[str, int]:
    names = [name for name in path.split("/") if name]
    primary = names.pop(0) if kind == "sentinel" and names else ""
    if kind == "sentinel" and not primary:
        raise ValueError(f"which primary do the sentinels watch? (allowed: {ALLOWED})")
    if len(names) > 1 or any(not name.isdecimal() for name in names):
        raise ValueError(f"not a database: {path!r} (allowed: {ALLOWED})")
    database = int(names[0]) if names else 0
    if database and kind == "cluster":
        raise ValueError("a cluster has one database only")
    return primary, database


def _number(name: str, text: str, least: float, most: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not least <= number <= most:
        raise ValueError(f"{name} of store.url: a number from {least:g} to {most:g}")
    return number
