"""The policy key `loops` as frozen values. Its defaults are those of `policies/default.yaml`."""

from dataclasses import dataclass
from typing import Final

from proxy.core.loops.finding import Rung

REMEMBERED: Final = 128
"""Turns of a thread that are kept: no detector sees more, so no threshold can lie above."""


@dataclass(frozen=True, slots=True)
class Rungs:
    """At which count each rung of the ladder is reached. None skips it; the last can't be."""

    warn: int | None
    steer: int | None
    final_answer: int | None
    stop: int

    def at(self, count: int) -> Rung | None:
        """The highest that this count has reached; None below all of them."""
        if count >= self.stop:
            return "stop"
        if self.final_answer is not None and count >= self.final_answer:
            return "final_answer"
        if self.steer is not None and count >= self.steer:
            return "steer"
        return "warn" if self.warn is not None and count >= self.warn else None

    @property
    def least(self) -> int:
        """The count below which nothing is said."""
        return min(n for n in (self.warn, self.steer, self.final_answer, self.stop) if n)


def rungs_of(times: int) -> dict[str, int | None]:
    """The rungs around the count at which the model is told of a loop."""
    warn = times - 1 if times > 2 else None
    return {"warn": warn, "steer": times, "final_answer": times + 1, "stop": times + 2}


@dataclass(frozen=True, slots=True)
class Cycle:
    """A way round of 2 to max_period turns; `rungs` count whole ways round."""

    max_period: int = 8
    rungs: Rungs = Rungs(2, 3, 4, 5)


@dataclass(frozen=True, slots=True)
class Loops:
    """How loops are found and what is done about them. A detector that is None is off.

    polling: globs of tools that are asked again and again rightly: exempt from all of them but
    `polling_bound`. ignore_arguments: globs of arguments that do not make a call another one.
    observe: everything is found and told (events, metrics), and nothing is done.
    """

    repeat: Rungs | None = Rungs(2, 3, 4, 5)
    repeat_any_result: Rungs | None = Rungs(3, 4, None, 5)
    cycle: Cycle | None = Cycle()
    stall: Rungs | None = Rungs(6, 10, 15, 20)
    empty: Rungs | None = Rungs(6, 10, 15, 20)
    error_streak: Rungs | None = Rungs(5, 8, 11, 14)
    text: Rungs | None = Rungs(2, 3, 4, 5)
    polling: tuple[str, ...] = (
        *("get_*_status", "*_status", "wait", "wait_*", "*_wait", "*_wait_for", "sleep"),
        *("poll", "poll_*", "*_poll", "BashOutput", "TaskOutput", "write_stdin"),
        *("*scroll*", "*press_*", "*screenshot*", "computer*", "*next_page", "get_next_*"),
    )
    polling_bound: Rungs | None = Rungs(60, 80, 100, 120)
    ignore_arguments: tuple[str, ...] = (
        *("request_id", "trace_id", "span_id", "correlation_id", "idempotency_key"),
        *("nonce", "timestamp"),
    )
    observe: bool = False
