"""The admin port: it listens at once, and what serves it is loaded beside the first calls.

aiohttp takes a third of the time until ready, and calls need none of it. Who comes before it is
there waits in the socket's backlog. Loading it for the first who asks would save 11 MB where nobody
does, but the first may be a kill, which has 100 ms.
"""

import asyncio
import importlib
import logging
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, cast

from proxy.admin.crew import Crew
from proxy.breakers.registry import Breakers
from proxy.checkpoints import Records
from proxy.config.watch import PolicyWatcher
from proxy.control import Control
from proxy.human import Human
from proxy.tasks import Tasks

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Site:
    """What the admin port shows and commands. hosts: lower-case names that it may be reached by."""

    control: Control
    human: Human
    records: Records
    watcher: PolicyWatcher
    crew: Crew
    breakers: Breakers
    readiness: Callable[[], tuple[bool, str]]
    token: str = field(repr=False)
    hosts: frozenset[str] = frozenset({"localhost"})


class Serving(Protocol):
    """What answers on the port."""

    async def close(self) -> None: ...


class Door:
    """Belongs to one event loop. Takes the listening socket over."""

    def __init__(self, listening: socket.socket, site: Site, tasks: Tasks) -> None:
        self.port: int = listening.getsockname()[1]
        self._listening = listening
        self._site = site
        self._opened = tasks.run(self._open(), "open the admin port")

    async def close(self) -> None:
        """Ends what serves. A second time it does nothing."""
        if (serving := await self._opened) is not None:
            await serving.close()

    async def _open(self) -> Serving | None:
        """None where it cannot be served: who knocks is turned away, and calls go on."""
        try:
            server = await asyncio.to_thread(importlib.import_module, "proxy.admin.server")
            return cast(Serving, await server.start(self._site, self._listening))
        except Exception:  # a half-replaced installation raises anything
            log.exception("the admin port cannot be served; restart to open it")
            self._listening.close()
            return None


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, whose port is known before who may use it; 0 takes a free one.

    Raises OSError.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


def own_hosts(env: Mapping[str, str]) -> frozenset[str]:
    """The names of the admin port: `localhost`, and those of HOLDFAST_ADMIN_HOSTS."""
    given = env.get("HOLDFAST_ADMIN_HOSTS", "").lower().split(",")
    return frozenset({"localhost", *(name.strip() for name in given)}) - {""}
