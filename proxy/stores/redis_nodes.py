"""Which server has which keys: always the same one, the one the sentinels name, or by slot."""

import re
from binascii import crc_hqx
from typing import Protocol

from proxy.stores.redis_connection import Connection, Login, Reply, connect
from proxy.stores.redis_errors import Lost, ServerError
from proxy.stores.redis_url import Address, RedisUrl

SLOTS = 16_384
_REDIRECTION = re.compile(r"(MOVED|ASK) (\d+) (.*):(\d+)")


def slot_of(key: str | bytes) -> int:
    """The slot of a cluster that a key lies in: of what stands in its first braces, if anything."""
    data = key.encode() if isinstance(key, str) else key
    start = data.find(b"{")
    if start >= 0:
        end = data.find(b"}", start + 1)
        if end > start + 1:
            data = data[start + 1 : end]
    return crc_hqx(data, 0) % SLOTS


class Nodes(Protocol):
    async def address_of(self, key: str | bytes) -> Address:
        """Raises OSError, TimeoutError, Lost, ServerError."""

    async def primaries(self) -> tuple[Address, ...]: ...

    def redirect(self, key: str | bytes, problem: Exception) -> Address | None:
        """Learns from what went wrong; whom to ask this once instead."""


def nodes_of(url: RedisUrl, login: Login) -> Nodes:
    if url.kind == "cluster":
        return _Cluster(url, login)
    if url.kind == "sentinel":
        return _Sentinels(url, login)
    return _Single(url.addresses[0])


class _Single:
    def __init__(self, address: Address) -> None:
        self._address = address

    async def address_of(self, key: str | bytes) -> Address:
        return self._address

    async def primaries(self) -> tuple[Address, ...]:
        return (self._address,)

    def redirect(self, key: str | bytes, problem: Exception) -> Address | None:
        return None


class _Sentinels:
    """Asks them again whenever something is wrong. They have a login of their own."""

    def __init__(self, url: RedisUrl, login: Login) -> None:
        self._url = url
        self._login = Login(
            url.sentinel_username, url.sentinel_password, 0, login.timeout_seconds, login.context
        )
        self._primary: Address | None = None

    async def address_of(self, key: str | bytes) -> Address:
        if self._primary is None:
            self._primary = await self._ask()
        return self._primary

    async def primaries(self) -> tuple[Address, ...]:
        return (await self.address_of(""),)

    def redirect(self, key: str | bytes, problem: Exception) -> Address | None:
        if not isinstance(problem, ServerError) or problem.code in ("READONLY", "MASTERDOWN"):
            self._primary = None
        return None

    async def _ask(self) -> Address:
        problem: Exception = Lost("no sentinel answers")
        for address in self._url.addresses:
            try:
                sentinel = await connect(address, self._login)
            except (OSError, TimeoutError, Lost, ServerError) as error:
                problem = error
                continue
            try:
                found = await _answer(
                    sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._url.primary
                )
                if isinstance(found, list):
                    return _text(found[0]), int(_text(found[1]))
                problem = Lost(f"the sentinels know no primary named {self._url.primary!r}")
            except (Lost, ServerError) as error:
                problem = error
            finally:
                sentinel.close()
        raise problem


class _Cluster:
    """Its map is read from any node, when it is needed first and whenever it proves wrong."""

    def __init__(self, url: RedisUrl, login: Login) -> None:
        self._seeds = url.addresses
        self._login = login
        self._slots: dict[int, Address] = {}
        self._known: tuple[Address, ...] = ()

    async def address_of(self, key: str | bytes) -> Address:
        slot = slot_of(key)
        if slot not in self._slots:
            await self._read()
        if slot not in self._slots:
            raise ServerError(f"CLUSTERDOWN slot {slot} has no server")
        return self._slots[slot]

    async def primaries(self) -> tuple[Address, ...]:
        if not self._known:
            await self._read()
        return self._known

    def redirect(self, key: str | bytes, problem: Exception) -> Address | None:
        match = _REDIRECTION.match(str(problem)) if isinstance(problem, ServerError) else None
        if match is None:
            if not isinstance(problem, ServerError) or problem.code in ("READONLY", "CLUSTERDOWN"):
                self._slots.clear()
            return None
        slot = int(match[2])
        host = match[3] or self._slots.get(slot, self._seeds[0])[0]
        address = (host.strip("[]"), int(match[4]))
        if match[1] == "ASK":
            return address
        self._slots[slot] = address
        self._known = tuple(dict.fromkeys(self._slots.values()))
        return None

    async def _read(self) -> None:
        problem: Exception = Lost("no node of the cluster answers")
        for address in dict.fromkeys((*self._known, *self._seeds)):
            try:
                node = await connect(address, self._login)
            except (OSError, TimeoutError, Lost, ServerError) as error:
                problem = error
                continue
            try:
                self._take(address, await _answer(node, "CLUSTER", "SLOTS"))
                return
            except (Lost, ServerError) as error:
                problem = error
            finally:
                node.close()
        raise problem

    def _take(self, asked: Address, reply: Reply) -> None:
        slots: dict[int, Address] = {}
        for first, last, primary, *_ in reply if isinstance(reply, list) else ():
            host = _text(primary[0]) if primary[0] else asked[0]
            slots.update(dict.fromkeys(range(first, last + 1), (host, int(primary[1]))))
        self._slots = slots
        self._known = tuple(dict.fromkeys(slots.values()))


async def _answer(connection: Connection, *command: str) -> Reply:
    reply = (await connection.request(command))[0]
    if isinstance(reply, ServerError):
        raise reply
    return reply


def _text(reply: Reply) -> str:
    return reply.decode() if isinstance(reply, bytes) else str(reply)
