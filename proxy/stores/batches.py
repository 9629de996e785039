"""A thread that is handed jobs and works on them in batches, in order, while the loop goes on."""

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from proxy.stores.written import Written

Job = TypeVar("Job")
Result = TypeVar("Result")
REST_SECONDS = 0.25
"""How long nothing comes before a thread that could rest does."""

Delivery = tuple["asyncio.Future[Result]", Result | Exception]


class BatchThread(Generic[Job]):
    """Takes what has gathered while it was busy, at most `most` at once and what was put with the
    last of them: a batch under load, a single job when idle, and never a wait for more.

    `handle`, `rest` and `finish` run on the thread; they must not raise. Where `handle` answers
    True and nothing comes for a while, `rest` is called. A daemon: an abrupt end of the process
    does not wait for it."""

    def __init__(
        self,
        name: str,
        handle: Callable[[Sequence[Job]], bool | None],
        finish: Callable[[], None],
        most: int,
        rest: Callable[[], None] = lambda: None,
    ) -> None:
        self._queue: queue.SimpleQueue[Sequence[Job] | None] = queue.SimpleQueue()
        self._handle = handle
        self._rest = rest
        self._finish = finish
        self._most = most
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, jobs: Sequence[Job]) -> None:
        """Wakes the thread once for all of them."""
        self._queue.put(jobs)

    def stop(self) -> None:
        """Blocks until everything that was put before is handled, and the thread has ended."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        goes_on, rests = True, True
        while goes_on:
            try:
                jobs = self._queue.get(timeout=None if rests else REST_SECONDS)
            except queue.Empty:
                self._rest()
                rests = True
                continue
            batch, goes_on = self._gather(jobs)
            if batch:
                rests = not self._handle(batch)
        self._finish()

    def _gather(self, jobs: Sequence[Job] | None) -> tuple[list[Job], bool]:
        batch: list[Job] = []
        while jobs is not None:
            batch += jobs
            if len(batch) >= self._most:
                return batch, True
            try:
                jobs = self._queue.get_nowait()
            except queue.Empty:
                return batch, True
        return batch, False


def deliver(loop: asyncio.AbstractEventLoop, deliveries: Sequence[Delivery[Result]]) -> None:
    """Resolves futures on their loop, waking it once for all of them. From any thread."""
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(_resolve, deliveries)


def _resolve(deliveries: Sequence[Delivery[Result]]) -> None:
    for future, result in deliveries:
        if isinstance(future, Written):
            future.answer(result)
        elif future.done():
            continue  # its waiter was cancelled
        elif isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
