"""The admin API's handlers for copies of sessions: fork, export, import, delete."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp import web

from proxy.admin.body import read_object
from proxy.admin.door import Site
from proxy.admin.replies import json_response
from proxy.admin.sessions import key_of, shown
from proxy.admin.shapes import Json, timestamp, whole_number
from proxy.copies import Imported
from proxy.errors import MalformedRequest
from proxy.exports import SUFFIX

_PIECE_BYTES = 256 * 1024
_STALLED_SECONDS = 30.0
_DIGESTED = "t_"


@dataclass(frozen=True, slots=True)
class CopySite:
    """See `server.AdminSite`, which has its guard."""

    site: Site

    def routes(self, one: str) -> list[web.RouteDef]:
        """one: the path of one session."""
        return [
            web.post(one + "/fork", self.fork),
            web.get(one + "/export", self.export),
            web.post("/api/v1/sessions/import", self.take_in),
            web.delete(one, self.delete),
        ]

    async def fork(self, request: web.Request) -> web.Response:
        body = await read_object(request, "a step", "step", "session", may_be_empty=True)
        step, session = body.get("step"), body.get("session")
        if step is not None and (isinstance(step, bool) or not isinstance(step, int)):
            raise MalformedRequest("step: a whole number is needed", param="step")
        if session is not None and not isinstance(session, str):
            raise MalformedRequest("session: the new session's id is needed", param="session")
        origin = await key_of(self.site, request)
        forked = await self.site.records.copies.fork(origin, step, session)
        told: dict[str, Json] = {
            "forked_from": origin.session,
            "step": forked.step,
            "missing": [*forked.missing],
            "path": f"/r/{forked.key.session}/v1",
        }
        return json_response({**shown(self.site, forked.key, forked.state), **told}, 201)

    async def export(self, request: web.Request) -> web.StreamResponse:
        """As one file. One that breaks off has no digest at its end."""
        key = await key_of(self.site, request)
        pieces = self.site.records.copies.export(key)
        first = await anext(pieces)  # what goes wrong before it is still told as an error
        named = f'attachment; filename="{key.session}{SUFFIX}"'
        headers = {
            "content-type": "application/octet-stream",
            "content-disposition": named,
            "cache-control": "no-store",
        }
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        await response.write(first)
        async for piece in pieces:
            await response.write(piece)
        await response.write_eof()
        return response

    async def take_in(self, request: web.Request) -> web.Response:
        query = request.query
        copies, pieces = self.site.records.copies, _pieces(request)
        taken = await copies.take_in(pieces, query.get("as"), query.get("tenant"))
        imported: dict[str, Json] = {
            "from": taken.opening.session,
            "from_tenant": taken.opening.tenant,
            "exported_at": timestamp(taken.opening.exported_at),
            "written_by": taken.opening.version,
            "events": taken.opening.events,
            "contents": taken.opening.contents,
            "own": taken.own,
            "readable": not taken.unread,
            "expired_calls": [*taken.expired],
            "notes": [*_notes(taken)],
        }
        session = shown(self.site, taken.key, taken.state)
        return json_response({**session, "imported": imported}, 201)

    async def delete(self, request: web.Request) -> web.Response:
        key, query = await key_of(self.site, request), request.query
        seq = whole_number(query["seq"], 2**53, "seq") if "seq" in query else None
        await self.site.records.copies.delete(key, seq)
        return json_response({"session": key.session, "tenant": key.tenant, "state": "deleted"})


async def _pieces(request: web.Request) -> AsyncIterator[bytes]:
    """An upload as it comes. One that stalls would keep the next one waiting."""
    chunks = request.content.iter_chunked(_PIECE_BYTES)
    while True:
        try:
            async with asyncio.timeout(_STALLED_SECONDS):
                piece = await anext(chunks, b"")
        except TimeoutError as error:
            said = f"the upload stalled for {_STALLED_SECONDS:.0f} s"
            raise MalformedRequest(said, status=408) from error
        if not piece:
            return
        yield piece


def _notes(taken: Imported) -> list[str]:
    """What a human should know of a session that came from a file."""
    notes = []
    if not taken.own:
        notes.append(
            "its log is not chained under this ledger's key: nobody here can say whether it was "
            "altered before it was exported"
        )
        if taken.key.tenant.startswith(_DIGESTED) and taken.key.tenant == taken.opening.tenant:
            notes.append(
                f"tenant {taken.key.tenant} is a digest under the other ledger's key: agents reach "
                "the session here only if it is imported with the tenant that they have here "
                "(--tenant; `sessions show` of a session of theirs names it)"
            )
    if taken.unread:
        notes.append(f"what it sent and was answered cannot be read here: {taken.unread}")
    if taken.expired:
        notes.append("its calls in flight were booked at all that they held")
    return notes
