"""The answer of a store that is under way: waited for to its end, whatever cancels the waiter.

A cancelled task is woken with its CancelledError only when the store has answered, so that nobody
ever has to ask whether an append that was submitted took place. It costs no task and no shield.
"""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class Written(asyncio.Future[T]):
    """A future that cannot be cancelled. Who waits for it is cancelled once it is done."""

    def cancel(self, msg: object | None = None) -> bool:
        return False


def outlasting(answer: Awaitable[T]) -> "asyncio.Future[T]":
    """The answer as a future that outlasts its waiter; a store that has to wait itself is run."""
    if isinstance(answer, Written):
        return answer
    loop = asyncio.get_running_loop()
    written: Written[T] = Written(loop=loop)

    def tell(done: "asyncio.Future[T]") -> None:
        if done.cancelled():
            written.set_exception(ConnectionError("the store was closed"))
        elif (error := done.exception()) is not None:
            written.set_exception(error)
        else:
            written.set_result(done.result())

    asyncio.ensure_future(answer).add_done_callback(tell)
    return written
