"""Every fake the unit tests use."""

import asyncio


class FakeClock:
    """Time that moves only when a test says so; sleepers wake in order as it passes them."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self._now = now
        self._monotonic = 1_000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._monotonic + seconds, waiter))
        await waiter

    def advance(self, seconds: float) -> None:
        """Both clocks move on; whoever slept until then wakes."""
        self._now += seconds
        self._monotonic += seconds
        due = [s for s in self._sleepers if s[0] <= self._monotonic]
        self._sleepers = [s for s in self._sleepers if s[0] > self._monotonic]
        for _, waiter in sorted(due, key=lambda s: s[0]):
            if not waiter.done():
                waiter.set_result(None)

    def jump(self, seconds: float) -> None:
        """Only the wall clock moves, as when it is set by hand."""
        self._now += seconds


async def turns(count: int = 20) -> None:
    """Lets whatever is ready run on, as far as it comes in so many turns of the loop."""
    loop = asyncio.get_running_loop()
    for _ in range(count):
        turned: asyncio.Future[None] = loop.create_future()
        loop.call_soon(turned.set_result, None)
        await turned


class FakePlaces:
    """`Places` of one of several workers in one process: a real lock knows only processes. taken:
    all that they have, together."""

    def __init__(self, taken: dict[int, "FakePlaces"]) -> None:
        self._taken = taken

    def claim(self, number: int) -> bool:
        return self._taken.setdefault(number, self) is self

    def give_back(self, number: int) -> None:
        if self._taken.get(number) is self:
            del self._taken[number]

    def is_free(self, number: int) -> bool:
        return number not in self._taken

    def die(self) -> None:
        """What the kernel does."""
        for number in [number for number, who in self._taken.items() if who is self]:
            del self._taken[number]
