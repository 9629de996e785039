"""The admin port until somebody comes: it listens at once, and what serves it is loaded then.

aiohttp takes 11 MB and a third of the time until ready. Where nobody asks, neither is spent; the
first who does waits in the socket's backlog until it is there.
"""

import asyncio
import importlib
import logging
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, cast

from proxy.admin.crew import Crew
from proxy.config.watch import PolicyWatcher
from proxy.control import Control
from proxy.tasks import Tasks

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Site:
    """What the admin port shows and commands. hosts: lower-case names that it may be reached by."""

    control: Control
    watcher: PolicyWatcher
    crew: Crew
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
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Task[Serving | None] | None = None
        listening.setblocking(False)
        self._loop.add_reader(listening, self._knocked)

    async def close(self) -> None:
        """Ends what serves, or stops to listen where nobody has come. A second time it does
        nothing."""
        if self._opened is None:
            self._shut()
        elif (serving := await self._opened) is not None:
            await serving.close()

    def _knocked(self) -> None:
        self._loop.remove_reader(self._listening)
        self._opened = self._tasks.run(self._open(), "open the admin port")

    async def _open(self) -> Serving | None:
        """None where it cannot be served: who knocks is turned away, and calls go on."""
        try:
            server = await asyncio.to_thread(importlib.import_module, "proxy.admin.server")
            return cast(Serving, await server.start(self._site, self._listening))
        except Exception:  # a half-replaced installation raises anything
            log.exception("the admin port cannot be served; restart to open it")
            self._shut()
            return None

    def _shut(self) -> None:
        if self._listening.fileno() >= 0:
            self._loop.remove_reader(self._listening)
            self._listening.close()


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
