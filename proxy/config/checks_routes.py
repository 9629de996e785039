"""Upstreams and routes in a policy: targets that are not there, or that can never serve a call."""

import ipaddress
from collections.abc import Callable, Iterator
from typing import Final, get_args

from proxy.config.draft import Draft
from proxy.config.globs import covers
from proxy.config.problems import Path
from proxy.core.policy import Route, Target, Upstream
from proxy.core.request import DialectName
from proxy.core.routing import endpoints_of, origin_of, spoken_to

_DEFAULTS: Final = "routes_defaults"
_NEAR: Final = ("localhost", ".localhost", ".local", ".internal", ".svc")
"""How names end that no provider has who would ask for a key."""


def known_targets(draft: Draft) -> None:
    names = draft.reading.names(("upstreams",))
    for path, route in draft.reading.children(("routes",), Route):
        for place, target in _targets(path, route):
            if target.upstream not in names:
                allowed = ", ".join(names) or "none is defined"
                message = f"no upstream {target.upstream} (allowed: {allowed})"
                draft.reading.report(place, message)


def shadowed_routes(draft: Draft) -> None:
    routes = list(draft.reading.children(("routes",), Route))
    if not draft.policy.routes:
        draft.reading.warn(("routes",), "no route: every governed call is refused")
    for index, (path, route) in enumerate(routes):
        for earlier, above in routes[:index]:
            if covers(above.model, route.model) and covers(above.endpoint, route.endpoint):
                draft.reading.warn(path, f"never fires: routes[{earlier[-1]}] takes all its calls")
                break


def idle_upstreams(draft: Draft) -> None:
    used = {target.upstream for route in draft.policy.routes for target in _all(route)}
    for path, upstream in draft.reading.children(("upstreams",), Upstream):
        if path[1] not in (*used, *draft.shipped):
            draft.reading.warn(path, "no route goes to it")
        if (
            upstream.free
            and not draft.is_own((*path, "price"))
            and draft.is_own((*path, "base_url"))
        ):
            message = "price: free comes from the defaults (say price: free, or null to be priced)"
            draft.reading.warn(path, message)
        if upstream.forward_credentials and upstream.api_key is not None:
            message = "no effect: it has an api_key of its own"
            draft.reading.warn((*path, "forward_credentials"), message)


def repeated_targets(draft: Draft) -> None:
    for path, route in draft.reading.children(("routes",), Route):
        before: dict[Target, Path] = {}
        for place, target in _targets(path, route):
            above = before.setdefault(target, place)
            if above != place:
                said = f"{above[-2]}[{above[-1]}]"
                draft.reading.warn(place, f"never asked: the same as {said} of its route")


def unasked_targets(draft: Draft) -> None:
    """A target that answers nothing of what its route takes, nor what that can be translated to."""
    for path, route, place, target, upstream in _known(draft):
        asked: tuple[DialectName, ...] = get_args(DialectName)
        if route.endpoint != "*":
            asked = tuple(dialect for dialect in asked if dialect == route.endpoint)
        said = upstream.endpoints is not None or place != (*path, "to", 0)
        if said and all(spoken_to(upstream, dialect) is None for dialect in asked):
            answers = ", ".join(endpoints_of(upstream)) or "nothing"
            never = "" if place == (*path, "to", 0) else "never asked: "
            message = f"{never}{target.upstream} answers {answers}"
            if route.endpoint != "*":
                message += f", and {route.endpoint} cannot be translated to that"
            draft.reading.warn(place, message)


def unnamed_models(draft: Draft) -> None:
    """A fallback at another kind of provider does not know the model by the caller's name."""
    for path, route, place, target, upstream in _known(draft):
        first = draft.policy.upstreams.get(route.to[0].upstream)
        if place == (*path, "to", 0) or first is None or target.model is not None:
            continue
        if upstream.dialect != first.dialect:
            message = f"is asked for the model of {first.name} (say which: {upstream.name}/MODEL)"
            draft.reading.warn(place, message)


def refused_fallbacks(draft: Draft) -> None:
    """The caller's credential was meant for the first target, and goes to no other origin."""
    for path, route, place, _, upstream in _known(draft):
        first = draft.policy.upstreams.get(route.to[0].upstream)
        if place == (*path, "to", 0) or first is None or upstream.api_key is not None:
            continue
        origin, forwards = origin_of(upstream.base_url), route.forward_credentials
        if forwards or upstream.forward_credentials or origin == origin_of(first.base_url):
            continue
        if not _is_near(origin[1]):
            message = (
                f"has no key: it has no api_key, and credentials for {first.name} are not sent to "
                "another origin (allowed: api_key, or forward_credentials: true)"
            )
            draft.reading.warn(place, message)


def idle_route_settings(draft: Draft) -> None:
    """What is said for a second target where there is none."""
    for path, route in draft.reading.children(("routes",), Route):
        if len(_all(route)) == 1:
            _warn_of_one(draft, path, route)
    if not any(len(_all(route)) > 1 for route in draft.policy.routes):
        for name in ("downgrade_below", "hedge"):
            defaults = draft.reading.values.get((_DEFAULTS,))
            if isinstance(defaults, dict) and defaults.get(name) is not None:
                draft.reading.warn((_DEFAULTS, name), "never fires: no route has a fallback")


def unreached_hedges(draft: Draft) -> None:
    for path, route in draft.reading.children(("routes",), Route):
        deadline = route.deadline_seconds or draft.policy.deadline_seconds
        if route.hedge is not None and route.hedge.after_seconds >= deadline:
            message = f"never fires: its deadline_seconds ({deadline:g}) is reached first"
            draft.reading.warn((*path, "hedge", "after_seconds"), message)


def _warn_of_one(draft: Draft, path: Path, route: Route) -> None:
    if route.downgrade_below is not None:
        draft.reading.warn((*path, "downgrade_below"), "never fires: no fallback")
    if route.hedge is not None:
        draft.reading.warn((*path, "hedge"), "never fires: no fallback")
    if route.forward_credentials:
        draft.reading.warn((*path, "forward_credentials"), "no effect: no fallback")


def _known(draft: Draft) -> Iterator[tuple[Path, Route, Path, Target, Upstream]]:
    """Each target of each route whose upstream could be read, with their paths."""
    upstreams = draft.policy.upstreams
    for path, route in draft.reading.children(("routes",), Route):
        for place, target in _targets(path, route):
            if route.to and target.upstream in upstreams:
                yield path, route, place, target, upstreams[target.upstream]


def _targets(path: Path, route: Route) -> Iterator[tuple[Path, Target]]:
    for name, targets in (("to", route.to), ("fallback", route.fallback)):
        for index, target in enumerate(targets):
            yield (*path, name, index), target


def _all(route: Route) -> tuple[Target, ...]:
    return (*route.to, *route.fallback)


def _is_near(host: str) -> bool:
    """Whether a host is on this machine or in a private network."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith(_NEAR)


ROUTE_CHECKS: Final[tuple[Callable[[Draft], None], ...]] = (
    known_targets,
    shadowed_routes,
    idle_upstreams,
    repeated_targets,
    unasked_targets,
    unnamed_models,
    refused_fallbacks,
    idle_route_settings,
    unreached_hedges,
)
