"""Fakes of the policy tests."""

import asyncio
from collections.abc import Callable, Iterable

from tests.fakes import FakeClock


class SteppingClock(FakeClock):
    """Each sleep passes at once and does the next thing; after the last it is cancelled."""

    def __init__(self, steps: Iterable[Callable[[], object]]) -> None:
        super().__init__()
        self._steps = iter(steps)
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)
        step = next(self._steps, None)
        if step is None:
            raise asyncio.CancelledError
        step()
