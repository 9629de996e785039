"""What every route has from `routes_defaults`, so that whoever reads a route reads all of it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from proxy.config.problems import Path
from proxy.config.reading import Reading
from proxy.core.policy import Policy, Route

_DEFAULTS: Final[Path] = ("routes_defaults",)


def with_route_defaults(policy: Policy, reading: Reading) -> Policy:
    """The policy with its routes completed. What a route says itself stays, a null of it too."""
    defaults = reading.values.get(_DEFAULTS)
    if not isinstance(defaults, Mapping):
        return policy
    routes = []
    for path, route in reading.children(("routes",), Route):
        unsaid: dict[str, Any] = {
            name: value for name, value in defaults.items() if (*path, name) not in reading.places
        }
        routes.append(replace(route, **unsaid))
    return replace(policy, routes=tuple(routes))
