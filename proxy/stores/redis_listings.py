"""Listings of sessions: each tenant keeps its own order, in indexes that each append moves on."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import islice

from proxy.core.session import SessionKey
from proxy.stores import DELETED, Queue, SessionRow
from proxy.stores.codec import decode_cursor, encode_cursor
from proxy.stores.redis_queries import Queries, raws
from proxy.stores.redis_requests import decode_tip
from proxy.stores.redis_servers import Servers
from proxy.stores.sessions import Listing

PAGE = 200
_NUMBER_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Listed:
    """A session where an index has it: by `updated`, then by `number`."""

    updated: float
    number: int
    row: SessionRow


class Listings:
    """Shared by all that list."""

    def __init__(self, servers: Servers, queries: Queries) -> None:
        self._servers = servers
        self._queries = queries

    async def list_sessions(self, listing: Listing) -> tuple[Sequence[SessionRow], str | None]:
        after = None if listing.cursor is None else decode_cursor(listing.cursor)
        limit = max(listing.limit, 1)
        tenants = await self._queries.tenants() if listing.tenant is None else [listing.tenant]
        pages = await asyncio.gather(
            *(self._newest(tenant, listing, after, limit + 1) for tenant in tenants)
        )
        found = sorted(
            (one for page in pages for one in page),
            key=lambda one: (one.updated, one.number),
            reverse=True,
        )
        page = found[:limit]
        more = encode_cursor(page[-1].updated, page[-1].number) if len(found) > limit else None
        return [one.row for one in page], more

    async def _newest(
        self, tenant: str, listing: Listing, after: tuple[float, int] | None, limit: int
    ) -> list[Listed]:
        p = self._queries.p(tenant)
        index = f"{p}:z"
        if listing.state is not None:
            index = f"{p}:z:s:{listing.state}"
        elif listing.agent is not None:
            index = f"{p}:z:a:{listing.agent}"
        found: list[Listed] = []
        most = "+inf" if after is None else after[0]
        async for one in self.walk(tenant, index, most=most):
            is_wanted = listing.agent in (None, one.row.head.agent)
            if is_wanted and (after is None or (one.updated, one.number) < after):
                found.append(one)
                if len(found) == limit:
                    break
        return found

    async def walk(
        self, tenant: str, index: str, *, most: float | str = "+inf", newest_first: bool = True
    ) -> AsyncIterator[Listed]:
        """The sessions of an index in its order, read page by page."""
        p, at = self._queries.p(tenant), 0
        bounds = (most, "-inf") if newest_first else ("-inf", most)
        command = "ZREVRANGEBYSCORE" if newest_first else "ZRANGEBYSCORE"
        while True:
            raw = raws(
                await self._servers.call(
                    index, command, index, *bounds, "WITHSCORES", "LIMIT", at, PAGE
                )
            )
            places = [
                (score, *placed(member)) for member, score in zip(raw[::2], raw[1::2], strict=True)
            ]
            names = [f"{p}:s:{session}" for _, _, session in places]
            tips = await self._servers.calls(index, [("GET", name) for name in names])
            for (score, number, session), one in zip(places, tips, strict=True):
                tip = decode_tip(one)
                if tip is not None:
                    row = SessionRow(SessionKey(tenant, session), tip.seq, tip.as_head())
                    yield Listed(float(score), number, row)
            if len(places) < PAGE:
                return
            at += PAGE

    async def list_queue(self, queue: Queue, limit: int) -> Sequence[SessionRow]:
        found: list[Listed] = []
        for tenant in await self._queries.tenants():
            index = f"{self._queries.p(tenant)}:{'q' if queue == 'open' else 'w'}"
            walk = self.walk(tenant, index, newest_first=False)
            found += [one async for one in _first(walk, limit)]
        found.sort(key=lambda one: (one.updated, one.number))
        return [one.row for one in islice(found, limit)]

    async def list_idle(
        self, updated_before: float, limit: int, states: Sequence[str]
    ) -> Sequence[SessionKey]:
        found: list[SessionKey] = []
        for tenant in await self._queries.tenants():
            p = self._queries.p(tenant)
            for state in states:
                walk = self.walk(
                    tenant, f"{p}:z:s:{state}", most=f"({updated_before!r}", newest_first=False
                )
                async for one in walk:
                    if len(found) == limit:
                        return found
                    held = f"{p}:h:{one.row.key.session}"
                    if not await self._servers.call(held, "EXISTS", held):
                        found.append(one.row.key)
        return found

    async def sessions(self, tenant: str) -> list[str]:
        """All of a tenant, deleted ones too."""
        p = self._queries.p(tenant)
        found: set[str] = set()
        for index in (f"{p}:z", f"{p}:z:s:{DELETED}"):
            members = raws(await self._servers.call(index, "ZRANGE", index, 0, -1))
            found.update(placed(member)[1] for member in members)
        return sorted(found)


def placed(member: bytes) -> tuple[int, str]:
    """The number and the id that stand in an index."""
    return int(member[:_NUMBER_DIGITS]), member[_NUMBER_DIGITS:].decode()


async def _first(walk: AsyncIterator[Listed], limit: int) -> AsyncIterator[Listed]:
    count = 0
    async for one in walk:
        if count == limit:
            return
        count += 1
        yield one
