"""The admin API's handlers for what stands before a human, and for what the human answers."""

from dataclasses import dataclass

from aiohttp import web

from proxy.admin.body import read_object
from proxy.admin.door import Site
from proxy.admin.replies import json_response
from proxy.admin.sessions import key_of, session_response
from proxy.admin.shapes import handoff_json, whole_number

_MOST_LISTED = 1_000


@dataclass(frozen=True, slots=True)
class QueueSite:
    """See `server.AdminSite`, which has its guard."""

    site: Site

    def routes(self, one: str) -> list[web.RouteDef]:
        """one: the path of one session."""
        return [
            web.get("/api/v1/handoffs", self.handoffs),
            web.post(one + "/extend", self.extend),
            web.post(one + "/guide", self.guide),
            web.post(one + "/approve", self.approve),
            web.post(one + "/deny", self.deny),
        ]

    async def handoffs(self, request: web.Request) -> web.Response:
        limit = whole_number(request.query.get("limit", "100"), _MOST_LISTED, "limit")
        found = await self.site.human.queue(tenant=request.query.get("tenant"), limit=limit)
        now = self.site.human.clock.now()
        shown = [handoff_json(key, state, handoff, now) for key, state, handoff in found]
        return json_response({"handoffs": [*shown]})

    async def extend(self, request: web.Request) -> web.Response:
        key = await key_of(self.site, request)
        amounts = await read_object(request, "limits and amounts")
        return session_response(self.site, key, await self.site.human.extend(key, amounts))

    async def guide(self, request: web.Request) -> web.Response:
        key = await key_of(self.site, request)
        body = await read_object(request, "a message", "message")
        state = await self.site.human.guide(key, body.get("message"))
        return session_response(self.site, key, state)

    async def approve(self, request: web.Request) -> web.Response:
        body = await read_object(request, "a tool call", "tool_call_id")
        key, name = await key_of(self.site, request), body.get("tool_call_id")
        state = await self.site.human.decide(key, name, approve=True)
        return session_response(self.site, key, state)

    async def deny(self, request: web.Request) -> web.Response:
        body = await read_object(request, "a tool call", "tool_call_id", "message")
        key, name = await key_of(self.site, request), body.get("tool_call_id")
        said = body.get("message", "")
        state = await self.site.human.decide(key, name, approve=False, message=said)
        return session_response(self.site, key, state)
