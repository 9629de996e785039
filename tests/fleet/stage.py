"""Replicas in processes of their own, on one Redis, before one simulated provider."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from pathlib import Path

from proxy.simulator import Script, Simulator, Turn
from proxy.simulator.script import Price
from tests.integration.crew_kit import Serving, serving
from tests.integration.kit import MODEL

KEY = "a chain key that all replicas have in common"
POLICY = """
limits: {steps: null, cost_usd: null, tokens: null, duration_seconds: null, parallel: null}
loops: off
retries: {max: 0}
breakers: {consecutive_failures: 10000, minimum_calls: 10000}
"""


class Stage:
    """Replicas are `on[n]`; each has a folder of its own, as on a machine of its own."""

    def __init__(
        self, folder: Path, url: str, sim: Simulator, policy: str, stack: AsyncExitStack
    ) -> None:
        self.folder = folder
        self.url = url
        self.sim = sim
        self.on: dict[int, Serving] = {}
        self._policy = policy
        self._stack = stack

    async def start(self, number: int, workers: int = 1) -> Serving:
        """The n-th replica, anew on what its machine has kept."""
        folder = self.folder / str(number)
        folder.mkdir(exist_ok=True)
        env = {"HOLDFAST_CHAIN_KEY": KEY, "HOLDFAST_STATE_DIR": str(folder / "state")}
        made = serving(folder, self.sim.url, workers, policy=self._policy, store=self.url, env=env)
        on = await self._stack.enter_async_context(made)
        self.on[number] = on
        return on

    async def settled(self) -> None:
        """Until nothing is in flight at the provider."""
        await self.sim.wait_for(lambda sim: all(entry.finished for entry in sim.journal), 60)

    def billed(self) -> int:
        """In micro-USD, by the provider's own journal."""
        return self.sim.totals.cost_micro_usd


@asynccontextmanager
async def stage(
    folder: Path, url: str, turns: tuple[Turn, ...], policy: str, replicas: int = 4
) -> AsyncIterator[Stage]:
    prices = {MODEL: Price(Decimal(1), Decimal(2))}
    script = Script(turns)
    async with AsyncExitStack() as stack:
        sim = await stack.enter_async_context(
            Simulator(script=script, seed=1, prices=prices, journal_size=50_000)
        )
        made = Stage(folder, url, sim, POLICY + policy, stack)
        await asyncio.gather(*(made.start(number) for number in range(replicas)))
        yield made
