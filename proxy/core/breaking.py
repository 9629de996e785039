"""When a breaker opens, for how long, and whose word about it is the newest. Pure.

Theory of operation. How a breaker stands is a value, its `Standing`. Each opening and each closing
is a new generation, and what a call learns counts in the generation that let it go: a straggler
says how things were, not how they are. One exception: a failure of a call that was in flight when
the breaker opened, while it still is, makes it wait from then on; never less than before. Workers
tell each other their standings; of two about one breaker the greater is the newer, for everybody,
in whatever order they were told.
"""

import math
from typing import Final, Literal, assert_never

import msgspec

from proxy.core.failing import BreakerPolicy
from proxy.core.failures import Failure
from proxy.core.resets import MAX_RESET_SECONDS

Why = Literal["failing", "slow", "rate_limited", "key", "manual"]
"""Of an open breaker. manual: a human's word."""
Phase = Literal["closed", "half-open", "open"]
Effect = Literal["none", "slow", "failure", "rate_limited", "key"]
"""What a failure means to a breaker; the last two open it at once."""

JITTER: Final = 0.2
"""The share of a wait that chance may take off, so that replicas do not probe as one."""
_PIECES: Final = 10
_MOST_DOUBLINGS: Final = 40


class Record:
    """What became of the calls of the last `seconds`, counted in tenths of them: of the oldest
    tenth it knows a part. Nothing in it grows. For one thread.

    failed_in_row, slow_in_row: since the last call that went well, however long ago.
    """

    __slots__ = (
        *("calls", "failures", "slow", "failed_in_row", "slow_in_row", "seconds"),
        *("_width", "_piece", "_calls", "_failures", "_slow"),
    )

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._width = seconds / _PIECES
        self.failed_in_row = self.slow_in_row = 0
        self._forget()

    def _forget(self) -> None:
        self.calls = self.failures = self.slow = 0
        self._piece = 0
        self._calls, self._failures, self._slow = [0] * _PIECES, [0] * _PIECES, [0] * _PIECES

    def went_well(self, now: float) -> None:
        """now: monotonic seconds, here and elsewhere."""
        piece = int(now / self._width)
        if piece > self._piece:
            self._move_to(piece)
        self._calls[self._piece % _PIECES] += 1
        self.calls += 1
        self.failed_in_row = self.slow_in_row = 0

    def failed(self, now: float) -> None:
        self.move(now)
        place = self._piece % _PIECES
        self._calls[place] += 1
        self._failures[place] += 1
        self.calls += 1
        self.failures += 1
        self.failed_in_row += 1

    def was_slow(self, now: float) -> None:
        """It says nothing of failures: those before it are still in a row."""
        self.move(now)
        place = self._piece % _PIECES
        self._calls[place] += 1
        self._slow[place] += 1
        self.calls += 1
        self.slow += 1
        self.slow_in_row += 1

    def move(self, now: float) -> None:
        """The counts are of the time before `now`."""
        piece = int(now / self._width)
        if piece > self._piece:
            self._move_to(piece)

    def _move_to(self, piece: int) -> None:
        if piece - self._piece >= _PIECES:
            self._forget()
            self._piece = piece
            return
        while self._piece < piece:
            self._piece += 1
            place = self._piece % _PIECES
            self.calls -= self._calls[place]
            self.failures -= self._failures[place]
            self.slow -= self._slow[place]
            self._calls[place] = self._failures[place] = self._slow[place] = 0


def effect_of(failure: Failure) -> Effect:
    """What it means to the breaker of the one who was asked. That a model is not there is an
    answer."""
    match failure.reason:
        case "rate_limited" | "key" | "slow":
            return failure.reason
        case "not_found":
            return "none"
        case "connect" | "tls" | "dns" | "timeout" | "reset" | "error" | "malformed" | "truncated":
            return "failure"
        case _:
            assert_never(failure.reason)


