"""The store of a fleet: Redis or Valkey, one server, with sentinels, or a cluster.

All truth is in the server, and what an append does is decided there, by one script at once
(redis_append.lua). A process remembers where logs end only to spare a round trip: if it is wrong
the script says so. How appends travel is said in `redis_lanes`, what the keys are in `redis_keys`,
and what a cluster does about budgets above tenants in `redis_windows`.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import cast

from proxy.clock import Clock
from proxy.core.session import SessionKey
from proxy.errors import StoreUnavailable
from proxy.stores import (
    LIVE,
    AccountRow,
    Append,
    Appended,
    Balance,
    DeletionReason,
    OpenHold,
    Queue,
    SessionDump,
    SessionRow,
    Stored,
)
from proxy.stores.chain import Chain, ChainedPayload
from proxy.stores.effects import prepare
from proxy.stores.redis_checks import check_servers
from proxy.stores.redis_expiry import Expiry
from proxy.stores.redis_identity import Identity
from proxy.stores.redis_jobs import AppendJob, Job
from proxy.stores.redis_keys import shared, tag
from proxy.stores.redis_lanes import Lane, Shared
from proxy.stores.redis_listings import Listings
from proxy.stores.redis_maintenance import Maintenance, Versions
from proxy.stores.redis_queries import Queries
from proxy.stores.redis_replicas import Replicas
from proxy.stores.redis_requests import Maker
from proxy.stores.redis_servers import Servers
from proxy.stores.redis_tenants import Tenants
from proxy.stores.redis_tips import Tips
from proxy.stores.redis_url import RedisUrl, parse_url
from proxy.stores.redis_windows import Windows
from proxy.stores.sessions import Listing
from proxy.stores.written import Written

log = logging.getLogger(__name__)

WATCH_SECONDS = 5.0
SHORT_SECONDS = 0.5
"""Between two looks while a replica of Redis is missing: until it is seen, nobody waits for it."""
_SWEEP_SECONDS = 5.0
_REFRESH_SECONDS = 86_400.0
"""A log outlives its end's key by two days from when it was refreshed: see `redis_append.lua`."""


