"""When the garbage collector walks what lives: what is new soon, what has grown old hardly ever.

Ten thousand sessions in memory, with the links that lead to them, are some 200,000 objects, and an
open stream is 110. By its own rule the collector walks them all whenever a quarter is new: 190 ms
for the 2,000 streams that have just begun, in which every one of them stands still. But a call
leaves no circle behind (`tests/integration/test_garbage.py`), so such walks find nothing. Those of
the young stay, and cost 6 µs a call where each is a new session: they find what an error in a dark
corner leaves.

By its own rule even a walk of the young is long: it counts what is new less what is freed, and
where streams begin and end it waits until 50,000 objects are to be walked at once, for 50 ms. So
what is new is walked four times a second, too, and is old from then on. All that is old is walked
once in ten minutes, when no call is under way; but never what was there at the start, whose pages
workers share.
"""

import gc
from collections.abc import Callable

from proxy.clock import Clock

_YOUNG = 2_000
_MIDDLE = 5
"""With 10,000 and 10, what is walked at once takes 80 ms instead of 5 to 15."""
_NEVER = 1_000_000_000
_NEW_SECONDS = 0.25
_ALL_SECONDS = 600.0


def begin() -> None:
    """What is there by now stays for good, and is not walked again."""
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _NEVER)


async def collect_at_times(clock: Clock, is_idle: Callable[[], bool]) -> None:
    """Runs for as long as the process does. is_idle: whether nobody has to wait for a long walk."""
    all_walked = clock.monotonic()
    while True:
        await clock.sleep(_NEW_SECONDS)
        if clock.monotonic() - all_walked >= _ALL_SECONDS and is_idle():
            all_walked = clock.monotonic()
            gc.collect()
        else:
            gc.collect(1)
