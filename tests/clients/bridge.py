"""A provider that speaks chat, or messages, alone: asked in other dialects by a translation."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

from proxy.core.request import DialectName
from proxy.core.translation.base import StreamTranslation, Translation
from proxy.core.translation.registry import path_of, translation

_HEADERS = ("authorization", "content-type")
_BOUND = 4096
_CREATED = 1_796_000_000


@asynccontextmanager
async def bridged(upstream: str, client: DialectName, spoken: DialectName) -> AsyncIterator[str]:
    """The base URL of a server that answers `client` and asks `upstream` in `spoken`.

    What is known of an event is shown at once."""
    between = translation(client, spoken)
    assert between is not None
    async with aiohttp.ClientSession() as session:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        bridge = _Bridge(session, upstream + path_of(spoken), between)
        app.router.add_post(path_of(client), bridge.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            host, port = runner.addresses[0][:2]
            yield f"http://{host}:{port}"
        finally:
            await runner.cleanup()


class _Bridge:
    def __init__(self, session: aiohttp.ClientSession, url: str, between: Translation) -> None:
        self._session = session
        self._url = url
        self._between = between

    async def answer(self, request: web.Request) -> web.StreamResponse:
        asked, created = await request.read(), _CREATED
        body = self._between.request(asked, output_bound=_BOUND)
        headers = {key: value for key, value in request.headers.items() if key.lower() in _HEADERS}
        if "x-api-key" in request.headers:
            headers["authorization"] = f"Bearer {request.headers['x-api-key']}"
        headers["anthropic-version"] = "2023-06-01"
        async with self._session.post(self._url, data=body, headers=headers) as told:
            if told.status != 200:
                error = self._between.error(told.status, await told.read())
                return web.Response(status=told.status, body=error, content_type="application/json")
            if told.content_type == "text/event-stream":
                stream = self._between.stream(asked, created=created)
                return await self._stream(request, told, stream)
            whole = self._between.answer(await told.read(), asked=asked, created=created)
            return web.Response(body=whole, content_type="application/json")

    async def _stream(
        self, request: web.Request, told: aiohttp.ClientResponse, stream: StreamTranslation
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        async for chunk in told.content.iter_any():
            await response.write(stream.feed(chunk))
        await response.write(stream.close())
        return response
