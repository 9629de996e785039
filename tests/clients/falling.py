"""A sidecar whose route has a fallback: client → tap → sidecar → one provider, else the other."""

import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from proxy.simulator import Simulator
from proxy.simulator.script import Actor
from tests.clients.kit import PRICES, Stage
from tests.clients.tap import tapped
from tests.integration.kit import Sidecar, sidecar

_ROUTES = """
routes:
  - {match: {endpoint: messages}, to: [first-messages], fallback: [%(messages)s]}
  - {match: {model: "*"}, to: [first], fallback: [%(others)s]}
"""


@dataclass(frozen=True, slots=True)
class Falling(Stage):
    """A stage with two providers behind it."""

    first: Simulator
    second: Simulator


@dataclass(frozen=True, slots=True)
class Fallbacks:
    """upstreams: of the policy, each as YAML. messages, others: targets of the two routes, as in a
    YAML list, for clients of Anthropic's API and all others."""

    upstreams: Mapping[str, str]
    messages: str
    others: str


def routes(first: str, fallbacks: Fallbacks) -> str:
    """The policy: everything goes to the provider at `first`, by a key of its own, else on."""
    upstreams = {
        "first": f"{{base_url: {first}/v1, api_key: k1}}",
        "first-messages": f"{{base_url: {first}, dialect: anthropic, api_key: k1}}",
        **fallbacks.upstreams,
    }
    told = "".join(f"  {name}: {value}\n" for name, value in upstreams.items())
    targets = {"messages": fallbacks.messages, "others": fallbacks.others}
    return f"upstreams:\n{told}{_ROUTES % targets}"


def same_dialect(second: str) -> Fallbacks:
    """The provider at `second` speaks every dialect that the first does."""
    upstreams = {
        "second": f"{{base_url: {second}/v1, api_key: k2}}",
        "second-messages": f"{{base_url: {second}, dialect: anthropic, api_key: k2}}",
    }
    return Fallbacks(upstreams, "second-messages", "second")


@contextmanager
def nobody() -> Iterator[str]:
    """An origin at which nobody listens, nor can: connections are refused."""
    with closing(socket.socket()) as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@asynccontextmanager
async def falling(
    folder: Path, policy: str = "", *, script: Actor | None = None, dead: int = 0
) -> AsyncIterator[Falling]:
    """Two simulated providers, the second for when the first fails. dead: how many of them, the
    first or both, do not even listen."""
    home = folder / "home"
    home.mkdir(parents=True, exist_ok=True)
    async with (
        Simulator(script, seed=1) as first,
        Simulator(script, seed=2) as second,
        tapped(second.url) as back,
    ):
        with nobody() as gone:
            one, two = (gone if dead > 0 else first.url), (gone if dead > 1 else back.url)
            policy = PRICES + routes(one, same_dialect(two)) + policy
            async with sidecar(folder, policy, upstream=one) as side, tapped(side.url) as front:
                on = Sidecar(side.app, side.http, second)
                yield Falling(on, front, back, home, first, second)
