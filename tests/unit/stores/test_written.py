"""An answer reaches whoever it is for, whatever became of the others."""

import asyncio

from proxy.stores.batches import deliver
from proxy.stores.written import Written


async def test_what_one_raises_who_hears_late_keeps_no_other_waiting() -> None:
    """Both are answered with one batch; the loop's handler is told of the error."""
    loop = asyncio.get_running_loop()
    told: list[object] = []
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
    error = RuntimeError("an observer failed")

    def fail(_: object) -> None:
        raise error

    left, waiting = Written[int](loop=loop), Written[int](loop=loop)
    left.late = fail
    left.cancel()
    deliver(loop, [(left, 1), (waiting, 2)])

    async with asyncio.timeout(5):
        assert await waiting == 2
    assert told == [error]
