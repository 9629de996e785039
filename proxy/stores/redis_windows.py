"""Budgets above tenants in a cluster: their accounts lie in another slot than the sessions.

No script can touch both, so what an append moves there is done around it. What has a maximum is
claimed first, and a claim that finds no room refuses the append before anything is written. The
append then writes, in the tenant's slot and at once, its events and an entry of what is still to be
carried out: the rest of its movements, and that the claim has become true. The entries are carried
out in their order, each once, by whoever comes first. A claim whose append never came (a process
died in between) is fenced off and given back by `sweep`. So at every moment what is on an account
is at least what is in the logs, and after a sweep it is just that.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress

import msgspec
from msgspec.structs import replace

from proxy.errors import StoreUnavailable
from proxy.stores.redis_connection import Reply
from proxy.stores.redis_expiry import Expiry
from proxy.stores.redis_keys import account_name, shared
from proxy.stores.redis_requests import MOST, Movement, Request, pack
from proxy.stores.redis_scripts import script
from proxy.stores.redis_servers import Servers

CLAIM_SECONDS = 60.0
"""A claim as old as this has lost its process: an append takes milliseconds."""

_VOID_SECONDS = 86_400
_NOTHING: Movement = (0, 0, 0, 0, 0, 0, 0)
_ENTRIES = 128
_decode = msgspec.msgpack.Decoder(
    tuple[str, float, Mapping[str, Movement], object], strict=False
).decode


class Elsewhere(msgspec.Struct, frozen=True, gc=False):
    """What of a request's charges lies in another slot. claimed: what has a maximum, as far as it
    adds; rest: all else. checks: of each with a maximum its place, account, and maximum."""

    claimed: Mapping[str, Movement]
    rest: Mapping[str, Movement]
    all: Mapping[str, Movement]
    checks: Sequence[tuple[int, str, tuple[int | None, ...]]]


def split(request: Request) -> tuple[Request, Elsewhere]:
    """The request with what it charges in its own slot, and what it charges elsewhere."""
    charges = []
    claimed: dict[str, Movement] = {}
    rest: dict[str, Movement] = {}
    everything: dict[str, Movement] = {}
    checks: list[tuple[int, str, tuple[int | None, ...]]] = []
    for n, (key, movement, most) in enumerate(request.charges, start=1):
        if key is None or key.startswith(f"{request.p}:"):
            charges.append((key, movement, most))
            continue
        _known_to_all(key)
        charges.append((None, _NOTHING, None))
        _add(everything, key, movement)
        if most is None and max(map(abs, movement)) < MOST:
            _add(rest, key, movement)
            continue
        checks.append((n, key, most or (None, None, None, None)))
        _add(claimed, key, _part(movement, most=True))
        _add(rest, key, _part(movement, most=False))
    there = {key: movement for key, movement in rest.items() if any(movement)}
    elsewhere = Elsewhere(claimed, there, everything, checks)
    return replace(request, charges=charges, there=there or None), elsewhere


def _known_to_all(key: str) -> None:
    if "{*}" not in key:
        raise StoreUnavailable(
            f"{account_name(key)!r} is an account of another tenant: in a cluster an append may "
            "charge those of its own tenant, and those of none"
        )


def _part(movement: Movement, *, most: bool) -> Movement:
    """What of it adds, or what takes away."""
    a, b, c, d, e, f, g = (max(n, 0) if most else min(n, 0) for n in movement)
    return a, b, c, d, e, f, g


def _add(to: dict[str, Movement], key: str, movement: Movement) -> None:
    a, b, c, d, e, f, g = (x + y for x, y in zip(to.get(key, _NOTHING), movement, strict=True))
    to[key] = a, b, c, d, e, f, g


def freed(holds: Sequence[Sequence[object]], request: Request) -> Mapping[str, Movement]:
    """What closing these holds moves on accounts in other slots, as the script works it out."""
    moved: dict[str, Movement] = {}
    for _, _, cost, accounts, tokens, trees in holds:
        assert isinstance(cost, int)
        assert isinstance(tokens, int)
        for key in _elsewhere(accounts, request):
            _add(moved, key, (request.spent, -cost, 0, 0, 0, 0, 0))
        counts = request.counts
        for key in _elsewhere(trees, request):
            more = (counts[0], counts[1] - tokens, counts[2], counts[3], counts[4] - 1)
            _add(moved, key, (request.spent, -cost, *more))
    return moved


def _elsewhere(keys: object, request: Request) -> Sequence[str]:
    assert isinstance(keys, Sequence)
    return [str(key) for key in keys if not str(key).startswith(f"{request.p}:")]


class Windows:
    """Shared by all lanes of a store."""

    def __init__(self, servers: Servers, expiry: Expiry) -> None:
        self._servers = servers
        self._expiry = expiry
        self._p = shared(servers.prefix)
        self._tasks: set[asyncio.Future[None]] = set()
        self._swept_at = float("-inf")

    async def claim(
        self, claim: str, request: Request, elsewhere: Elsewhere, frees: Mapping[str, Movement]
    ) -> int:
        """The place of the first charge that there is no room for; 0 if there is."""
        after = dict(elsewhere.all)
        for key, movement in frees.items():
            _add(after, key, movement)
        checks = [(n, key, after[key], most) for n, key, most in elsewhere.checks]
        now = self._servers.clock.now()
        what = pack((request.p, now, elsewhere.claimed, checks, request.updated))
        place = await self._do("claim", claim, what)
        assert isinstance(place, int)
        return place

    async def undo(self, claim: str) -> None:
        await self._do("undo", claim)

    async def carry_out(self, p: str, entry: bytes) -> None:
        """What an append of this tenant has sent; all before it too, where those are missing."""
        last = await self._do("apply", p, entry)
        assert isinstance(last, int)
        if last < _number(entry):
            await self.drain(p)
        else:
            self._later(self._trim(p, last))

    async def drain(self, p: str) -> None:
        """Carries out all that this tenant has sent."""
        while True:
            entries = await self._servers.call(f"{p}:o", "LRANGE", f"{p}:o", 0, _ENTRIES - 1)
            assert isinstance(entries, list)
            if not entries:
                return
            last = await self._do("apply", p, *entries)
            assert isinstance(last, int)
            if last < _number(entries[0]):
                raise StoreUnavailable(
                    f"entries of {p}:o follow none that were carried out: the cluster has lost "
                    "writes of this tenant, or of the shared accounts (docs/fleet.md)"
                )
            await self._trim(p, last)

    async def sweep(self, tags: Sequence[str], every_seconds: float) -> None:
        """Carries out what is left over and gives back claims that came to nothing."""
        now = self._servers.clock.now()
        if now - self._swept_at < every_seconds:
            return
        self._swept_at = now
        for p in tags:
            await self.drain(p)
        raw = await self._servers.call(f"{self._p}:p", "HGETALL", f"{self._p}:p")
        assert isinstance(raw, list)
        for claim, value in zip(raw[::2], raw[1::2], strict=True):
            p, at, *_ = _decode(value)
            if now - at > CLAIM_SECONDS:
                await self._give_back(p, claim.decode(), now)

    async def _give_back(self, p: str, claim: str, now: float) -> None:
        """After the fence its append is refused; one that came before it is in the entries."""
        fence = f"{p}:v"
        await self._servers.calls(
            fence,
            [
                ("ZADD", fence, now, claim),
                ("ZREMRANGEBYSCORE", fence, "-inf", now - _VOID_SECONDS),
                ("EXPIRE", fence, self._expiry.seconds),
            ],
        )
        await self.drain(p)
        await self.undo(claim)

    async def _trim(self, p: str, last: int) -> None:
        await self._servers.evaluate(script("trim"), f"{p}:o", last)

    def _later(self, work: Coroutine[None, None, object]) -> None:
        task = asyncio.ensure_future(_quietly(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settled(self) -> None:
        """When nothing is left to be tidied up."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _do(self, what: str, *arguments: bytes | str) -> Reply:
        windows = script("windows")
        self._servers.know(windows)
        keys = (f"{self._p}:p", f"{self._p}:a")
        command = ("EVALSHA", windows.sha, 2, *keys, what, self._expiry.seconds, *arguments)
        return await self._servers.call(self._p, *command)


def _number(entry: bytes) -> int:
    number = msgspec.msgpack.decode(entry, strict=False)[0]
    assert isinstance(number, int)
    return number


async def _quietly(work: Coroutine[None, None, object]) -> None:
    """What is left is done by the next sweep."""
    with suppress(StoreUnavailable):
        await work
