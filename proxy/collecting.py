"""When the garbage collector walks what lives: the young often, what grew old once, soon after.

Ten thousand sessions in memory, with the links that lead to them, are some 200,000 objects. By its
own rule the collector walks them all whenever a quarter is new: in a flood of new sessions every
second or two, for 110 ms each time (40 µs of every call). But a call leaves no circle behind
(`tests/integration/test_garbage.py`), so such walks find nothing. Those of the young stay, and cost
6 µs a call where each is a new session: they find what an error in a dark corner leaves. What has
grown old since the last time is walked every five seconds and then set aside: 12 ms for a thousand
sessions, where all of 30,000 take 200 ms, in which every stream would stand still. All of it is
walked once in ten minutes, when no call is under way.
"""

import gc
from collections.abc import Callable

from proxy.clock import Clock

_YOUNG = 2_000
_MIDDLE = 5
"""With 10,000 and 10, what is walked at once takes 80 ms instead of 5 to 15."""
_NEVER = 1_000_000_000
_OLD_SECONDS = 5.0
_ALL_SECONDS = 600.0


def begin() -> None:
    """What is there by now stays for good, and is not walked again."""
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _NEVER)


async def collect_at_times(clock: Clock, is_idle: Callable[[], bool]) -> None:
    """Runs for as long as the process does. is_idle: whether nobody has to wait for a long walk."""
    all_walked = clock.monotonic()
    while True:
        await clock.sleep(_OLD_SECONDS)
        if not gc.get_count()[2]:
            continue
        if clock.monotonic() - all_walked >= _ALL_SECONDS and is_idle():
            all_walked = clock.monotonic()
            gc.unfreeze()
        gc.collect()
        gc.freeze()
