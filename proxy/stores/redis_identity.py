"""Which ledger a Redis server has: one that was emptied must not pass for a new one."""

import hmac
import secrets

from proxy.errors import StoreUnavailable
from proxy.stores.redis_connection import Connection
from proxy.stores.redis_errors import ServerError
from proxy.stores.redis_expiry import Expiry
from proxy.stores.redis_keys import shared
from proxy.stores.redis_servers import Servers

_GONE = (
    "Redis no longer has the ledger that this process works with: it was emptied, or replaced by "
    "another. Bring its data back, or restart Holdfast to begin a new ledger (docs/fleet.md)"
)
_OTHER_KEY = (
    "the ledger in Redis is chained under another key: give every process that shares it the same "
    "HOLDFAST_CHAIN_KEY"
)


class Identity:
    """The ledger's name is made by whoever opens it first. Each new connection is asked for it, so
    that a server that came back empty is noticed before it is told anything."""

    def __init__(self, servers: Servers, expiry: Expiry, secret: bytes) -> None:
        self._servers = servers
        self._name = f"{shared(servers.prefix)}:id"
        self._expiry = expiry
        self._key = hmac.digest(secret, b"holdfast ledger", "sha256").hex()[:32]
        self._known: bytes | None = None

    async def learn(self) -> None:
        """Makes the name if there is none. Raises StoreUnavailable where it was made under another
        key: the logs could be read, and would not verify."""
        new = f"{self._key}:{secrets.token_hex(16)}"
        seconds = self._expiry.seconds
        await self._servers.call(self._name, "SET", self._name, new, "NX", "EX", seconds)
        self._known = await self._read() or b""
        if not self._known.startswith(self._key.encode()):
            raise StoreUnavailable(_OTHER_KEY)
        self._servers.greet = self._greet

    async def check(self) -> None:
        """Raises StoreUnavailable, and has all connections made anew, where it is another."""
        if await self._read() != self._known:
            self._servers.drop_connections(_GONE)
            raise StoreUnavailable(_GONE)
        await self._servers.call(self._name, "EXPIRE", self._name, self._expiry.seconds)

    async def _read(self) -> bytes | None:
        found = await self._servers.call(self._name, "GET", self._name)
        return found if isinstance(found, bytes) else None

    async def _greet(self, connection: Connection) -> None:
        found = (await connection.request(("GET", self._name)))[0]
        if isinstance(found, ServerError):
            if found.code == "MOVED":
                return  # another node of the cluster has it
            raise found
        if found != self._known:
            raise StoreUnavailable(_GONE)
