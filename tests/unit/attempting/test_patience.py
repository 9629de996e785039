"""An attempt is given up only for somebody else, and no cancellation is mistaken for that."""

import asyncio

import pytest

from proxy.attempting.patience import Patience


async def waits(patience: Patience | None = None) -> None:
    await asyncio.get_running_loop().create_future()


async def attempt(*, elsewhere: bool, cancels: int) -> str:
    """How an attempt ends whose patience ran out, and that was cancelled so often beside."""
    task = asyncio.current_task()
    assert task is not None
    patience = Patience(60.0, lambda: elsewhere)

    def passes() -> None:
        patience.expired(0.0)
        for _ in range(cancels):
            task.cancel()

    asyncio.get_running_loop().call_soon(passes)
    try:
        await waits()
    except asyncio.CancelledError:
        if patience.is_over():
            return "given up"
        for _ in range(cancels):
            task.uncancel()
        return "cut" if task.cancelling() == 0 else "left over"
    return "answered"


async def test_it_ends_where_another_takes_the_call() -> None:
    assert await attempt(elsewhere=True, cancels=0) == "given up"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@pytest.mark.parametrize("elsewhere", [True, False])
async def test_a_cut_in_the_same_moment_stays_a_cut(elsewhere: bool) -> None:
    assert await attempt(elsewhere=elsewhere, cancels=1) == "cut"


async def test_where_nobody_takes_it_it_is_asked_again_later() -> None:
    answers = iter([False, True])
    patience = Patience(60.0, lambda: next(answers))
    patience.expired(5.0)

    assert (patience.ended, patience.due) == (False, 5.5)
    patience.expired(5.5)
    assert (patience.ended, patience.due) == (True, float("inf"))
    with pytest.raises(asyncio.CancelledError):
        await waits()
    assert patience.is_over()


async def test_it_ends_once() -> None:
    patience = Patience(60.0, lambda: True)
    patience.expired(0.0)
    patience.expired(1.0)

    with pytest.raises(asyncio.CancelledError):
        await waits()
    assert patience.is_over()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
