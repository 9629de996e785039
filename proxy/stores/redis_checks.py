"""Whether a Redis server may keep a ledger: it must not evict, and must keep what it is told."""

import logging
import re

from proxy.errors import StoreUnavailable
from proxy.stores.redis_servers import Servers
from proxy.stores.redis_url import Address

log = logging.getLogger(__name__)

_OLDEST = (6, 2)


async def check_servers(servers: Servers) -> None:
    """Raises StoreUnavailable, saying how to mend it. What a server does not tell (managed ones
    may hide it) is warned of."""
    for address in await servers.primaries():
        told = await _told(servers, address)
        _check_version(told)
        _check_eviction(told)
        if servers.url.persistence:
            saves = await _configured(servers, address, "save")
            fsync = await _configured(servers, address, "appendfsync")
            _check_persistence(told, saves, fsync)


async def _told(servers: Servers, address: Address) -> dict[str, str]:
    reply = await servers.ask_primary(address, "INFO")
    text = reply.decode(errors="replace") if isinstance(reply, bytes) else ""
    return dict(re.findall(r"^(\w+):(.*?)\r?$", text, re.MULTILINE))


async def _configured(servers: Servers, address: Address, name: str) -> str | None:
    """None where it does not tell."""
    reply = await servers.ask_primary(address, "CONFIG", "GET", name)
    match reply:
        case [_, bytes(value)]:
            return value.decode(errors="replace")
    return None


def _check_version(told: dict[str, str]) -> None:
    version = told.get("redis_version", "")
    numbers = tuple(map(int, re.findall(r"\d+", version)[:2]))
    if numbers and numbers < _OLDEST:
        raise StoreUnavailable(f"Redis {version} is too old for the ledger: 6.2 or newer is needed")


def _check_eviction(told: dict[str, str]) -> None:
    policy = told.get("maxmemory_policy")
    if policy is None:
        log.warning("Redis does not tell its maxmemory-policy: make sure that it is noeviction")
    elif policy != "noeviction":
        raise StoreUnavailable(
            f"Redis evicts keys when its memory is full (maxmemory-policy {policy}), and with them "
            "what was spent: `CONFIG SET maxmemory-policy noeviction`, and the same in its "
            "configuration"
        )


def _check_persistence(told: dict[str, str], saves: str | None, fsync: str | None) -> None:
    replicas = int(told.get("connected_slaves", "0"))
    if told.get("aof_enabled") == "1":
        if fsync not in (None, "always") and replicas == 0:
            log.warning(
                "Redis answers before it has written (appendfsync %s): a crash may lose the last "
                "one or two seconds. `CONFIG SET appendfsync always`, or a replica, mends it",
                fsync,
            )
        return
    if saves == "" and replicas == 0:
        raise StoreUnavailable(
            "Redis keeps nothing on disk and has no replica: a restart would lose what was spent. "
            "`CONFIG SET appendonly yes`, and the same in its configuration; or say that you know "
            "with ?persistence=none in store.url"
        )
    log.warning(
        "Redis has no append-only file: a crash loses what it was told since its last snapshot, "
        "unless a replica has it (`CONFIG SET appendonly yes`)"
    )
