"""What is promised of every cell, and which of it was broken."""

from collections.abc import Iterator
from typing import Literal

from tests.faults.cells import BOUND, DEADLINE_SECONDS, Cell, Seen
from tests.faults.providers import FIRST, SECOND, Model

MOST_RETRIES = 2
_BODY_TOKENS = 1_000
"""More than any request here can be taken for."""
_LEAST_COUNTED = 0.75
"""Of what a provider bills for a stream that was cut: it never says how many tokens it made."""
_RETRIED = (408, 409, 429)
Wanted = Literal["first", "second", "either", "error", "stream error"]
"""An answer, of whom; or how else it has to end."""


def wanted(cell: Cell, seen: Seen) -> Wanted:
    """How this cell has to end."""
    when = cell.case.when
    if when == "border":
        when = "within" if seen.tokens else "before"
    match when:
        case "within":
            return "stream error"
        case "caller":
            return "error"
        case "tolerated":
            return "first"
        case "slow" if cell.fallback == "none":
            return "first"
        case "slow" if cell.fallback == "down":
            return "either"
        case _:
            return "second" if cell.fallback not in ("none", "down") else "error"


def broken(cell: Cell, seen: Seen) -> list[str]:
    """Each promise that was not kept, in words."""
    if seen.read.ending == "broken":
        return [seen.read.message]
    return [*_ending(cell, seen), *_attempts(cell, seen), *_booking(cell, seen)]


def _ending(cell: Cell, seen: Seen) -> Iterator[str]:
    if seen.seconds > DEADLINE_SECONDS + 1:
        yield f"takes {seen.seconds:.1f} s"
    want, ending = wanted(cell, seen), seen.read.ending
    if cell.case.is_event and cell.fallback == "none" and ending == "stream error":
        return  # the provider's own words, which nobody else can be asked instead of
    if cell.case.when == "border" and want == "stream error" and ending == "answer":
        want = "first"  # all of it had come, but for the last word
    match want:
        case "error" if ending == "error":
            yield from _error(cell, seen)
        case "error":
            yield f"ends with {ending}, not with an error"
        case "stream error":
            if ending != "stream error" or seen.served != "first":
                yield f"ends with {ending} of {seen.served!r}, not with an error in the stream"
            yield from _said(cell, seen, FIRST, whole=False)
        case _:
            yield from _answer(cell, seen, ("first", "second") if want == "either" else (want,))


def _answer(cell: Cell, seen: Seen, by: tuple[str, ...]) -> Iterator[str]:
    if seen.read.ending != "answer" or seen.served not in by:
        yield f"ends with {seen.read.ending} of {seen.served!r}, not with an answer of {by[-1]!r}"
    else:
        yield from _said(cell, seen, SECOND if seen.served == "second" else FIRST, whole=True)


def _said(cell: Cell, seen: Seen, model: Model, *, whole: bool) -> Iterator[str]:
    """What the model said came, all of it or its beginning."""
    said, meant = seen.read.said, model.said(cell.dialect)
    if whole and (said.text, said.calls, said.finish) != (meant.text, meant.calls, meant.finish):
        yield f"says {said.text!r} {said.calls} {said.finish}"
    elif not said.text or not meant.text.startswith(said.text):
        yield f"says {said.text!r} before its error"


def _error(cell: Cell, seen: Seen) -> Iterator[str]:
    """The provider's own, or ours that says what each has said."""
    own = cell.case.status
    passes = cell.case.when == "caller" or (cell.fallback == "none" and own)
    if passes and seen.status != own:
        yield f"status {seen.status}, not the provider's {own}"
    if not passes and seen.status not in (502, 503, 504):
        yield f"status {seen.status}"
    named = [name for name in ("first", "second") if name in seen.read.message]
    if cell.fallback == "down" and cell.case.when != "caller" and len(named) < 2:
        yield f"does not say what each did: {seen.read.message!r}"
    says_when = "retry-after" in seen.headers or "retry-after-ms" in seen.headers
    asks = seen.headers.get("x-should-retry") != "false" and not says_when
    if asks and (seen.status in _RETRIED or seen.status >= 500):
        yield "lets the client try again"


def _attempts(cell: Cell, seen: Seen) -> Iterator[str]:
    """Not more than the retries allow, and nobody is asked whom the call does not concern."""
    counted = [count for count in seen.attempts.values() if count is not None]
    candidates = 1 if cell.fallback == "none" else 2
    if sum(counted) > candidates + MOST_RETRIES:
        yield f"{sum(counted)} attempts"
    alone = wanted(cell, seen) in ("first", "stream error") or cell.case.when == "caller"
    if alone and seen.attempts["second"] and cell.fallback != "hedged":
        yield "the second was asked too"


def _booking(cell: Cell, seen: Seen) -> Iterator[str]:
    """Each attempt once: never less than was billed, nothing for what is free, nothing held."""
    if seen.held:
        yield "something is still held"
    closed = seen.events["StepSettled"] + seen.events["StepReleased"]
    if closed != seen.events["StepReserved"] or seen.events["StepSettled"] > 1:
        yield f"booked other than once: {dict(seen.events)}"
    if seen.steps != seen.events["StepSettled"]:
        yield f"counts {seen.steps} steps"
    counts = list(seen.attempts.values())
    if seen.events["StepSettled"] and None not in counts:
        attempts = sum(count for count in counts if count is not None)
        unseen = seen.events["AttemptFailed"] + 1 - attempts
        if unseen not in ((0, 1) if cell.fallback == "hedged" else (0,)):  # hung up on at once
            yield f"{attempts} attempts, and {seen.events['AttemptFailed']} booked as failed"
    yield from _cost(cell, seen)


def _cost(cell: Cell, seen: Seen) -> Iterator[str]:
    """Exact where every attempt's cost is known; else at most the hold of each that may cost."""
    sure = seen.read.ending != "stream error"
    if seen.booked < (1.0 if sure else _LEAST_COUNTED) * seen.billed:
        yield f"booked {seen.booked} of {seen.billed} billed"
    whole = seen.read.ending == "answer" and cell.case.when != "border"
    if whole and seen.booked != seen.failed_cost + seen.last_billed:
        yield f"booked {seen.booked}, not {seen.failed_cost} and {seen.last_billed}"
    known = cell.case.status or cell.case.unreachable or cell.case.when == "tolerated"
    most = seen.billed
    if not known:
        prices = (FIRST.prices, SECOND.prices)
        for price, count in zip(prices, seen.attempts.values(), strict=True):
            most += (count or 0) * (price[0] * _BODY_TOKENS + price[1] * BOUND)
    if seen.booked > most:
        yield f"booked {seen.booked} where {seen.billed} was billed"
