"""Where one call may go: its route's targets made concrete, each in a dialect it speaks."""

from typing import Final
from urllib.parse import urlsplit

import msgspec

from proxy.core.policy import Policy, Route, Target, Upstream
from proxy.core.request import DialectName

SPOKEN: Final[dict[str, tuple[DialectName, ...]]] = {
    "openai": ("chat", "responses", "completions", "embeddings"),
    "anthropic": ("messages",),
}
"""What the API of each kind has."""
_TRANSLATED: Final[dict[DialectName, tuple[DialectName, ...]]] = {
    "chat": ("messages",),
    "messages": ("chat",),
    "responses": ("chat", "messages"),
    "completions": (),
    "embeddings": (),
}
"""What a dialect can be translated to, in the order of what it loses least by. Each pair has its
`Translation`; a test holds the two together."""
_PORTS: Final = {"http": 80, "https": 443}


class Candidate(msgspec.Struct, frozen=True):
    """A target made concrete for one call.

    index: its place on the route; 0 is the first. spoken: the dialect it is asked in, another one
    than the client's where it is translated. named: its model is the policy's word, and so may be
    a metric's label; else it is the client's.
    """

    index: int
    upstream: Upstream
    model: str
    spoken: DialectName
    named: bool


def candidates(
    policy: Policy, route: Route, model: str, dialect: DialectName
) -> tuple[Candidate, ...]:
    """All that can serve a call of this model in this dialect: `to`, then `fallback`.

    The first is always there: what it does not speak, and cannot be translated to, it is asked as
    it is, so that the provider itself says no. A target that comes again is left out. Pure, and
    the same for the same arguments: callers may keep it for as long as they keep the policy.
    """
    found: list[Candidate] = []
    for index, target in enumerate((*route.to, *route.fallback)):
        candidate = _candidate(index, policy.upstreams[target.upstream], target, model, dialect)
        if candidate is not None and not any(_same(candidate, other) for other in found):
            found.append(candidate)
    return tuple(found)


def endpoints_of(upstream: Upstream) -> tuple[DialectName, ...]:
    """The dialects an upstream answers: as its policy says, else, where it is a fallback, by whose
    API it has."""
    return SPOKEN[upstream.dialect] if upstream.endpoints is None else upstream.endpoints


def takes_credential(candidate: Candidate, first: Candidate, route: Route) -> bool:
    """Whether the caller's own credential goes there. It was meant for the first target: others
    get it only at the same origin, or where the policy says so; never beside a key of their own."""
    upstream = candidate.upstream
    if upstream.api_key is not None:
        return False
    if candidate.index == 0 or route.forward_credentials or upstream.forward_credentials:
        return True
    return origin_of(upstream.base_url) == origin_of(first.upstream.base_url)


def origin_of(base_url: str) -> tuple[str, str, int]:
    """Scheme, host and port, by which credentials are kept apart (RFC 6454). What is no URL, and
    can never be asked, is an origin of its own."""
    try:
        url = urlsplit(base_url)
        port = url.port
    except ValueError:
        return "", base_url, 0
    scheme = url.scheme.lower()
    return scheme, (url.hostname or "").rstrip("."), port or _PORTS.get(scheme, 0)


def is_low(route: Route, share_left: float | None) -> bool:
    """Whether a call begins at a cheaper target. share_left: of its run's money, from 0 to 1;
    None: nothing bounds it."""
    below = route.downgrade_below
    return below is not None and share_left is not None and share_left < below


def spoken_to(upstream: Upstream, dialect: DialectName) -> DialectName | None:
    """The dialect in which an upstream is asked what a client said in `dialect`; None: it cannot
    be asked at all."""
    endpoints = endpoints_of(upstream)
    ways = (dialect, *_TRANSLATED[dialect])
    return next((spoken for spoken in ways if spoken in endpoints), None)


def _candidate(
    index: int, upstream: Upstream, target: Target, model: str, dialect: DialectName
) -> Candidate | None:
    spoken = spoken_to(upstream, dialect)
    if index == 0 and (spoken is None or upstream.endpoints is None):
        spoken = dialect  # what it answers is unsaid: it is asked as the client asked
    if spoken is None:
        return None
    return Candidate(index, upstream, target.model or model, spoken, target.model is not None)


def _same(one: Candidate, other: Candidate) -> bool:
    return one.upstream.name == other.upstream.name and one.model == other.model
