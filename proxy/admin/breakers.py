"""The admin API's handlers for breakers: how they stand, opened and closed by hand."""

import math
from dataclasses import dataclass

from aiohttp import web

from proxy.admin.body import read_object
from proxy.admin.door import Site
from proxy.admin.replies import json_response
from proxy.admin.shapes import Json, whole_number
from proxy.breakers.breaker import Key
from proxy.breakers.shown import STATES, facts_of, merged_news
from proxy.core.breaking import phase_of
from proxy.errors import MalformedRequest
from proxy.workers.messages import BreakerNews

_MOST_LISTED = 1_000
_LONGEST_SECONDS = 366 * 86_400


@dataclass(frozen=True, slots=True)
class BreakerSite:
    """See `server.AdminSite`, which has its guard."""

    site: Site

    def routes(self) -> list[web.RouteDef]:
        """A model's name may hold slashes."""
        one = "/api/v1/breakers/{upstream}/{model:.+}"
        return [
            web.get("/api/v1/breakers", self.list),
            web.post(one + "/open", self.open),
            web.post(one + "/close", self.close),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """Those that are not closed first."""
        query = request.query
        state, upstream = query.get("state"), query.get("upstream")
        if state is not None and state not in STATES:
            raise MalformedRequest(f"state: {state[:32]!r} (allowed: {', '.join(STATES)})")
        limit = whole_number(query.get("limit", "100"), _MOST_LISTED, "limit")
        now = self.site.breakers.now()

        def order(one: BreakerNews) -> tuple[int, str, str, bytes]:
            return -STATES[phase_of(one.standing, now)], one.upstream, one.model, one.credential

        found = [
            one
            for one in merged_news(await self.site.crew.breaker_news())
            if state in (None, phase_of(one.standing, now)) and upstream in (None, one.upstream)
        ]
        found.sort(key=order)
        return json_response({"breakers": [breaker_json(one, now) for one in found[:limit]]})

    async def open(self, request: web.Request) -> web.Response:
        """Until it is closed by hand, or for `seconds`."""
        body = await read_object(request, "seconds", "seconds", may_be_empty=True)
        upstream, model = self._which(request)
        news = await self.site.breakers.open(upstream, model, _seconds(body.get("seconds")))
        return json_response(breaker_json(news, self.site.breakers.now()))

    async def close(self, request: web.Request) -> web.Response:
        """For callers' own keys as well."""
        news = await self.site.breakers.close(*self._which(request))
        return json_response(breaker_json(news, self.site.breakers.now()))

    def _which(self, request: web.Request) -> tuple[str, str]:
        upstream = request.match_info["upstream"]
        known = self.site.watcher.current.upstreams
        if upstream not in known:
            said = f"no upstream {upstream[:64]!r} in the policy (known: {', '.join(known)})"
            raise MalformedRequest(said, code="unknown_upstream", status=404)
        return upstream, request.match_info["model"]


def breaker_json(news: BreakerNews, now: float) -> dict[str, Json]:
    """One breaker. now: by the clock of breakers. credential: the beginning of a digest, where it
    counts for that caller's own key alone. The counts are of its window, since it closed."""
    key = Key(news.upstream, news.model, news.credential)
    counts: dict[str, Json] = {"calls": news.calls, "failures": news.failures, "slow": news.slow}
    return {**facts_of(key, news.standing, now), **counts}


def _seconds(given: object) -> float:
    """Raises MalformedRequest."""
    if given is None:
        return math.inf
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise MalformedRequest("seconds: expected a number", param="seconds")
    if not 0 < given <= _LONGEST_SECONDS:
        said = f"seconds: {given} (allowed: above 0, up to {_LONGEST_SECONDS})"
        raise MalformedRequest(said, param="seconds")
    return float(given)
