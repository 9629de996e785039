"""What is done to whole sessions and accounts: deleted, taken over, forgotten."""

import asyncio
import secrets
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import count

from proxy.core.session import SessionKey
from proxy.errors import SessionBusy
from proxy.stores import (
    DELETED,
    WAITING,
    AccountRow,
    Appended,
    DeletionReason,
    SessionDump,
)
from proxy.stores.redis_expiry import Expiry
from proxy.stores.redis_jobs import DeleteJob, ForgetJob, Job, RestoreJob
from proxy.stores.redis_keys import account_key, account_name, shared
from proxy.stores.redis_listings import Listings
from proxy.stores.redis_queries import Queries, raws
from proxy.stores.redis_requests import Maker, Tip, movement_of, pack
from proxy.stores.redis_scripts import script
from proxy.stores.redis_servers import Servers
from proxy.stores.written import Written

ACCOUNT_SECONDS = 40 * 86_400
"""For so long at the least an account is kept, as the scripts do: longer than any window."""

_AT_ONCE = 64
_CONTENT_BYTES = 1 << 20
_Answer = Written[Appended | None]


class Versions:
    """Names of writes that no other process gives."""

    def __init__(self) -> None:
        self._process = secrets.token_bytes(8)
        self._numbers = count(1)

    def next(self) -> bytes:
        return self._process + next(self._numbers).to_bytes(8, "big")


