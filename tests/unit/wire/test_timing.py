"""One timer for all deadlines: found within a tick, and none left running."""

import math
from collections.abc import Callable

import pytest

from proxy.wire.timing import TICK_SECONDS, Deadlines


class FakeLoop:
    """A clock that is turned by hand, with the timers that are set on it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[FakeTimer] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> "FakeTimer":
        self.timers.append(FakeTimer(self, self.now + delay, callback))
        return self.timers[-1]

    def advance(self, seconds: float) -> None:
        """Runs what is due on the way; an error is raised when all is done."""
        end, errors = self.now + seconds, []
        while self.timers and self.timers[0].when <= end:
            timer = self.timers.pop(0)
            self.now = timer.when
            try:
                timer.callback()
            except ZeroDivisionError as exc:
                errors.append(exc)
        self.now = end
        if errors:
            raise errors[0]


class FakeTimer:
    def __init__(self, loop: FakeLoop, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback = callback
        self._loop = loop

    def cancel(self) -> None:
        self._loop.timers.remove(self)


class Item:
    """Notes when it was found late, and then does what it was told to."""

    def __init__(self, due: float, then: Callable[["Item"], None] = lambda item: None) -> None:
        self.due = due
        self.found: list[float] = []
        self._then = then

    def expired(self, now: float) -> None:
        self.found.append(now)
        self._then(self)


@pytest.fixture
def loop() -> FakeLoop:
    return FakeLoop()


@pytest.fixture
def deadlines(loop: FakeLoop) -> Deadlines:
    return Deadlines(loop)


def test_a_deadline_is_found_within_a_tick_and_not_before(
    loop: FakeLoop, deadlines: Deadlines
) -> None:
    """Time-outs are promises to whoever waits."""
    items = [Item(100.0 + n * 0.013, deadlines.discard) for n in range(40)]
    for item in items:
        deadlines.add(item)
    loop.advance(2)

    for item in items:
        assert len(item.found) == 1
        assert item.due <= item.found[0] < item.due + TICK_SECONDS + 1e-6


def test_a_deadline_moves_by_assignment(loop: FakeLoop, deadlines: Deadlines) -> None:
    """Every chunk of a stream moves one, both ways and for nothing."""
    later, sooner, never = Item(101), Item(200), Item(math.inf)
    for item in (later, sooner, never):
        deadlines.add(item)
    later.due, sooner.due = 200, 101
    loop.advance(50)

    assert not later.found
    assert sooner.found[0] == pytest.approx(101, abs=TICK_SECONDS)
    assert not never.found


def test_what_left_is_not_called(loop: FakeLoop, deadlines: Deadlines) -> None:
    """Not even where another of the same sweep took it out."""

    def discard_both(_: Item) -> None:
        for item in together:
            deadlines.discard(item)

    together = (Item(101, discard_both), Item(101, discard_both))
    gone = Item(101)
    for item in (*together, gone):
        deadlines.add(item)
    deadlines.discard(gone)
    deadlines.discard(gone)
    loop.advance(2)

    assert sum(len(item.found) for item in together) == 1
    assert not gone.found


def test_no_timer_runs_without_items(loop: FakeLoop, deadlines: Deadlines) -> None:
    """An idle process sleeps."""
    first = Item(101)
    assert not loop.timers
    deadlines.add(first)
    deadlines.add(first)
    assert (len(deadlines), len(loop.timers)) == (1, 1)
    deadlines.discard(first)
    loop.advance(TICK_SECONDS)
    assert not loop.timers

    deadlines.add(first)
    loop.advance(0.5)
    assert len(loop.timers) == 1
    deadlines.close()
    deadlines.close()

    assert (len(deadlines), loop.timers) == (0, [])


def test_one_that_fails_does_not_stop_the_others(loop: FakeLoop, deadlines: Deadlines) -> None:
    """They are found a tick later."""

    def fail(item: Item) -> None:
        deadlines.discard(item)
        raise ZeroDivisionError

    failing = [Item(101, fail), Item(101, fail)]
    for item in failing:
        deadlines.add(item)
    with pytest.raises(ZeroDivisionError):
        loop.advance(2)

    assert [len(item.found) for item in failing] == [1, 1]
