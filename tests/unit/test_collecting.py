"""When the garbage collector walks what lives."""

import asyncio
import gc
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
async def test_what_grew_old_is_walked_once_a_minute_and_never_by_itself() -> None:
    """A walk over ten thousand sessions stops every stream for as long as it takes."""
    begin()
    clock, walks = FakeClock(), []
    gc.callbacks.append(count := lambda phase, info: walks.append((phase, info["generation"])))
    loop = asyncio.get_running_loop()
    collecting = loop.create_task(collect_at_times(clock))
    try:
        kept = [[number] for number in range(300_000)]
        await turn()
        assert kept
        assert ("stop", 1) in walks
        assert ("stop", 2) not in walks

        clock.advance(60)
        await turn()
        assert walks.count(("stop", 2)) == 1

        clock.advance(60)
        await turn()
        assert walks.count(("stop", 2)) == 1  # nothing has grown old since
    finally:
        gc.callbacks.remove(count)
        collecting.cancel()
