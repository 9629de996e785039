"""When the garbage collector walks what lives."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from proxy.collecting import begin, collect_at_times
from tests.fakes import FakeClock
from tests.fakes_wire import turn

YOUNG, MIDDLE, OLD = range(3)


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    """The collector is afterwards as it was before."""
    before = gc.get_threshold()
    yield FakeClock()
    gc.set_threshold(*before)
    gc.unfreeze()
    gc.freeze()  # as tests/conftest.py has left it


@contextmanager
def collecting(clock: FakeClock, *, idle: bool) -> Iterator[list[int]]:
    """As while calls are served, or nobody is there. Yields what was walked, generation by
    generation."""
    begin()
    walked: list[int] = []
    gc.callbacks.append(
        count := lambda phase, told: walked.append(told["generation"]) if phase == "stop" else None
    )
    task = asyncio.get_running_loop().create_task(collect_at_times(clock, lambda: idle))
    try:
        yield walked
    finally:
        gc.callbacks.remove(count)
        task.cancel()


async def goes_by(clock: FakeClock, seconds: float) -> None:
    """As much time."""
    await turn()
    clock.advance(seconds)
    await turn()


def how_many(generation: int) -> int:
    return len(gc.get_objects(generation))


async def test_what_has_grown_old_is_not_walked_beside_calls(clock: FakeClock) -> None:
    """A walk over ten thousand sessions stops every stream for as long as it takes."""
    with collecting(clock, idle=False) as walked:
        kept = [[number] for number in range(300_000)]
        await goes_by(clock, 3_600)
        await goes_by(clock, 3_600)

    assert MIDDLE in walked
    assert OLD not in walked
    assert how_many(OLD) > len(kept)


async def test_what_is_new_is_walked_soon_though_as_much_is_freed(clock: FakeClock) -> None:
    """The collector counts what is new less what is freed. Where sessions come and go it would wait
    until tens of thousands of objects are to be walked at once."""
    kept = [[number] for number in range(50_000)]
    with collecting(clock, idle=False) as walked:
        for at in range(len(kept)):
            kept[at] = [at]
        by_itself, waiting = len(walked), how_many(YOUNG)
        await goes_by(clock, 0.5)

    assert not by_itself
    assert waiting > len(kept)
    assert how_many(YOUNG) + how_many(MIDDLE) < 1_000


async def test_what_was_walked_is_not_walked_again(clock: FakeClock) -> None:
    """Else each object is walked several times on its way to being old."""
    with collecting(clock, idle=False):
        kept = [[number] for number in range(1_000)]
        await goes_by(clock, 0.5)

        assert how_many(YOUNG) + how_many(MIDDLE) < len(kept)


@pytest.mark.parametrize("idle", [False, True])
async def test_all_is_walked_where_nobody_waits(clock: FakeClock, idle: bool) -> None:
    """A circle that an error left behind and that had grown old by then goes after all."""
    with collecting(clock, idle=idle) as walked:
        circle: list[object] = []
        circle.append(circle)
        left = weakref.ref(marked := Marked())
        circle.append(marked)
        await goes_by(clock, 5)
        del circle, marked
        await goes_by(clock, 590)

        assert left() is not None

        await goes_by(clock, 10)

        assert (left() is None) is idle
        walked.clear()

        await goes_by(clock, 590)

        assert OLD not in walked


async def test_what_was_there_at_the_start_is_never_walked(clock: FakeClock) -> None:
    """Workers share its pages since they were forked, and each would copy what it walks."""
    there = [Marked()]
    with collecting(clock, idle=True) as walked:
        later = [Marked()]
        await goes_by(clock, 600)

        assert OLD in walked
        seen = {id(one) for one in gc.get_objects()}  # all but what is set aside
        assert id(later) in seen
        assert id(there) not in seen


class Marked:
    """Something whose end can be seen."""
