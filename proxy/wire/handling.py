"""A handler's coroutine, run at once and in place: what a request needs of a task, and no more.

asyncio's own tasks begin in the loop's next turn (from Python 3.12 on they may be eager), are
registered for everybody to find, and report their end a turn later: of a short call some 5 µs. This
one runs to its first wait where it is started, and says that it has ended where it ends. To what
runs in it it is the current task: `asyncio.timeout`, task groups and whoever cuts a call work as in
any other, for cancelling is counted and delivered as `asyncio.Task` does it.

What it leaves out: a context of its own (variables set in it are the caller's), a name, a result.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

_enter: Final = asyncio.tasks._enter_task  # noqa: SLF001 - for event loops and tasks of one's own
_leave: Final = asyncio.tasks._leave_task  # noqa: SLF001


class Handling:
    """One run of a handler. `ended` is called with it, once, when it has ended in whatever way;
    what that raises comes out of the loop's callback, or of `start`."""

    __slots__ = (
        "__weakref__",
        "_cancels",
        "_coroutine",
        "_ended",
        "_error",
        "_loop",
        "_throws",
        "_waits_for",
        "_was_cancelled",
        "_wrong",
    )

    def __init__(
        self,
        coroutine: Coroutine[object, None, None],
        loop: asyncio.AbstractEventLoop,
        ended: Callable[["Handling"], None],
    ) -> None:
        self._coroutine: Coroutine[object, None, None] | None = coroutine
        self._loop = loop
        self._ended = ended
        self._waits_for: asyncio.Future[object] | None = None
        self._throws = False
        self._cancels = 0
        self._error: BaseException | None = None
        self._wrong: BaseException | None = None
        self._was_cancelled = False

    def start(self) -> None:
        """Runs it to its first wait. Called once, and not necessarily from outside of a task."""
        outer = asyncio.current_task(self._loop)
        if outer is None:
            self._step()
            return
        _leave(self._loop, outer)
        try:
            self._step()
        finally:
            _enter(self._loop, outer)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def done(self) -> bool:
        return self._coroutine is None

    def cancelled(self) -> bool:
        """Whether it ended by a cancellation."""
        return self._was_cancelled

    def exception(self) -> BaseException | None:
        """What it ended with, if that was an error."""
        return self._error

    def cancel(self, msg: object = None) -> bool:
        """Asks it to end: CancelledError is raised where it waits. False if it has ended."""
        if self._coroutine is None:
            return False
        self._cancels += 1
        if self._waits_for is None or not self._waits_for.cancel():
            self._throws = True
        return True

    def cancelling(self) -> int:
        """How many requests to cancel stand."""
        return self._cancels

    def uncancel(self) -> int:
        """Takes one back; returns how many are left."""
        if self._cancels:
            self._cancels -= 1
        return self._cancels

    def _step(self, _: object = None) -> None:
        """On to its next wait. What a future that it waited for was cancelled with, or failed with,
        is raised by that future's own `__await__`."""
        coroutine = self._coroutine
        if coroutine is None:
            return
        self._waits_for = None
        _enter(self._loop, self)  # type: ignore[arg-type]  # it acts as one
        try:
            waited = coroutine.throw(self._thrown()) if self._throws else coroutine.send(None)
        except StopIteration:
            self._end(None, cancelled=self._throws)
        except asyncio.CancelledError:
            self._end(None, cancelled=True)
        except BaseException as exc:
            self._end(exc)
            if not isinstance(exc, Exception):
                raise
        else:
            self._wait(waited)
        finally:
            _leave(self._loop, self)  # type: ignore[arg-type]
            if self._coroutine is None:
                self._ended(self)

    def _thrown(self) -> BaseException:
        """What is raised where it waits: it was cancelled, or waited for what cannot be."""
        self._throws = False
        wrong, self._wrong = self._wrong, None
        return wrong or asyncio.CancelledError()

    def _wait(self, waited: object) -> None:
        """For a future, or for the next turn of the loop."""
        if waited is None:
            self._loop.call_soon(self._step)
            return
        future: Any = waited
        if not getattr(future, "_asyncio_future_blocking", False):
            self._throws = True
            self._wrong = RuntimeError(f"a handler waited for a {type(waited).__name__}")
            self._loop.call_soon(self._step)
            return
        future._asyncio_future_blocking = False  # noqa: SLF001 - how tasks and futures agree
        future.add_done_callback(self._step)
        self._waits_for = future
        if self._throws and future.cancel():
            self._throws = False

    def _end(self, error: BaseException | None, *, cancelled: bool = False) -> None:
        self._coroutine = None
        self._error, self._was_cancelled = error, cancelled
