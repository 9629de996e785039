"""From a host's name to a connection: look-ups are shared and kept, addresses raced.

Addresses are tried in the system's order, families alternating, each 0.25 s after the one before or
as soon as that has failed (RFC 8305, section 5): a machine whose IPv6 leads nowhere loses a quarter
of a second, not the whole time to connect.
"""

import asyncio
import ipaddress
import itertools
import socket
from collections.abc import Callable, Sequence
from typing import Final

_HEAD_START_SECONDS: Final = 0.25
_KEPT_SECONDS: Final = 10.0

Make = Callable[[], asyncio.Protocol]
Lookup = asyncio.Task[Sequence[str]]
Attempt = asyncio.Task[asyncio.Transport]


class Addresses:
    """Finds the addresses of hosts. Look-ups of one name at one time are one look-up: a burst of
    calls would queue for the few threads that do them."""

    def __init__(self) -> None:
        self._lookups: dict[str, tuple[float, Lookup]] = {}

    async def of(self, host: str) -> Sequence[str]:
        """At least one, as digits, in the order to try them. Raises OSError and UnicodeError."""
        if _is_digits(host):
            return (host,)
        loop = asyncio.get_running_loop()
        until, lookup = self._lookups.get(host, (0.0, None))
        if lookup is None or until < loop.time() or _has_failed(lookup):
            lookup = loop.create_task(_found(host))
            lookup.add_done_callback(_has_failed)  # looks at the error, should nobody else
            self._lookups[host] = (loop.time() + _KEPT_SECONDS, lookup)
        return await asyncio.shield(lookup)

    async def close(self) -> None:
        """Ends the look-ups that are under way."""
        lookups = [lookup for _, lookup in self._lookups.values()]
        for lookup in lookups:
            lookup.cancel()
        await asyncio.gather(*lookups, return_exceptions=True)


async def race(addresses: Sequence[str], port: int, make: Make) -> asyncio.Transport:
    """A connection to the first address that takes one. Raises OSError, that of the last."""
    loop = asyncio.get_running_loop()
    rest = list(addresses)
    attempts: list[Attempt] = []
    running: set[Attempt] = set()
    try:
        while rest or running:
            if rest:
                attempts.append(loop.create_task(_connected(rest.pop(0), port, make)))
                running.add(attempts[-1])
            patience = _HEAD_START_SECONDS if rest else None
            done, running = await asyncio.wait(
                running, timeout=patience, return_when=asyncio.FIRST_COMPLETED
            )
            if winner := next(filter(_succeeded, done), None):
                attempts.remove(winner)
                return winner.result()
        return attempts[-1].result()
    finally:
        for attempt in attempts:
            attempt.cancel()
        await asyncio.gather(*attempts, return_exceptions=True)
        for attempt in filter(_succeeded, attempts):  # two in one turn of the loop
            attempt.result().abort()


async def _connected(address: str, port: int, make: Make) -> asyncio.Transport:
    return (await asyncio.get_running_loop().create_connection(make, address, port))[0]


async def _found(host: str) -> Sequence[str]:
    loop = asyncio.get_running_loop()
    families: dict[int, list[str]] = {}
    for family, _, _, _, where in await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM):
        address, _ = socket.getnameinfo(where, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
        families.setdefault(family, []).append(address)
    turns = itertools.zip_longest(*families.values())
    return [address for turn in turns for address in turn if address is not None]


def _is_digits(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _succeeded(attempt: Attempt) -> bool:
    return attempt.done() and not _has_failed(attempt)


def _has_failed(task: Lookup | Attempt) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
