"""When Python's garbage collector walks what lives: the young often, all of it once a minute.

Ten thousand sessions in memory are some 200,000 objects. By its own rule the collector walks them
all whenever a quarter is new: in a flood of new sessions every second or two, for 110 ms each time
(40 µs of every call). But a call leaves no circle behind (`tests/integration/test_garbage.py`), so
such walks find nothing. Those of the young stay, and cost 6 µs a call where each is a new session:
they find what an error in a dark corner leaves. What grew old before it became garbage goes once a
minute, if anything has grown old since.
"""

import gc

from proxy.clock import Clock

_YOUNG = 2_000
_MIDDLE = 5
"""With 10,000 and 10, what is walked at once takes 80 ms instead of 5 to 15."""
_NEVER = 1_000_000_000
_FULL_SECONDS = 60.0


def begin() -> None:
    """What is there by now stays for good, and is not walked again."""
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _NEVER)


async def collect_at_times(clock: Clock) -> None:
    """Runs for as long as the process does."""
    while True:
        await clock.sleep(_FULL_SECONDS)
        if gc.get_count()[2]:
            gc.collect()