def reason_to_open(policy: BreakerPolicy, record: Record) -> Why | None:
    """After a call that failed or was slow; None: not yet.

    `minimum_calls` slow ones in a row are enough whatever went before: slow calls are told late,
    and a busy minute of quick ones would hide them until half of its count has waited.
    """
    if record.failed_in_row >= policy.consecutive_failures:
        return "failing"
    if record.slow_in_row >= policy.minimum_calls:
        return "slow"
    if record.calls < policy.minimum_calls:
        return None
    if record.failures >= policy.failure_rate * record.calls:
        return "failing"
    if record.slow >= policy.slow_rate * record.calls:
        return "slow"
    return None


class Standing(msgspec.Struct, frozen=True, order=True, array_like=True):
    """How a breaker stands. The order of its fields is that of what is newer.

    generation: milliseconds of the clock that all workers read, or one more than the last: so one
        who has forgotten a breaker outbids what others still know. before: the one before it.
    by_hand: a human said so; it holds against what a worker finds at the same time.
    until: monotonic seconds; from then on one call may try. infinity: a human must close it.
    openings: in a row, without a call that went well in between. said: `until` is the provider's
        own word.
    """

    generation: int = 0
    by_hand: bool = False
    is_open: bool = False
    until: float = 0.0
    openings: int = 0
    why: Why = "failing"
    before: int = 0
    said: bool = False


def phase_of(standing: Standing, now: float) -> Phase:
    """half-open: a call may try, or is trying."""
    if not standing.is_open:
        return "closed"
    return "open" if now < standing.until else "half-open"


def newest(one: Standing, other: Standing) -> Standing:
    """What stands, of two that were said about one breaker."""
    return max(one, other)


def opened(
    was: Standing,
    policy: BreakerPolicy,
    why: Why,
    now: float,
    chance: float,
    reset_seconds: float | None = None,
) -> Standing:
    """Opened, or opened again after a call that tried in vain. chance: from 0 to 1.
    reset_seconds: from now, as the provider said; it is held to that, within bounds."""
    openings = was.openings + 1
    until = now + _wait(policy, openings, chance, reset_seconds)
    generation = _after(was, now)
    said = reset_seconds is not None
    return Standing(generation, False, True, until, openings, why, was.generation, said)


def extended(
    was: Standing,
    policy: BreakerPolicy,
    why: Why,
    now: float,
    chance: float,
    reset_seconds: float | None = None,
) -> Standing:
    """After a failure that came late: as if it had opened only now, where that is later."""
    until = now + _wait(policy, was.openings, chance, reset_seconds)
    if was.by_hand or until <= was.until:
        return was
    said = reset_seconds is not None
    return msgspec.structs.replace(was, until=until, why=why, said=said)


def is_late(standing: Standing, generation: int, now: float) -> bool:
    """Whether a call of that generation was in flight when the breaker opened, and it still is."""
    in_flight = standing.before == generation != standing.generation
    return standing.is_open and now < standing.until and in_flight


def tells_of_now(failure: Failure) -> bool:
    """A call that ran out of time tells of when it began."""
    return failure.reason not in ("timeout", "slow", "not_found")


def closed(was: Standing, now: float) -> Standing:
    """After a call that tried and went well."""
    return Standing(_after(was, now), why=was.why, before=was.generation)


def opened_by_hand(was: Standing, now: float, seconds: float = math.inf) -> Standing:
    """seconds: then one call may try; never, unless it is said."""
    until, generation = now + seconds, _after(was, now)
    return Standing(generation, True, True, until, max(was.openings, 1), "manual", was.generation)


def closed_by_hand(was: Standing, now: float) -> Standing:
    return Standing(_after(was, now), True, why=was.why, before=was.generation)


def _after(was: Standing, now: float) -> int:
    return max(was.generation + 1, int(now * 1_000))


def _wait(
    policy: BreakerPolicy, openings: int, chance: float, reset_seconds: float | None
) -> float:
    """Seconds until a call may try."""
    if reset_seconds is not None:
        return min(max(reset_seconds, 0.0), MAX_RESET_SECONDS)
    doubled = policy.open_seconds * 2.0 ** min(max(openings - 1, 0), _MOST_DOUBLINGS)
    return min(doubled, policy.open_seconds_max) * (1.0 - JITTER * chance)
