"""One append of a cluster that is charged in another slot too: see `redis_windows`."""

import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

import msgspec
from msgspec.structs import replace

from proxy.errors import StoreUnavailable
from proxy.stores.redis_jobs import AppendJob, Job
from proxy.stores.redis_keys import account_key, tag
from proxy.stores.redis_requests import Movement, Request, Writing, listed
from proxy.stores.redis_servers import Servers
from proxy.stores.redis_windows import Windows, freed, split

log = logging.getLogger(__name__)

Result = list[object]
Ran = tuple[list[Result], StoreUnavailable | None]
"""What a script answered to each request, and what to say if no replica has it."""


def is_charged_elsewhere(job: Job, prefix: str) -> bool:
    """Whether it charges an account that is not in the slot of its session's tenant."""
    if not isinstance(job, AppendJob):
        return False
    own = f"{tag(prefix, job.key.tenant)}:"
    charges = job.prepared.append.charges
    return any(not account_key(prefix, one.account).startswith(own) for one in charges)


class Claiming:
    """run: the script of appends."""

    def __init__(
        self,
        servers: Servers,
        windows: Windows,
        run: Callable[[Sequence[Request]], Awaitable[Ran]],
    ) -> None:
        self._servers = servers
        self._windows = windows
        self._run = run

    async def write(self, writing: Writing) -> tuple[Request, Result, StoreUnavailable | None]:
        """Claims, writes, and gives the claim back where it was not written. Returns the request as
        it was written, what the script answered, and what to say if no replica has it. Raises
        StoreUnavailable."""
        request, elsewhere = split(writing.request)
        if not elsewhere.checks:
            return await self._written(request)
        claim, frees = secrets.token_hex(16), await self._frees(request)
        place = await self._windows.claim(claim, request, elsewhere, frees)
        if place:
            return await self._written(replace(request, exceeded=place))
        claimed, result, unconfirmed = await self._written(
            replace(request, claim=claim, frees=listed(frees))
        )
        if result[0] != b"ok":
            with suppress(StoreUnavailable):  # a sweep does it
                await self._windows.undo(claim)
        return claimed, result, unconfirmed

    async def carry_out(self, p: str, said: Sequence[object]) -> None:
        """What an append that was written sent elsewhere, as the script told it. It is written: if
        this fails, whoever sweeps or appends next does it."""
        entry, *again = said
        try:
            if isinstance(entry, bytes):
                await self._windows.carry_out(p, entry)
            elif again:
                await self._windows.drain(p)
        except StoreUnavailable as error:
            log.warning("what was charged above a tenant is booked later: %s", error)

    async def _written(self, request: Request) -> tuple[Request, Result, StoreUnavailable | None]:
        results, unconfirmed = await self._run([request])
        return request, results[0], unconfirmed

    async def _frees(self, request: Request) -> Mapping[str, Movement]:
        if not request.closes:
            return {}
        key = f"{request.p}:h:{request.session}"
        raw = await self._servers.call(key, "HMGET", key, *dict.fromkeys(request.closes))
        assert isinstance(raw, list)
        holds = [msgspec.msgpack.decode(one, strict=False) for one in raw if one]
        return freed(holds, request)