class Maintenance:
    """put: hands a job to its lane."""

    def __init__(
        self,
        servers: Servers,
        queries: Queries,
        listings: Listings,
        maker: Maker,
        versions: Versions,
        put: Callable[[Job], None],
        expiry: Expiry,
    ) -> None:
        self._servers = servers
        self._queries = queries
        self._listings = listings
        self._maker = maker
        self._versions = versions
        self._put = put
        self._expiry = expiry
        self._keys: dict[str, list[str]] = {}
        self._accounts: list[str] = []

    async def list_keys(self, after: SessionKey | None, limit: int) -> Sequence[SessionKey]:
        """By tenant and id. A tenant's are read when its first page is asked for."""
        found: list[SessionKey] = []
        for tenant in await self._queries.tenants():
            if after is not None and tenant < after.tenant:
                continue
            goes_on = after is not None and tenant == after.tenant
            if not goes_on or tenant not in self._keys:
                self._keys = {tenant: await self._listings.sessions(tenant)}
            sessions = self._keys[tenant]
            start = bisect_right(sessions, after.session) if goes_on and after is not None else 0
            found += [SessionKey(tenant, one) for one in sessions[start : start + limit]]
            if len(found) >= limit:
                break
        return found[:limit]

    async def delete(
        self, key: SessionKey, at: float, reason: DeletionReason, expected_seq: int | None
    ) -> bool:
        return await self._delete(key, at, reason, expected_seq, lambda _: True) is not None

    async def purge(self, updated_before: float, at: float) -> int:
        """Finds some, deletes them, and finds again: appends get through between them."""
        total = 0
        for tenant in await self._queries.tenants():
            total += await self._purge_tombstones(tenant, updated_before)
            total += await self._purge_sessions(tenant, updated_before, at)
        return total

    async def _purge_sessions(self, tenant: str, updated_before: float, at: float) -> int:
        def is_old(tip: Tip) -> bool:
            return tip.updated < updated_before and tip.state not in WAITING

        total = 0
        for keys in await self._old(tenant, f"{self._queries.p(tenant)}:z", updated_before):
            done = await asyncio.gather(*(self._purged(key, at, is_old) for key in keys))
            total += sum(done)
        return total

    async def _purged(self, key: SessionKey, at: float, is_old: Callable[[Tip], bool]) -> bool:
        try:
            return await self._delete(key, at, "retention", None, is_old) is not None
        except SessionBusy:
            return False

    async def _purge_tombstones(self, tenant: str, updated_before: float) -> int:
        total = 0
        index = f"{self._queries.p(tenant)}:z:s:{DELETED}"
        for keys in await self._old(tenant, index, updated_before):
            jobs = [
                ForgetJob(self._maker, key, self._versions.next(), _answer(), updated_before)
                for key in keys
            ]
            for job in jobs:
                self._put(job)
            total += sum([await job.future is not None for job in jobs])
        return total

    async def _old(
        self, tenant: str, index: str, updated_before: float
    ) -> Sequence[Sequence[SessionKey]]:
        walk = self._listings.walk(tenant, index, most=f"({updated_before!r}", newest_first=False)
        keys = [one.row.key async for one in walk]
        return [keys[n : n + _AT_ONCE] for n in range(0, len(keys), _AT_ONCE)]

    async def _delete(
        self,
        key: SessionKey,
        at: float,
        reason: DeletionReason,
        expected_seq: int | None,
        only_if: Callable[[Tip], bool],
    ) -> Appended | None:
        job = DeleteJob(
            self._maker, key, self._versions.next(), _answer(), at, reason, expected_seq, only_if
        )
        self._put(job)
        return await job.future

    async def restore(self, dump: SessionDump) -> None:
        """Large contents go ahead, bit by bit: nobody sees them before the session is there."""
        job = RestoreJob(self._maker, dump, self._versions.next(), _answer())
        if await self._queries.tip(dump.key) is None:
            await self._send_contents(dump)
        self._put(job)
        await job.future

    async def _send_contents(self, dump: SessionDump) -> None:
        name = f"{self._queries.p(dump.key.tenant)}:c:{dump.key.session}"
        words: list[bytes | str] = []
        size = 0
        for content in dump.contents:
            words += [content.name, content.data]
            size += len(content.data)
            if size > _CONTENT_BYTES:
                await self._send(name, words)
                words, size = [], 0
        if words:
            await self._send(name, words)

    async def _send(self, name: str, words: Sequence[bytes | str]) -> None:
        """Whoever dies before the session is there leaves nothing for ever."""
        sent = [("HSET", name, *words), ("EXPIRE", name, self._expiry.seconds)]
        await self._servers.calls(name, sent)

    async def dump_accounts(self, after: str, limit: int) -> Sequence[AccountRow]:
        """By name: the names are read when the first page is asked for."""
        if not after or not self._accounts:
            self._accounts = await self._account_names()
        start = bisect_right(self._accounts, after)
        names = self._accounts[start : start + limit]
        prefix = self._servers.prefix
        rows = await self._queries.accounts([account_key(prefix, name) for name in names])
        return [(name, *row) for name, row in zip(names, rows, strict=True) if row is not None]

    async def restore_accounts(self, rows: Sequence[AccountRow]) -> None:
        for name, balance, at in rows:
            key = account_key(self._servers.prefix, name)
            every = f"{key.partition('}')[0]}}}:bz"
            value = pack((*movement_of(balance), at))
            expire = max(self._expiry.seconds, ACCOUNT_SECONDS)
            await self._servers.call(key, "SET", key, value, "EX", expire)
            await self._servers.calls(every, [("ZADD", every, at, key), ("EXPIRE", every, expire)])

    async def purge_accounts(self, touched_before: float) -> int:
        total = 0
        purge = script("accounts")
        for p in await self._tags():
            every = f"{p}:bz"
            while True:
                gone, seen = raws(
                    await self._servers.evaluate(purge, every, touched_before, _AT_ONCE)
                )
                total += int(gone)
                if not int(seen):
                    break
        return total

    async def _account_names(self) -> list[str]:
        found: list[str] = []
        for p in await self._tags():
            keys = raws(await self._servers.call(f"{p}:bz", "ZRANGE", f"{p}:bz", 0, -1))
            found += [account_name(key.decode()) for key in keys]
        return sorted(found)

    async def _tags(self) -> list[str]:
        tenants = await self._queries.tenants()
        return [shared(self._servers.prefix), *map(self._queries.p, tenants)]


def _answer() -> _Answer:
    return Written(loop=asyncio.get_running_loop())
