"""The ways in which the simulated provider fails, and how they are asked for.

A fault is asked for by a script's turn, by a request's `x-sim-fault` header, or at run time.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from hashlib import blake2b
from typing import Literal, cast, get_args

Ending = Literal["eof", "close", "reset"]
ErrorBody = Literal["dialect", "html", "empty"]

_MEMORY = 4_096


class FaultKind(StrEnum):
    """What goes wrong; in brackets what the fault's argument is."""

    STATUS = "status"  # [code] an error instead of an answer
    MALFORMED_JSON = "malformed_json"  # 200 whose JSON breaks off
    WRONG_TYPES = "wrong_types"  # 200, valid JSON, not an answer
    EMPTY = "empty"  # 200 with nothing in it
    MALFORMED_SSE = "malformed_sse"  # [event] one unreadable line in the stream, which goes on
    ERROR_EVENT = "error_event"  # [event] the provider's error event, inside the 200 stream
    FAILED_EVENT = "failed_event"  # [event] the same in its other form, where there is one
    CUT_BYTES = "cut_bytes"  # [byte] the body ends there
    CUT_EVENTS = "cut_events"  # [event] the stream ends there
    STALL = "stall"  # [event] silence from there, for `seconds` or for ever
    SLOW_HEAD = "slow_head"  # [seconds] before the status line
    SLOW_FIRST_TOKEN = "slow_first_token"  # noqa: S105  # [seconds] between head and content
    RESET = "reset"  # the connection is reset instead of an answer
    IGNORE_BOUND = "ignore_bound"  # the answer is longer than max_tokens allows


_SECONDS_ARGUMENT = (FaultKind.SLOW_HEAD, FaultKind.SLOW_FIRST_TOKEN)
_NO_ARGUMENT = (
    FaultKind.MALFORMED_JSON,
    FaultKind.WRONG_TYPES,
    FaultKind.EMPTY,
    FaultKind.RESET,
    FaultKind.IGNORE_BOUND,
)


class BadFault(ValueError):
    """A fault that cannot be: says what was wrong and what is allowed."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One way of failing.

    at: the code, event or byte that it is about (an event counts from 0; `cut_events=2` sends two).
    how: a cut is a clean end of the HTTP body (eof), a closed connection that leaves the body
    unfinished (close), or a TCP reset. times: how often it happens to the same call (0: always), so
    that a retry can succeed.
    """

    kind: FaultKind
    at: int = 0
    seconds: float = 0.0
    how: Ending = "eof"
    body: ErrorBody = "dialect"
    retry_after: float | None = None
    message: str = ""
    code: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    times: int = 0


_OPTIONS = ("seconds", "how", "body", "retry_after", "message", "code", "headers", "times")


def parse_faults(text: str) -> tuple[Fault, ...]:
    """Reads `status=503;retry_after=1, slow_head=2`: several faults, each with its options.

    Raises BadFault.
    """
    return tuple(_parse_one(part) for part in text.split(",") if part.strip())


def _parse_one(text: str) -> Fault:
    head, *rest = (part.strip() for part in text.split(";"))
    name, _, argument = head.partition("=")
    options: dict[str, object] = {}
    for option in rest:
        key, found, value = option.partition("=")
        if not found:
            raise BadFault(f"option {option!r} of fault {name!r} has no value")
        options[key.strip()] = value.strip()
    return make_fault(name.strip(), argument.strip() or None, options)


