"""The ordered list of detectors. Adding one: its file, and its entry here."""

from proxy.core.loops.detectors.base import Detector
from proxy.core.loops.detectors.cycle import Cycle
from proxy.core.loops.detectors.flagged import Empty, ErrorStreak
from proxy.core.loops.detectors.polling import Polling
from proxy.core.loops.detectors.repeat import Repeat
from proxy.core.loops.detectors.repeat_any_result import RepeatAnyResult
from proxy.core.loops.detectors.stall import Stall
from proxy.core.loops.detectors.text import Text

DETECTORS: tuple[Detector, ...] = (
    Repeat(),
    Cycle(),
    RepeatAnyResult(),
    Stall(),
    Empty(),
    ErrorStreak(),
    Text(),
    Polling(),
)
"""Of two that have come as far, the first is told of."""
