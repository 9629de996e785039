"""Requests of the admin port, and which handler each goes to."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

from proxy.admin.replies import Reply, error_reply
from proxy.wire import Exchange

_VARIABLE = "{session}"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. session: what its path names, or "". query: the first value of each name."""

    exchange: Exchange
    session: str = ""
    query: Mapping[str, str] = field(default_factory=dict)


Answer = Callable[[Asked], Awaitable[Reply | None]]
"""None: it has answered by itself."""
Route = tuple[str, str, Answer]
"""Method, path, and who answers. One segment of the path may be `{session}`."""


class Routes:
    """Finds who answers. HEAD is answered like GET; the wire leaves the body out."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._by_path: dict[tuple[str, ...], dict[str, Answer]] = {}
        for method, path, answer in routes:
            self._by_path.setdefault(tuple(path.split("/")), {})[method] = answer

    async def answer(self, exchange: Exchange) -> Reply | None:
        """What the handler of this request says, or that there is none."""
        path, _, query = exchange.head.target.partition("?")
        session, methods = self._find(tuple(path.split("/")))
        if methods is None:
            return error_reply(404, "not_found", "there is nothing under this path")
        method = exchange.head.method
        answer = methods.get("GET" if method == "HEAD" else method)
        if answer is None:
            message = f"{method[:16]} is not taken here"
            return error_reply(405, "invalid_request", message, {"allow": ", ".join(methods)})
        values = reversed(parse_qsl(query, keep_blank_values=True))
        return await answer(Asked(exchange, session, dict(values)))

    def _find(self, segments: tuple[str, ...]) -> tuple[str, dict[str, Answer] | None]:
        exact = self._by_path.get(segments)
        if exact is not None:
            return "", exact
        for place, segment in enumerate(segments):
            pattern = (*segments[:place], _VARIABLE, *segments[place + 1 :])
            if segment and (found := self._by_path.get(pattern)) is not None:
                return unquote(segment), found
        return "", None