def make_fault(name: str, argument: object, options: Mapping[str, object]) -> Fault:
    """A fault from its name, argument and options. Raises BadFault."""
    kind = _kind(name)
    unknown = [key for key in options if key not in _OPTIONS]
    if unknown:
        raise BadFault(f"unknown option {unknown[0]!r} (allowed: {', '.join(_OPTIONS)})")
    if kind in _NO_ARGUMENT and argument is not None:
        raise BadFault(f"fault {kind.value!r} takes no argument")
    fault = Fault(
        kind,
        seconds=_number("seconds", options.get("seconds", 0)),
        how=_ending(options.get("how", "eof")),
        body=_error_body(options.get("body", "dialect")),
        message=str(options.get("message", "")),
        code=str(options.get("code", "")),
        headers=_headers(options.get("headers")),
        times=int(_number("times", options.get("times", 0))),
    )
    if (after := options.get("retry_after")) is not None:
        fault = replace(fault, retry_after=_number("retry_after", after))
    if kind in _SECONDS_ARGUMENT:
        return replace(fault, seconds=_number(name, argument or fault.seconds))
    return replace(fault, at=_position(kind, argument))


def _kind(name: str) -> FaultKind:
    try:
        return FaultKind(name.replace("-", "_"))
    except ValueError:
        allowed = ", ".join(FaultKind)
        raise BadFault(f"unknown fault {name!r} (allowed: {allowed})") from None


def _position(kind: FaultKind, argument: object) -> int:
    at = int(_number(kind.value, argument if argument is not None else 0))
    if kind is FaultKind.STATUS and not 200 <= at <= 599:
        raise BadFault(f"fault 'status' needs a code from 200 to 599, got {at}")
    return at


def _headers(value: object) -> tuple[tuple[str, str], ...]:
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        raise BadFault("option 'headers' must be a mapping of names to values")
    return tuple((str(name), str(text)) for name, text in value.items())


def _number(name: str, value: object) -> float:
    try:
        number = float(str(value))
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e9:
        raise BadFault(f"{name!r} needs a number that is not negative, got {value!r}")
    return number


def _ending(value: object) -> Ending:
    for ending in get_args(Ending):
        if value == ending:
            return cast(Ending, ending)
    raise BadFault(f"'how' cannot be {value!r} (allowed: {', '.join(get_args(Ending))})")


def _error_body(value: object) -> ErrorBody:
    for body in get_args(ErrorBody):
        if value == body:
            return cast(ErrorBody, body)
    raise BadFault(f"'body' cannot be {value!r} (allowed: {', '.join(get_args(ErrorBody))})")


@dataclass(frozen=True, slots=True)
class Rule:
    """A fault set at run time. `model` and `path` are globs; `left`: requests still to fail, None
    for all until the rule is deleted."""

    faults: tuple[Fault, ...]
    model: str = "*"
    path: str = "*"
    left: int | None = None

    def fits(self, model: str, path: str) -> bool:
        """Whether a request is hit by it."""
        return fnmatchcase(model, self.model) and fnmatchcase(path, self.path)


@dataclass
class FaultBoard:
    """Which faults hit a request: those of its header, else those set at run time, else its turn's.

    The only state that makes two identical requests differ: rules run out, and a fault with `times`
    stops hitting a call that it has hit so often.
    """

    rules: list[Rule] = field(default_factory=list)
    _hits: OrderedDict[bytes, int] = field(default_factory=OrderedDict)

    def take(self, model: str, path: str) -> tuple[Fault, ...]:
        """The faults of the first rule that fits; one hit less is left of it."""
        for index, rule in enumerate(self.rules):
            if not rule.fits(model, path):
                continue
            if rule.left is not None:
                self.rules[index] = replace(rule, left=rule.left - 1)
                if rule.left <= 1:
                    del self.rules[index]
            return rule.faults
        return ()

    def live(self, faults: Sequence[Fault], call: bytes) -> tuple[Fault, ...]:
        """Those of `faults` that still hit this call; `call` is whatever identifies it."""
        return tuple(f for f in faults if f.times == 0 or self._count(f, call) <= f.times)

    def _count(self, fault: Fault, call: bytes) -> int:
        key = blake2b(repr(fault).encode() + call, digest_size=16).digest()
        count = self._hits[key] = self._hits.pop(key, 0) + 1
        if len(self._hits) > _MEMORY:
            self._hits.popitem(last=False)
        return count
