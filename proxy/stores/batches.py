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
Delivery = tuple["asyncio.Future[Result]", Result | Exception]


class BatchThread(Generic[Job]):
    """Takes what has gathered while it was busy, at most `most` at once: a batch under load, a
    single job when idle, and never a wait for more. `handle` and `finish` run on the thread; they
    must not raise. A daemon: an abrupt end of the process does not wait for it."""

    def __init__(
        self,
        name: str,
        handle: Callable[[Sequence[Job]], None],
        finish: Callable[[], None],
        most: int,
    ) -> None:
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._handle = handle
        self._finish = finish
        self._most = most
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, job: Job) -> None:
        self._queue.put(job)

    def stop(self) -> None:
        """Blocks until everything that was put before is handled, and the thread has ended."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        goes_on = True
        while goes_on:
            batch, goes_on = self._gather()
            if batch:
                self._handle(batch)
        self._finish()

    def _gather(self) -> tuple[list[Job], bool]:
        batch: list[Job] = []
        job = self._queue.get()
        while job is not None:
            batch.append(job)
            if len(batch) == self._most:
                return batch, True
            try:
                job = self._queue.get_nowait()
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
