"""A sidecar in processes of its own, between clients and two providers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.integration.crew_kit import serving
from tests.storm.clients import Callers
from tests.storm.provider import Provider

_POLICY = """
limits: {steps: null, cost_usd: null, tokens: null, duration_seconds: null, parallel: null}
budgets: []
loops: off
upstreams:
  first: {base_url: "%(first)s/v1", api_key: k1, price: free}
  second: {base_url: "%(second)s/v1", api_key: k2, price: free}
routes:
  - {match: {model: "*"}, to: [first]%(route)s}
%(more)s
"""


@dataclass(frozen=True, slots=True)
class Stage:
    """A sidecar between clients and two providers."""

    first: Provider
    second: Provider
    callers: Callers


@asynccontextmanager
async def stage(
    first: Provider, second: Provider, *, workers: int = 1, route: str = "", more: str = ""
) -> AsyncIterator[Stage]:
    """route: more members of the one route. more: of the policy."""
    with TemporaryDirectory() as folder:
        async with first.listening(), second.listening():
            policy = _POLICY % {
                "first": first.url,
                "second": second.url,
                "route": route,
                "more": more,
            }
            async with serving(Path(folder), first.url, workers, policy=policy) as on:
                callers = Callers(on.ports[0])
                try:
                    yield Stage(first, second, callers)
                finally:
                    callers.close()
