"""The answer of a store that is under way, which comes even when nobody waits for it any more.

Who waits may be cancelled at once (a kill does not wait for a store that hangs), but what was
submitted is written all the same, and whoever keeps account of it has to hear of that. It costs no
task and no shield.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from proxy.errors import HoldfastError, StoreUnavailable

A = TypeVar("A")
T = TypeVar("T")


class Written(asyncio.Future[T]):
    """A future whose answer is handed to `late` if its waiter was cancelled before it came."""

    late: Callable[[T | Exception], None] | None = None

    def answer(self, result: T | Exception) -> None:
        """What the store said, from its loop. `late` is told in the loop's next turn, like whoever
        waits: what it raises is nobody else's who was answered with it."""
        if self.done():
            if self.late is not None:
                self.get_loop().call_soon(self.late, result)
        elif isinstance(result, Exception):
            self.set_exception(result)
        else:
            self.set_result(result)


def outlasting(ask: Callable[[A], Awaitable[T]], what: A) -> Written[T]:
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
            written.answer(StoreUnavailable("the store was closed"))
        else:
            error = done.exception()
            written.answer(done.result() if error is None else _known(error))

    asyncio.ensure_future(answer).add_done_callback(tell)
    return written


def _known(error: BaseException) -> Exception:
    if isinstance(error, Exception):
        return error
    raise error
