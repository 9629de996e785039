"""A sidecar whose route has a second target, and what became of its calls' attempts."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from proxy.core import events as ev
from proxy.core.session import SessionKey
from tests.integration.kit import Sidecar, sidecar

PRICES = "prices: {one: {input: 1, output: 2}, two: {input: 3, output: 5}}"
POLICY = """
upstreams:
  first: {base_url: "${HOLDFAST_OPENAI_URL}"}
  second: {base_url: "${HOLDFAST_OPENAI_URL}", api_key: key-of-second}
  ant-one: {base_url: "${HOLDFAST_ANTHROPIC_URL}", dialect: anthropic}
  ant-two: {base_url: "${HOLDFAST_ANTHROPIC_URL}", dialect: anthropic, api_key: key-of-second}
routes:
  - match: {model: "*", endpoint: messages}
    to: [ant-one/one]
    fallback: [ant-two/two]
    %(more)s
  - match: {model: "*"}
    to: [first/one]
    fallback: [second/two]
    %(more)s
"""


def targets(policy: str = "") -> str:
    """Of `two_targets`."""
    return PRICES + POLICY % {"more": ""} + policy


def two_targets(
    folder: Path, policy: str = "", *, route: str = "", prices: bool = True
) -> AbstractAsyncContextManager[Sidecar]:
    """Both are the simulated provider, told apart by their models, `one` and `two`. route: more of
    both routes. prices: False: `policy` has them."""
    return sidecar(folder, (PRICES if prices else "") + POLICY % {"more": route} + policy)


def asked(on: Sidecar) -> list[str]:
    """The models that were asked, in order."""
    return [entry.model for entry in on.sim.journal]


async def log_of(on: Sidecar, session: str = "s1") -> list[ev.AnyEvent]:
    """All events of a session, once nothing of it is in flight."""
    key = SessionKey((await on.app.store.find_tenants(session))[0], session)
    while on.app.ledger.running:
        await asyncio.wait([asyncio.ensure_future(on.app.ledger.drained())])
    assert await on.app.store.open_holds() == []
    return [stored.event for stored in await on.app.store.read(key)]


def only(events: Sequence[ev.AnyEvent]) -> tuple[list[ev.AttemptFailed], ev.StepSettled]:
    """The attempts that failed, and the one settlement."""
    (settled,) = [event for event in events if isinstance(event, ev.StepSettled)]
    return [event for event in events if isinstance(event, ev.AttemptFailed)], settled


async def metrics_of(on: Sidecar) -> list[str]:
    """The lines of the text exposition."""
    async with on.http.get(on.admin_url + "/metrics") as response:
        return (await response.text()).splitlines()