class RedisStore:
    """See `Store`. `servers` is there for whatever else a fleet shares (proxy/fleet).
    retention_seconds: what the policy says now; keys live longer than that."""

    def __init__(
        self,
        url: str,
        secret: bytes,
        clock: Clock | None = None,
        retention_seconds: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._url = parse_url(url)
        self._secret = secret
        self._retention = retention_seconds
        self.servers = Servers(self._url, clock)
        self._open: _Open | None = None

    async def open(self) -> None:
        """Raises StoreUnavailable where no server is reached, or where it is none for a ledger."""
        self.servers = Servers(self._url, self.servers.clock)
        expiry = Expiry(self._url.expire_seconds, self._retention, self.servers.clock.now)
        opened = _Open(self.servers, self._url, self._secret, expiry)
        try:
            await self.servers.open()
            await check_servers(self.servers)
            await opened.begin()
        except BaseException:
            await self.servers.close()
            raise
        self._open = opened

    async def close(self) -> None:
        """Everything appended before is written first; what comes after is refused."""
        opened, self._open = self._open, None
        if opened is not None:
            await asyncio.shield(opened.end())

    def append(self, append: Append) -> "asyncio.Future[Appended]":
        opened = self._opened()
        prepared = prepare(append)
        if self.servers.is_cluster and any(
            g.key.tenant != append.key.tenant for g in append.guards
        ):
            raise StoreUnavailable("in a cluster a decision stands on sessions of its tenant only")
        future: Written[Appended | None] = Written(loop=asyncio.get_running_loop())
        opened.put(AppendJob(opened.maker, prepared, opened.versions.next(), future))
        return cast("asyncio.Future[Appended]", future)  # what an append is answered with

    async def read(self, key: SessionKey, after_seq: int = 0) -> Sequence[Stored]:
        return await self._opened().queries.read(key, after_seq)

    async def read_chain(self, key: SessionKey) -> Sequence[ChainedPayload]:
        return await self._opened().queries.read_chain(key)

    async def read_contents(
        self, key: SessionKey, names: Sequence[str] | None = None
    ) -> Mapping[str, bytes]:
        return await self._opened().queries.read_contents(key, names)

    async def balances(self, accounts: Iterable[str]) -> Mapping[str, Balance]:
        return await self._opened().queries.balances(accounts)

    async def open_holds(self, deadline_before: float | None = None) -> Sequence[OpenHold]:
        opened = self._opened()
        if self.servers.is_cluster:
            await opened.sweep()
        return await opened.queries.open_holds(deadline_before)

    async def find_links(
        self, tenant: str, links: Sequence[bytes]
    ) -> Mapping[bytes, tuple[str, ...]]:
        return await self._opened().queries.find_links(tenant, links)

    async def list_sessions(
        self,
        *,
        state: str | None = None,
        agent: str | None = None,
        tenant: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> tuple[Sequence[SessionRow], str | None]:
        listing = Listing(state, agent, tenant, limit, cursor)
        return await self._opened().listings.list_sessions(listing)

    async def list_queue(self, queue: Queue, limit: int) -> Sequence[SessionRow]:
        return await self._opened().listings.list_queue(queue, limit)

    async def list_idle(
        self, updated_before: float, limit: int, states: Sequence[str] = LIVE
    ) -> Sequence[SessionKey]:
        return await self._opened().listings.list_idle(updated_before, limit, states)

    async def list_keys(self, after: SessionKey | None, limit: int) -> Sequence[SessionKey]:
        return await self._opened().maintenance.list_keys(after, limit)

    async def find_tenants(self, session: str) -> Sequence[str]:
        return await self._opened().queries.find_tenants(session)

    async def dump(self, key: SessionKey) -> SessionDump | None:
        return await self._opened().queries.dump(key)

    async def restore(self, dump: SessionDump) -> None:
        await self._opened().maintenance.restore(dump)

    async def dump_accounts(self, after: str, limit: int) -> Sequence[AccountRow]:
        return await self._opened().maintenance.dump_accounts(after, limit)

    async def restore_accounts(self, rows: Sequence[AccountRow]) -> None:
        await self._opened().maintenance.restore_accounts(rows)

    async def delete(
        self,
        key: SessionKey,
        at: float,
        *,
        reason: DeletionReason = "request",
        expected_seq: int | None = None,
    ) -> bool:
        return await self._opened().maintenance.delete(key, at, reason, expected_seq)

    async def purge(self, updated_before: float, at: float) -> int:
        return await self._opened().maintenance.purge(updated_before, at)

    async def purge_accounts(self, touched_before: float) -> int:
        return await self._opened().maintenance.purge_accounts(touched_before)

    async def writable(self) -> bool:
        name = f"{shared(self._url.prefix)}:probe"
        try:
            self._opened()
            await self.servers.call(name, "SET", name, 1, "EX", 60)
        except StoreUnavailable:
            return False
        return True

    def _opened(self) -> "_Open":
        if self._open is None:
            raise StoreUnavailable("the store is closed")
        return self._open


class _Open:
    """What an open store works with."""

    def __init__(self, servers: Servers, url: RedisUrl, secret: bytes, expiry: Expiry) -> None:
        self._servers = servers
        self.versions = Versions()
        refresh_seconds = min(url.expire_seconds / 10, _REFRESH_SECONDS)
        self.maker = Maker(Chain(secret), url.prefix, refresh_seconds, expiry)
        tips = Tips()
        self._replicas = Replicas(servers, url.replicas)
        self._windows = Windows(servers, expiry)
        self.queries = Queries(servers, tips)
        self.listings = Listings(servers, self.queries)
        tenants = Tenants(servers, expiry)
        self._shared = Shared(servers, tips, self._replicas, self._windows, tenants, expiry)
        self.maintenance = Maintenance(
            servers,
            self.queries,
            self.listings,
            self.maker,
            self.versions,
            self.put,
            expiry,
        )
        self._identity = Identity(servers, expiry, secret)
        self._lanes: dict[str, Lane] = {}
        self._watching: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        await self._identity.learn()
        await self._replicas.look()
        self._watching = asyncio.ensure_future(self._watch())

    async def end(self) -> None:
        for lane in list(self._lanes.values()):
            await lane.settled()
        await self._windows.settled()
        if self._watching is not None:
            self._watching.cancel()
        await self._servers.close()

    def put(self, job: Job) -> None:
        """One lane for all; in a cluster one for each tenant."""
        name = tag(self._servers.prefix, job.key.tenant) if self._servers.is_cluster else ""
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = Lane(self._shared)
        lane.put(job)

    async def sweep(self) -> None:
        tenants = await self.queries.tenants()
        await self._windows.sweep([self.queries.p(one) for one in tenants], _SWEEP_SECONDS)

    async def _watch(self) -> None:
        """Whether it is still the same ledger, and who has a copy."""
        for turn in count(1):
            await self._servers.clock.sleep(SHORT_SECONDS)
            is_due = turn % round(WATCH_SECONDS / SHORT_SECONDS) == 0
            try:
                if is_due:
                    await self._identity.check()
                if is_due or self._replicas.is_short:
                    await self._replicas.look()
            except StoreUnavailable as error:
                log.debug("Redis was not looked at: %s", error)
