"""Lines of calls that wait: who looks first, and that nobody is forgotten."""

import asyncio
from collections.abc import Callable

from proxy import lines as module
from proxy.core.session import SessionKey
from proxy.lines import Lines, Waiter

GLOBAL = "global:-:1d:1"
A, B = SessionKey("a", "s"), SessionKey("b", "s")


async def served(lines: Lines, waiters: list[Waiter], names: Callable[[Waiter], str]) -> list[str]:
    """The order in which they get their turn, where each is served at its first look."""
    order: list[str] = []

    async def one(waiter: Waiter) -> None:
        while not await lines.turn(waiter, 5):
            pass
        order.append(names(waiter))
        lines.leave(waiter)

    tasks = [asyncio.ensure_future(one(waiter)) for waiter in waiters]
    await asyncio.wait(tasks, timeout=0)
    lines.freed(waiters[0].place)
    await asyncio.gather(*tasks)
    return order


def joined(lines: Lines, place: str | SessionKey, key: SessionKey) -> Waiter:
    waiter = lines.join(place, key)
    assert waiter is not None
    return waiter


async def test_calls_of_one_session_come_in_their_order() -> None:
    lines = Lines()
    waiters = [joined(lines, A, A) for _ in range(4)]
    numbers = {id(waiter): str(n) for n, waiter in enumerate(waiters)}

    assert await served(lines, waiters, lambda w: numbers[id(w)]) == ["0", "1", "2", "3"]
    assert not lines
    assert len(lines) == 0


async def test_a_tenant_that_fills_a_line_delays_only_itself() -> None:
    """A hundred of one tenant came first; the one of another is among the first to look."""
    lines = Lines()
    waiters = [joined(lines, GLOBAL, A) for _ in range(100)] + [joined(lines, GLOBAL, B)]

    assert "b" in (await served(lines, waiters, lambda w: w.sharer))[:2]


async def test_a_large_call_of_another_does_not_keep_a_small_one_waiting() -> None:
    """The first in line finds no room; the first of the next sharer is called all the same."""
    lines = Lines()
    large, small = joined(lines, GLOBAL, A), joined(lines, GLOBAL, B)
    turns = [asyncio.ensure_future(lines.turn(waiter, 5)) for waiter in (large, small)]
    await asyncio.wait(turns, timeout=0)
    lines.freed(GLOBAL)

    assert await asyncio.gather(*turns) == [True, True]


async def test_what_is_freed_while_one_looks_is_not_missed() -> None:
    """Else it would wait for the next call to end, or for the clock."""
    lines = Lines()
    waiter = joined(lines, A, A)
    lines.freed(A)

    assert await lines.turn(waiter, 0.0)
    assert not await lines.turn(waiter, 0.0)


async def test_a_stream_that_must_grow_looks_before_all_new_calls() -> None:
    lines = Lines()
    new, running = joined(lines, A, A), lines.press(A)
    lines.freed(A)

    assert await lines.turn(running, 0.0)
    assert not await lines.turn(new, 0.0)
    lines.leave(running)
    assert await lines.turn(new, 0.0)


async def test_one_who_leaves_gives_the_turn_on() -> None:
    lines = Lines()
    first, second = joined(lines, A, A), joined(lines, A, A)
    waiting = asyncio.ensure_future(lines.turn(first, 5))
    await asyncio.wait([waiting], timeout=0)
    lines.freed(A)
    waiting.cancel()
    await asyncio.wait([waiting])
    lines.leave(first)

    assert await lines.turn(second, 0.0)


async def test_a_line_has_an_end() -> None:
    """A client must not fill the memory with calls that wait; others still may."""
    lines = Lines()
    for _ in range(module._MOST_WAITING):
        joined(lines, GLOBAL, A)

    assert lines.join(GLOBAL, A) is None
    assert lines.join(GLOBAL, B) is not None


async def test_all_look_when_a_session_is_killed() -> None:
    lines = Lines()
    waiters = [joined(lines, A, A) for _ in range(3)] + [joined(lines, GLOBAL, B)]
    lines.stir()

    assert all([await lines.turn(waiter, 0.0) for waiter in waiters])
