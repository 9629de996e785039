"""Turns of the loop: who waits for one lets all else be done that is ready."""

import asyncio


async def turn_of(loop: asyncio.AbstractEventLoop, seconds: float = 0.0) -> None:
    """One of the loop, or all there are in so many seconds."""
    waiter = loop.create_future()
    timer = loop.call_later(seconds, _end, waiter) if seconds else loop.call_soon(_end, waiter)
    try:
        await waiter
    finally:
        timer.cancel()


def _end(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
