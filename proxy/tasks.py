"""Tasks that outlive the call that started them: kept, named, and waited for at the end."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)


class Tasks:
    """Keeps background tasks alive until they end; logs one that failed."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()

    def spawn(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        """Starts `work`; it is cancelled by `close` at the latest."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def run(self, work: Coroutine[None, None, T], name: str) -> "asyncio.Task[T]":
        """Like `spawn`, for who waits for the result: what it raises is theirs to handle."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background task failed: %s", task.get_name(), exc_info=error)

    async def settle(self) -> None:
        """Waits for all of them to end by themselves."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Cancels what still runs and waits for it."""
        for task in tuple(self._tasks):
            task.cancel()
        await self.settle()
