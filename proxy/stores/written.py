"""The answer of a store that is under way: waited for to its end, whatever cancels the waiter.

A cancelled task is woken with its CancelledError only when the store has answered, so that nobody
ever has to ask whether an append that was submitted took place. It costs no task and no shield.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from proxy.errors import HoldfastError, StoreUnavailable

A = TypeVar("A")
T = TypeVar("T")


class Written(asyncio.Future[T]):
    """A future that cannot be cancelled. Who waits for it is cancelled once it is done."""

    def cancel(self, msg: object | None = None) -> bool:
        return False


def outlasting(ask: Callable[[A], Awaitable[T]], what: A) -> "asyncio.Future[T]":
    """What a store answers, also where it refuses at once or has to wait itself."""
    written: Written[T] = Written(loop=asyncio.get_running_loop())
    try:
        answer = ask(what)
    except HoldfastError as refused:
        written.set_exception(refused)
        return written
    if isinstance(answer, Written):
        return answer

    def tell(done: "asyncio.Future[T]") -> None:
        if done.cancelled():
            written.set_exception(StoreUnavailable("the store was closed"))
        elif (error := done.exception()) is not None:
            written.set_exception(error)
        else:
            written.set_result(done.result())

    asyncio.ensure_future(answer).add_done_callback(tell)
    return written
