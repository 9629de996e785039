"""The servers behind one URL: which of them has a key, and one connection to each.

A request is asked again, until patience is at its end, where the server did nothing (it loads, it
is a replica, the slot has moved, it does not know the script) and where the connection broke. There
it may have been carried out: what is asked here is safe to ask twice. Patience is the URL's
`timeout`: within the three seconds that it is by default, restarts and most failovers are over.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from proxy.clock import Clock, SystemClock
from proxy.errors import StoreUnavailable
from proxy.stores.redis_connection import Command, Connection, Login, Reply, Word
from proxy.stores.redis_connection import connect as dial
from proxy.stores.redis_errors import PASSING, Lost, ServerError, unavailable
from proxy.stores.redis_listener import Listener, OnConnected, OnMessage
from proxy.stores.redis_nodes import Nodes, nodes_of, slot_of
from proxy.stores.redis_scripts import Script
from proxy.stores.redis_url import Address, RedisUrl, parse_url

log = logging.getLogger(__name__)

_PROMPT_TRIES = 5
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.01, 0.25
_PROBLEMS = (Lost, ServerError, OSError, TimeoutError, StoreUnavailable)

Greet = Callable[[Connection], Awaitable[None]]
Make = Callable[[int], Sequence[Command]]
"""The commands of the n-th attempt (from 0): a script may look first whether it ran already."""


class Servers:
    """Shared by everything of a process that talks to one Redis, on one event loop.

    greet: asked of each new connection before it is used; raises StoreUnavailable."""

    def __init__(self, url: RedisUrl | str, clock: Clock | None = None) -> None:
        self.url = url if isinstance(url, RedisUrl) else parse_url(url)
        self.clock = clock or SystemClock()
        self.greet: Greet | None = None
        self._login = Login(
            self.url.username,
            self.url.password,
            self.url.database,
            self.url.timeout_seconds,
            self.url.context(),
        )
        self._nodes: Nodes = nodes_of(self.url, self._login)
        self._connections: dict[Address, Connection] = {}
        self._dialing: dict[Address, asyncio.Task[Connection]] = {}
        self._listeners: set[Listener] = set()
        self._scripts: dict[str, Script] = {}
        self._failing_since: float | None = None
        self._is_open = False

    @property
    def prefix(self) -> str:
        """What all keys begin with."""
        return self.url.prefix

    @property
    def is_cluster(self) -> bool:
        return self.url.kind == "cluster"

    async def open(self) -> None:
        """Raises StoreUnavailable where no server can be reached."""
        self._is_open = True
        await self.call(f"{self.prefix}:{{*}}", "PING")

    async def close(self) -> None:
        """What is under way fails."""
        self._is_open = False
        for listener in list(self._listeners):
            listener.close()
        for dialing in list(self._dialing.values()):
            dialing.cancel()
        self.drop_connections("the store is closed")

    async def call(self, key: str | bytes, *command: Word) -> Reply:
        """The answer of the server that has the key. Raises StoreUnavailable."""
        return (await self.exchange(key, lambda _: (command,)))[0]

    async def calls(self, key: str | bytes, commands: Sequence[Command]) -> list[Reply]:
        """The answers to commands on keys of one slot, sent together."""
        return await self.exchange(key, lambda _: commands) if commands else []

    async def each(self, commands: Sequence[tuple[str, Command]]) -> list[Reply]:
        """The answers to commands on keys in any slots, each with its key."""
        if not self.is_cluster:
            return (
                await self.calls(commands[0][0], [one for _, one in commands]) if commands else []
            )
        return [*await asyncio.gather(*(self.call(key, *one) for key, one in commands))]

    async def get_all(self, keys: Sequence[str]) -> list[Reply]:
        """What is at each of them, whatever slots they lie in."""
        slots: dict[int, list[str]] = {}
        for key in dict.fromkeys(keys):
            slots.setdefault(slot_of(key) if self.is_cluster else 0, []).append(key)
        answers = await asyncio.gather(
            *(self.call(some[0], "MGET", *some) for some in slots.values())
        )
        found: dict[str, Reply] = {}
        for some, answer in zip(slots.values(), answers, strict=True):
            assert isinstance(answer, list)
            found.update(zip(some, answer, strict=True))
        return [found[key] for key in keys]

    async def evaluate(self, script: Script, key: str | bytes, *arguments: Word) -> Reply:
        """What the script answers; it must be safe to run twice."""
        self.know(script)
        return await self.call(key, "EVALSHA", script.sha, 1, key, *arguments)

    def know(self, script: Script) -> None:
        """Makes a script one of those that servers are taught."""
        self._scripts.setdefault(script.sha, script)

    async def publish(self, channel: str, data: bytes) -> None:
        await self.call(f"{self.prefix}:{{*}}", "PUBLISH", channel, data)

    def listen(
        self, channels: Sequence[str], on_message: OnMessage, on_connected: OnConnected
    ) -> Listener:
        """Hears what is published, on a connection of its own that heals itself. on_connected: each
        time it is subscribed anew; what was published meanwhile went unheard."""
        listener = Listener(
            self._primary, self._login, channels, on_message, on_connected, self.clock
        )
        self._listeners.add(listener)
        listener.start(self._listeners.discard)
        return listener

    def drop_connections(self, why: str) -> None:
        """They are made anew when they are needed."""
        for connection in self._connections.values():
            connection.close(why)
        self._connections.clear()

    async def primaries(self) -> Sequence[Address]:
        """All that have keys."""
        try:
            return await self._nodes.primaries()
        except _PROBLEMS as problem:
            raise unavailable(self.url.shown, problem) from problem

    async def ask_primary(self, address: Address, *command: Word) -> Reply:
        """What this server answers, error or not; asked once. Raises StoreUnavailable."""
        try:
            return (await (await self._connection(address)).request(command))[0]
        except _PROBLEMS as problem:
            raise unavailable(self.url.shown, problem) from problem

    async def exchange(self, key: str | bytes, make: Make) -> list[Reply]:
        """The answers of the server that has the key to all commands. Raises StoreUnavailable."""
        loop, attempt, pause = asyncio.get_running_loop(), 0, _FIRST_PAUSE_SECONDS
        asked_at = loop.time()
        patience = self.url.timeout_seconds
        if self._failing_since is not None:  # everybody has waited for it once
            patience = max(0.0, self._failing_since + patience - asked_at)
        asking: Address | None = None
        while True:
            answered, problem = await self._try(key, make(attempt), asking)
            if problem is None:
                self._works()
                return answered
            asking = self._nodes.redirect(key, problem)
            attempt += 1
            if asking is not None or (_is_prompt(problem) and attempt <= _PROMPT_TRIES):
                continue
            if not self._may_pass(problem) or loop.time() - asked_at >= patience:
                raise self._fails(problem, asked_at)
            if attempt > 1:
                await self.clock.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _try(
        self, key: str | bytes, commands: Sequence[Command], asking: Address | None
    ) -> tuple[list[Reply], Exception | None]:
        if not self._is_open:
            raise StoreUnavailable("the store is closed")
        try:
            answered = await self._ask(key, commands, asking)
        except _PROBLEMS as problem:
            return [], problem
        return answered, next((one for one in answered if isinstance(one, ServerError)), None)

    async def _ask(
        self, key: str | bytes, commands: Sequence[Command], asking: Address | None
    ) -> list[Reply]:
        connection = await self._connection(asking or await self._nodes.address_of(key))
        if asking is not None:
            commands = [word for command in commands for word in (("ASKING",), command)]
            return (await connection.request(*commands))[1::2]
        answered = await connection.request(*commands)
        codes = {one.code for one in answered if isinstance(one, ServerError)}
        if "NOSCRIPT" in codes:
            known = [("SCRIPT", "LOAD", one.text) for one in self._scripts.values()]
            taught = await connection.request(*known)
            # Where it may not be taught, that is what is wrong.
            answered = [*(one for one in taught if isinstance(one, ServerError)), *answered]
        if "READONLY" in codes:
            connection.close("it is a replica now")
        return answered

    async def _primary(self) -> Address:
        return await self._nodes.address_of(f"{self.prefix}:{{*}}")

    async def _connection(self, address: Address) -> Connection:
        connection = self._connections.get(address)
        if connection is not None and connection.is_open:
            return connection
        dialing = self._dialing.get(address)
        if dialing is None:
            dialing = self._dialing[address] = asyncio.ensure_future(self._dial(address))
            dialing.add_done_callback(lambda done: self._dialed(address, done))
        return await asyncio.shield(dialing)

    async def _dial(self, address: Address) -> Connection:
        connection = await dial(address, self._login)
        try:
            if self._scripts:
                known = [("SCRIPT", "LOAD", one.text) for one in self._scripts.values()]
                await connection.request(*known)
            if self.greet is not None:
                await self.greet(connection)
        except BaseException:
            connection.close()
            raise
        self._connections[address] = connection
        return connection

    def _dialed(self, address: Address, done: "asyncio.Task[Connection]") -> None:
        self._dialing.pop(address, None)
        if not done.cancelled():
            done.exception()  # told to those who waited

    def _may_pass(self, problem: Exception) -> bool:
        if isinstance(problem, ServerError):
            return problem.code in PASSING or "non local key" in str(problem)
        return not isinstance(problem, StoreUnavailable)

    def _fails(self, problem: Exception, asked_at: float) -> StoreUnavailable:
        error = unavailable(self.url.shown, problem)
        if self._may_pass(problem) and self._failing_since is None:
            log.warning("%s", error)
            self._failing_since = asked_at
        return error

    def _works(self) -> None:
        if self._failing_since is not None:
            self._failing_since = None
            log.info("Redis (%s) answers again", self.url.shown)


def _is_prompt(problem: Exception) -> bool:
    """Whether to ask again is of use at once, however long the server was away before."""
    return isinstance(problem, ServerError) and problem.code in ("NOSCRIPT", "MOVED")
