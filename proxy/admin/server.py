"""The admin port's routes and its server."""

import asyncio
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from proxy.admin.crew import Crew
from proxy.admin.guard import Guard
from proxy.admin.openapi import DOCUMENT
from proxy.admin.replies import Reply, json_reply, refusal, text_reply
from proxy.admin.routes import Asked, Route, Routes
from proxy.admin.shapes import event_json, policy_json, row_json, session_json, timestamp
from proxy.config.watch import PolicyWatcher
from proxy.control import Control
from proxy.core.policy import Caller, limits_for
from proxy.core.session import SessionKey, SessionState
from proxy.errors import MalformedRequest
from proxy.wire.server import Server, serve

_BODY_BYTES = 65_536
_MOST_LISTED = 1_000
_HEARTBEAT_SECONDS = 15.0
STATES = ("active", "warned", "paused", "awaiting_human", "killed", "finished")


@dataclass(frozen=True, slots=True)
class AdminSite:
    """Handlers of the admin API. hosts: lower-case names under which the port may be reached."""

    control: Control
    watcher: PolicyWatcher
    crew: Crew
    readiness: Callable[[], tuple[bool, str]]
    token: str = field(repr=False)
    hosts: frozenset[str] = frozenset({"localhost"})

    def routes(self) -> tuple[Route, ...]:
        """Who answers what."""
        one = "/api/v1/sessions/{session}"
        return (
            ("GET", "/healthz", self.healthz),
            ("GET", "/readyz", self.readyz),
            ("GET", "/metrics", self.prometheus),
            ("GET", "/api/v1/openapi.json", self.openapi),
            ("GET", "/api/v1/sessions", self.list_sessions),
            ("GET", one, self.show),
            ("GET", one + "/events", self.events),
            ("POST", one + "/kill", self.kill),
            ("POST", one + "/pause", self.pause),
            ("POST", one + "/resume", self.resume),
            ("POST", one + "/extend", self.extend),
            ("GET", "/api/v1/policy", self.policy),
            ("POST", "/api/v1/policy/reload", self.reload),
            ("GET", "/api/v1/stream", self.stream),
        )

    async def healthz(self, asked: Asked) -> Reply:
        return text_reply("ok\n")

    async def readyz(self, asked: Asked) -> Reply:
        """200 while calls are served; the text says what an operator should know either way."""
        ready, said = self.readiness()
        return text_reply(said, 200 if ready else 503)

    async def prometheus(self, asked: Asked) -> Reply:
        kind = ("content-type", "text/plain; version=0.0.4; charset=utf-8")
        return Reply(200, (kind,), await self.crew.exposition())

    async def openapi(self, asked: Asked) -> Reply:
        return json_reply(DOCUMENT)

    async def list_sessions(self, asked: Asked) -> Reply:
        query = asked.query
        state = query.get("state")
        if state is not None and state not in STATES:
            raise MalformedRequest(f"state: {state[:32]!r} (allowed: {', '.join(STATES)})")
        rows, cursor = await self.control.list(
            state=state,
            agent=query.get("agent"),
            tenant=query.get("tenant"),
            limit=_limit(query.get("limit", "100")),
            cursor=query.get("cursor"),
        )
        return json_reply({"sessions": [row_json(r) for r in rows], "next_cursor": cursor})

    async def show(self, asked: Asked) -> Reply:
        key = await self._key(asked)
        return self._session(key, await self.control.show(key))

    async def events(self, asked: Asked) -> Reply:
        key = await self._key(asked)
        after = _limit(asked.query.get("after", "0"), most=2**53)
        stored = await self.control.events(key, after)
        return json_reply({"events": [event_json(s) for s in stored]})

    async def kill(self, asked: Asked) -> Reply:
        tenant = asked.query.get("tenant")
        key, state = await self.control.kill(asked.session, tenant)
        return self._session(key, state)

    async def pause(self, asked: Asked) -> Reply:
        key = await self._key(asked)
        return self._session(key, await self.control.pause(key))

    async def resume(self, asked: Asked) -> Reply:
        key = await self._key(asked)
        return self._session(key, await self.control.resume(key))

    async def extend(self, asked: Asked) -> Reply:
        key = await self._key(asked)
        try:
            amounts = msgspec.json.decode(
                await asked.exchange.read_body(_BODY_BYTES), type=dict[str, object]
            )
        except (msgspec.DecodeError, RecursionError) as error:
            raise MalformedRequest("the body: expected an object of limits and amounts") from error
        return self._session(key, await self.control.extend(key, amounts))

    async def policy(self, asked: Asked) -> Reply:
        return json_reply(
            {
                "policy": policy_json(self.watcher.loaded.policy),
                "warnings": [str(w) for w in self.watcher.loaded.warnings],
                "loaded_at": timestamp(self.watcher.loaded_at),
                "error": self.watcher.last_error,
            }
        )

    async def reload(self, asked: Asked) -> Reply:
        outcome, error = await self.crew.reload()
        status = 422 if outcome == "refused" else 200
        return json_reply({"outcome": outcome, "error": error}, status)

    async def stream(self, asked: Asked) -> Reply | None:
        """Events as they happen, as server-sent events with a comment as heartbeat; until the
        client leaves."""
        exchange = asked.exchange
        headers = (("content-type", "text/event-stream"), ("cache-control", "no-store"))
        async with self.crew.watch() as watcher:
            await exchange.start(200, headers)
            while True:
                try:
                    async with asyncio.timeout(_HEARTBEAT_SECONDS):
                        line = b"data: " + await watcher.next()
                except TimeoutError:
                    line = b": alive"
                await exchange.write(line + b"\n\n")

    async def _key(self, asked: Asked) -> SessionKey:
        return await self.control.find(asked.session, asked.query.get("tenant"))

    def _session(self, key: SessionKey, state: SessionState) -> Reply:
        caller = Caller(key.tenant, state.agent, state.model)
        return json_reply(session_json(key, state, limits_for(self.watcher.loaded.policy, caller)))


@dataclass(slots=True)
class Admin:
    """The listening admin port."""

    port: int
    _server: Server

    @classmethod
    async def start(cls, site: AdminSite, listening: socket.socket) -> "Admin":
        """Serves on a socket from `listen`."""
        guard = Guard(Routes(site.routes()), site.token, site.hosts)
        server = await serve(guard.handle, sock=listening, refusal=refusal)
        return cls(server.port, server)

    async def close(self) -> None:
        """Ends what is under way, streams of events above all."""
        await self._server.close()


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


def _limit(text: str, most: int = _MOST_LISTED) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20) or int(text) > most:
        raise MalformedRequest(f"{text[:32]!r}: expected a whole number up to {most}")
    return int(text)
