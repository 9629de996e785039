"""The admin port's routes and its server."""

import asyncio
import logging
import socket
from dataclasses import dataclass

from aiohttp import web
from aiohttp.http import HttpProcessingError

from proxy.admin.body import read_object
from proxy.admin.breakers import BreakerSite
from proxy.admin.checkpoints import CheckpointSite
from proxy.admin.copies import CopySite
from proxy.admin.door import Site
from proxy.admin.guard import guard
from proxy.admin.openapi import DOCUMENT
from proxy.admin.queue import QueueSite
from proxy.admin.replies import json_response
from proxy.admin.sessions import key_of, session_response
from proxy.admin.shapes import (
    STATES,
    event_json,
    policy_json,
    row_json,
    timestamp,
    whole_number,
)
from proxy.errors import MalformedRequest

_log = logging.getLogger(f"{__name__}.http")
_NOT_VALID = (HttpProcessingError, web.RequestPayloadError)
_BODY_BYTES = 65_536
_MOST_LISTED = 1_000
_HEARTBEAT_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class AdminSite:
    """Handlers of the admin API."""

    site: Site

    def application(self) -> web.Application:
        """The routes, guarded."""
        app = web.Application(
            middlewares=[guard(self.site.token, self.site.hosts)], client_max_size=_BODY_BYTES
        )
        one = "/api/v1/sessions/{session}"
        app.add_routes(
            [
                web.get("/healthz", self.healthz),
                web.get("/readyz", self.readyz),
                web.get("/metrics", self.prometheus),
                web.get("/api/v1/openapi.json", self.openapi),
                web.get("/api/v1/sessions", self.list_sessions),
                web.get(one, self.show),
                web.get(one + "/events", self.events),
                web.post(one + "/kill", self.kill),
                web.post(one + "/pause", self.pause),
                web.post(one + "/resume", self.resume),
                web.get("/api/v1/policy", self.policy),
                web.post("/api/v1/policy/reload", self.reload),
                web.get("/api/v1/stream", self.stream),
                *QueueSite(self.site).routes(one),
                *CopySite(self.site).routes(one),
                *CheckpointSite(self.site).routes(one),
                *BreakerSite(self.site).routes(),
            ]
        )
        return app

    async def healthz(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(self, request: web.Request) -> web.Response:
        """200 while calls are served; the text says what an operator should know either way."""
        ready, said = self.site.readiness()
        return web.Response(text=said, status=200 if ready else 503)

    async def prometheus(self, request: web.Request) -> web.Response:
        return web.Response(
            body=await self.site.crew.exposition(),
            headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    async def openapi(self, request: web.Request) -> web.Response:
        return json_response(DOCUMENT)

    async def list_sessions(self, request: web.Request) -> web.Response:
        query = request.query
        state = query.get("state")
        if state is not None and state not in STATES:
            raise MalformedRequest(f"state: {state[:32]!r} (allowed: {', '.join(STATES)})")
        rows, cursor = await self.site.control.list(
            state=state,
            agent=query.get("agent"),
            tenant=query.get("tenant"),
            limit=whole_number(query.get("limit", "100"), _MOST_LISTED, "limit"),
            cursor=query.get("cursor"),
        )
        return json_response({"sessions": [row_json(r) for r in rows], "next_cursor": cursor})

    async def show(self, request: web.Request) -> web.Response:
        key = await key_of(self.site, request)
        return session_response(self.site, key, await self.site.control.show(key))

    async def events(self, request: web.Request) -> web.Response:
        key = await key_of(self.site, request)
        after = whole_number(request.query.get("after", "0"), 2**53, "after")
        stored = await self.site.control.events(key, after)
        return json_response({"events": [event_json(s) for s in stored]})

    async def kill(self, request: web.Request) -> web.Response:
        tenant = request.query.get("tenant")
        key, state = await self.site.control.kill(request.match_info["session"], tenant)
        return session_response(self.site, key, state)

    async def pause(self, request: web.Request) -> web.Response:
        key = await key_of(self.site, request)
        return session_response(self.site, key, await self.site.control.pause(key))

    async def resume(self, request: web.Request) -> web.Response:
        body = await read_object(request, "replay", "replay", may_be_empty=True)
        replay = body.get("replay", False)
        if not isinstance(replay, bool):
            raise MalformedRequest("replay: true or false is needed", param="replay")
        key = await key_of(self.site, request)
        return session_response(self.site, key, await self.site.control.resume(key, replay=replay))

    async def policy(self, request: web.Request) -> web.Response:
        return json_response(
            {
                "policy": policy_json(self.site.watcher.loaded.policy),
                "warnings": [str(w) for w in self.site.watcher.loaded.warnings],
                "loaded_at": timestamp(self.site.watcher.loaded_at),
                "error": self.site.watcher.last_error,
            }
        )

    async def reload(self, request: web.Request) -> web.Response:
        outcome, error = await self.site.crew.reload()
        status = 422 if outcome == "refused" else 200
        return json_response({"outcome": outcome, "error": error}, status)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Events as they happen, as server-sent events with a comment as heartbeat."""
        response = web.StreamResponse(
            headers={"content-type": "text/event-stream", "cache-control": "no-store"}
        )
        async with self.site.crew.watch() as watcher:
            await response.prepare(request)
            while True:
                try:
                    async with asyncio.timeout(_HEARTBEAT_SECONDS):
                        line = b"data: " + await watcher.next()
                except TimeoutError:
                    line = b": alive"
                await response.write(line + b"\n\n")


@dataclass(frozen=True, slots=True)
class Admin:
    """The admin port while it is served."""

    _runner: web.AppRunner

    async def close(self) -> None:
        await self._runner.cleanup()


async def start(site: Site, listening: socket.socket) -> Admin:
    """Serves on a listening socket."""
    _log.addFilter(_untold)  # once, however often
    runner = web.AppRunner(
        AdminSite(site).application(),
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=0.1,
        logger=_log,
    )
    await runner.setup()
    await web.SockSite(runner, listening).start()
    return Admin(runner)


def _untold(record: logging.LogRecord) -> bool:
    """aiohttp's error quotes what is no HTTP, and that may be a line with a credential."""
    if record.exc_info and isinstance(record.exc_info[1], _NOT_VALID):
        record.exc_info, record.levelno, record.levelname = None, logging.INFO, "INFO"
        come = "what came to the admin port is no valid HTTP"
        record.msg = f"{come}, from %s" if record.args else come
    return True
