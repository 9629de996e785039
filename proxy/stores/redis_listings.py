"""Listings of sessions: each tenant keeps its own order, in indexes that each append moves on."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from heapq import nlargest
from itertools import islice
from typing import NamedTuple

from proxy.core.session import SessionKey
from proxy.stores import DELETED, Queue, SessionRow
from proxy.stores.codec import decode_cursor, encode_cursor
from proxy.stores.redis_queries import Queries, raws
from proxy.stores.redis_requests import decode_tip
from proxy.stores.redis_servers import Servers
from proxy.stores.sessions import Listing

PAGE = 200
_NUMBER_DIGITS = 16

At = tuple[float, int]
"""When a session was updated, and its number: the order of a listing."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A session where an index has it: by `updated`, then by `number`."""

    updated: float
    number: int
    row: SessionRow


class Place(NamedTuple):
    """A session where an index has it."""

    updated: float
    number: int
    key: SessionKey


class Listings:
    """Shared by all that list."""

    def __init__(self, servers: Servers, queries: Queries) -> None:
        self._servers = servers
        self._queries = queries

    async def list_sessions(self, listing: Listing) -> tuple[Sequence[SessionRow], str | None]:
        """Of many tenants only those are asked for places whose newest session may be on the page,
        and only for such; what is shown is read of the page alone."""
        after = None if listing.cursor is None else decode_cursor(listing.cursor)
        limit = max(listing.limit, 1)
        tenants = await self._queries.tenants() if listing.tenant is None else [listing.tenant]
        if listing.state is not None and listing.agent is not None:
            found = await self._of_both(tenants, listing, after, limit + 1)
        else:
            found = await self._newest(tenants, listing, after, limit + 1)
        page = found[:limit]
        more = encode_cursor(page[-1].updated, page[-1].number) if len(found) > limit else None
        names = [self._tip_of(one.key) for one in page]
        tips = map(decode_tip, await self._servers.get_all(names))
        rows = [
            SessionRow(place.key, tip.seq, tip.as_head())
            for place, tip in zip(page, tips, strict=True)
            if tip is not None
        ]
        return rows, more

    async def _newest(
        self, tenants: Sequence[str], listing: Listing, after: At | None, limit: int
    ) -> list[Place]:
        least = "-inf"
        if len(tenants) > 1:
            heads = await self._places(tenants, listing, after, 1)
            heads = nlargest(limit, heads, key=_at)
            tenants = [*dict.fromkeys([head.key.tenant for head in heads])]
            # So many are newer than each tenant's newest: none of those before is on the page.
            least = repr(heads[-1].updated) if len(heads) == limit else "-inf"
        return nlargest(limit, await self._places(tenants, listing, after, limit, least), key=_at)

    async def _places(
        self,
        tenants: Sequence[str],
        listing: Listing,
        after: At | None,
        limit: int,
        least: str = "-inf",
    ) -> list[Place]:
        """So many of each tenant, in no order."""
        most = "+inf" if after is None else repr(after[0])
        found: list[Place] = []
        at, short = 0, [*tenants]
        count = limit
        while short:
            commands = [
                ("ZREVRANGEBYSCORE", _index(self._queries.p(tenant), listing), most, least,
                 "WITHSCORES", "LIMIT", at, count)
                for tenant in short
            ]  # fmt: skip
            answers = await self._servers.each([(one[1], one) for one in commands])
            again = []
            for tenant, answer in zip(short, answers, strict=True):
                places = list(_read_places(tenant, raws(answer)))
                wanted = [one for one in places if after is None or _at(one) < after]
                found += wanted
                if len(places) == count and len(wanted) < limit:
                    again.append(tenant)  # others of the same moment are on the page before
            at, count, short = at + count, PAGE, again
        return found

    async def _of_both(
        self, tenants: Sequence[str], listing: Listing, after: At | None, limit: int
    ) -> list[Place]:
        """Of a state and an agent."""
        of_tenant = self._deleted_of if listing.state == DELETED else self._in_both
        pages = await asyncio.gather(*(of_tenant(one, listing, after, limit) for one in tenants))
        return nlargest(limit, [one for page in pages for one in page], key=_at)

    async def _in_both(
        self, tenant: str, listing: Listing, after: At | None, limit: int
    ) -> list[Place]:
        """From the smaller of both indexes, those that the other one has too."""
        p, at = self._queries.p(tenant), 0
        names = (f"{p}:z:s:{listing.state}", f"{p}:z:a:{listing.agent}")
        sizes = await self._servers.calls(p, [("ZCARD", name) for name in names])
        small, large = names if sizes[0] < sizes[1] else names[::-1]  # type: ignore[operator]  # both are numbers
        found: list[Place] = []
        most = "+inf" if after is None else repr(after[0])
        while len(found) < limit:
            asked = ("ZREVRANGEBYSCORE", small, most, "-inf", "WITHSCORES", "LIMIT", at, PAGE)
            raw = raws(await self._servers.call(small, *asked))
            if not raw:
                break
            scores = await self._servers.call(large, "ZMSCORE", large, *raw[::2])
            assert isinstance(scores, list)
            found += [
                place
                for place, score in zip(_read_places(tenant, raw), scores, strict=True)
                if score is not None and (after is None or _at(place) < after)
            ]
            at += PAGE
        return found[:limit]

    async def _deleted_of(
        self, tenant: str, listing: Listing, after: At | None, limit: int
    ) -> list[Place]:
        """No index has them by their agent: they are looked at one by one."""
        found: list[Place] = []
        most = "+inf" if after is None else after[0]
        async for one in self.walk(tenant, f"{self._queries.p(tenant)}:z:s:{DELETED}", most=most):
            is_wanted = listing.agent == one.row.head.agent
            if is_wanted and (after is None or (one.updated, one.number) < after):
                found.append(Place(one.updated, one.number, one.row.key))
                if len(found) == limit:
                    break
        return found

    def _tip_of(self, key: SessionKey) -> str:
        return f"{self._queries.p(key.tenant)}:s:{key.session}"

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


def _at(place: Place) -> At:
    return place.updated, place.number


def _index(p: str, listing: Listing) -> str:
    if listing.state is not None:
        return f"{p}:z:s:{listing.state}"
    return f"{p}:z" if listing.agent is None else f"{p}:z:a:{listing.agent}"


def _read_places(tenant: str, raw: Sequence[bytes]) -> Iterator[Place]:
    for member, score in zip(raw[::2], raw[1::2], strict=True):
        number, session = placed(member)
        yield Place(float(score), number, SessionKey(tenant, session))


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
