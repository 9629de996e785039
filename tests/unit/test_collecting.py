"""When the garbage collector walks what lives."""

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from proxy.collecting import begin, collect_at_times
from tests.fakes import FakeClock
from tests.fakes_wire import turn


@pytest.fixture
def collector() -> Iterator[None]:
    """As it was before, afterwards."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.mark.usefixtures("collector")
async def test_what_grew_old_is_walked_once_and_never_by_itself() -> None:
    """A walk over ten thousand sessions stops every stream for as long as it takes."""
    begin()
    clock, walks = FakeClock(), []
    gc.callbacks.append(count := lambda phase, info: walks.append((phase, info["generation"])))
    loop = asyncio.get_running_loop()
    collecting = loop.create_task(collect_at_times(clock, lambda: False))
    try:
        kept = [[number] for number in range(300_000)]
        await turn()
        assert kept
        assert ("stop", 1) in walks
        assert ("stop", 2) not in walks

        clock.advance(5)
        await turn()
        assert walks.count(("stop", 2)) == 1
        assert gc.get_freeze_count() > 300_000  # and not again

        clock.advance(5)
        await turn()
        assert walks.count(("stop", 2)) == 1  # nothing has grown old since
    finally:
        gc.callbacks.remove(count)
        collecting.cancel()


@pytest.mark.usefixtures("collector")
@pytest.mark.parametrize("idle", [False, True])
async def test_what_was_set_aside_is_walked_again_where_nobody_waits(idle: bool) -> None:
    """A circle that an error left behind and that had grown old by then goes after all."""
    begin()
    clock = FakeClock()
    collecting = asyncio.get_running_loop().create_task(collect_at_times(clock, lambda: idle))
    kept = [[number] for number in range(50_000)]
    circle: list[object] = [kept]
    circle.append(circle)
    left = weakref.ref(marked := Marked())
    circle.append(marked)
    try:
        await _grow_old(clock, 5)
        del circle, marked
        await _grow_old(clock, 600)

        assert (left() is None) is idle
    finally:
        collecting.cancel()


class Marked:
    """Something whose end can be seen."""


async def _grow_old(clock: FakeClock, seconds: float) -> None:
    """So much happens that something has grown old, and so much time goes by."""
    some = [[number] for number in range(50_000)]
    await turn()
    clock.advance(seconds)
    await turn()
    del some
