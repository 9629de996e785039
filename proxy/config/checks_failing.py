"""Times, breakers and retries in a policy that can never do what they say."""

from collections.abc import Callable
from typing import Final

from proxy.config.draft import Draft
from proxy.config.problems import Path

_BREAKERS: Final[Path] = ("breakers",)


def unreached_timeouts(draft: Draft) -> None:
    policy = draft.policy
    longest = _longest_deadline(draft)
    breakers, path = policy.breakers, _BREAKERS
    seconds: dict[Path, float | None] = {
        ("timeouts", "connect"): policy.timeouts.connect,
        ("timeouts", "head"): policy.timeouts.head,
        ("timeouts", "idle"): policy.timeouts.idle,
        (*path, "slow_seconds"): breakers.slow_seconds,
        (*path, "answer_seconds"): breakers.answer_seconds,
        (*path, "stall_seconds"): breakers.stall_seconds,
    }
    for place, value in seconds.items():
        if value is not None and value > longest:
            message = f"never fires: deadline_seconds ({longest:g}) is reached first"
            draft.reading.warn(place, message)


def stalls_that_time_out(draft: Draft) -> None:
    """A stream that is cut has no time left to stall in."""
    idle, stall = draft.policy.timeouts.idle, draft.policy.breakers.stall_seconds
    if idle < stall <= _longest_deadline(draft):
        message = f"never fires: timeouts.idle ({idle:g}) is reached first"
        draft.reading.warn((*_BREAKERS, "stall_seconds"), message)


def openings(draft: Draft) -> None:
    breakers = draft.policy.breakers
    if breakers.open_seconds > breakers.open_seconds_max:
        message = f"more than breakers.open_seconds_max ({breakers.open_seconds_max:g})"
        draft.reading.report((*_BREAKERS, "open_seconds"), message)


def idle_retries(draft: Draft) -> None:
    retries = draft.policy.retries
    if retries.max == 0:
        draft.reading.warn(("retries", "ratio"), "never fires: retries.max is 0")
    elif retries.ratio == 0:
        draft.reading.warn(("retries", "max"), "never fires: retries.ratio is 0")


def _longest_deadline(draft: Draft) -> float:
    policy = draft.policy
    own = (route.deadline_seconds for route in policy.routes)
    return max((policy.deadline_seconds, *(seconds for seconds in own if seconds is not None)))


FAILING_CHECKS: Final[tuple[Callable[[Draft], None], ...]] = (
    unreached_timeouts,
    stalls_that_time_out,
    openings,
    idle_retries,
)
