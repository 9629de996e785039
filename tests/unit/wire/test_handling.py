"""A handler run in place: to what runs in it, it is a task like any other."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress

import pytest

from proxy.wire.handling import Handling
from tests.fakes_wire import turn

Handler = Callable[[], Coroutine[object, None, None]]


class Ended:
    """Notes that it has ended, and whether it was the current task of anybody then."""

    def __init__(self) -> None:
        self.times = 0
        self.current: object = None

    def __call__(self, handling: Handling) -> None:
        assert handling.done()
        self.times += 1
        self.current = asyncio.current_task()


def handled(handler: Handler) -> tuple[Handling, Ended]:
    ended = Ended()
    return Handling(handler(), asyncio.get_running_loop(), ended), ended


async def until_done(handling: Handling) -> None:
    for _ in range(50):
        if handling.done():
            return
        await turn()
    raise AssertionError("it does not end")


async def test_it_runs_at_once_and_says_so_at_once() -> None:
    """A call that waits for nothing costs no turn of the loop."""
    said: list[object] = []

    async def handler() -> None:
        said.append(asyncio.current_task())

    handling, ended = handled(handler)
    outer = asyncio.current_task()
    handling.start()

    assert said == [handling]
    assert (ended.times, ended.current) == (1, None)
    assert asyncio.current_task() is outer
    assert (handling.cancelled(), handling.exception()) == (False, None)
    assert not handling.cancel()


async def test_it_waits_for_futures_for_tasks_and_for_a_turn() -> None:
    """All that a coroutine of asyncio may wait for; what that raises is raised in it."""
    said: list[object] = []
    loop = asyncio.get_running_loop()
    future = loop.create_future()

    async def answered() -> str:
        await turn()
        return "task"

    async def fails() -> None:
        await turn()
        raise ValueError("task")

    async def handler() -> None:
        said.append(await future)
        said.append(await loop.create_task(answered()))
        await asyncio.sleep(0)  # noqa: TID251 - the bare turn is what is tested
        with pytest.raises(ValueError, match="task"):
            await loop.create_task(fails())
        said.append(asyncio.current_task())

    handling, ended = handled(handler)
    handling.start()
    assert said == []
    future.set_result("future")
    await until_done(handling)

    assert said == ["future", "task", handling]
    assert ended.times == 1


async def test_an_error_is_kept() -> None:
    """Whoever started it says what becomes of it."""

    async def handler() -> None:
        raise ValueError("wrong")

    handling, ended = handled(handler)
    handling.start()

    assert repr(handling.exception()) == "ValueError('wrong')"
    assert ended.times == 1
    assert not handling.cancelled()


async def test_what_no_coroutine_of_asyncio_waits_for_is_an_error_in_it() -> None:
    """As in a task."""

    class Odd:
        def __await__(self):  # type: ignore[no-untyped-def]
            yield 7

    async def handler() -> None:
        await Odd()

    handling, _ = handled(handler)
    handling.start()
    await until_done(handling)

    assert isinstance(handling.exception(), RuntimeError)


async def test_an_exit_ends_it_and_goes_on() -> None:
    """It is meant for the whole process."""

    async def handler() -> None:
        raise SystemExit

    handling, ended = handled(handler)
    with pytest.raises(SystemExit):
        handling.start()

    assert ended.times == 1
    assert asyncio.current_task() is not None


async def never() -> None:
    await asyncio.get_running_loop().create_future()


async def shielded() -> None:
    inner = asyncio.get_running_loop().create_task(never())
    try:
        await asyncio.shield(inner)
    finally:
        inner.cancel()


async def within_a_timeout() -> None:
    async with asyncio.timeout(60):
        await never()


async def in_a_group() -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(never())
        await turn()


async def for_a_task() -> None:
    await asyncio.get_running_loop().create_task(never())


async def for_many_turns() -> None:
    while True:
        await turn()


async def for_bare_turns() -> None:
    for _ in range(1_000):
        await asyncio.sleep(0)  # noqa: TID251 - the bare turn is what is tested


WAITS = (never, shielded, within_a_timeout, in_a_group, for_a_task, for_many_turns, for_bare_turns)


@pytest.mark.parametrize("stubborn", [False, True])
@pytest.mark.parametrize("turns", [0, 1, 5])
@pytest.mark.parametrize("wait", WAITS)
async def test_cancelled_anywhere_it_ends_as_a_task_does(
    wait: Handler, turns: int, stubborn: bool
) -> None:
    """A client may leave, a session be killed, a deadline pass at any await: what is seen of it is
    what a task would have seen."""

    async def handler(said: list[str]) -> None:
        try:
            await wait()
        except asyncio.CancelledError:
            said.append("cancelled")
            if not stubborn:
                raise
        finally:
            await turn()  # who settles waits on the way out
            said.append("left")

    by_task: list[str] = []
    task = asyncio.get_running_loop().create_task(handler(by_task))
    await turn()  # a task begins a turn later
    by_handling: list[str] = []
    handling, ended = handled(lambda: handler(by_handling))
    handling.start()
    for _ in range(turns):
        await turn()

    assert task.cancel()
    assert handling.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await until_done(handling)

    assert by_handling == by_task == ["cancelled", "left"]
    assert handling.cancelled() == task.cancelled() == (not stubborn)
    assert handling.cancelling() == task.cancelling() == 1
    assert ended.times == 1


async def test_it_may_cancel_itself_and_take_that_back() -> None:
    """As a deadline does that finds its own call: the next wait raises, and it goes on."""
    said = []

    async def handler() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        try:
            await never()
        except asyncio.CancelledError:
            said.append(task.uncancel())
        await turn()
        said.append(task.cancelling())

    handling, _ = handled(handler)
    handling.start()
    await until_done(handling)

    assert said == [0, 0]
    assert not handling.cancelled()
    assert handling.uncancel() == 0


async def test_a_cancel_that_nothing_waits_for_any_more_is_still_one() -> None:
    """The last thing it did was to be cancelled."""

    async def handler() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    handling, ended = handled(handler)
    handling.start()

    assert handling.cancelled()
    assert ended.times == 1


async def test_a_timeout_in_it_is_its_own() -> None:
    """asyncio.timeout cancels the current task, and takes that back."""
    said = []

    async def handler() -> None:
        try:
            async with asyncio.timeout(0):
                await asyncio.get_running_loop().create_future()
        except TimeoutError:
            said.append("late")
        await turn()
        said.append("on")

    handling, _ = handled(handler)
    handling.start()
    await until_done(handling)

    assert said == ["late", "on"]
    assert handling.cancelling() == 0
