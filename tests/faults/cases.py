"""The ways of failing, and what may come of each."""

from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate
from typing import Literal

from proxy.simulator import Fault, FaultKind
from proxy.simulator.faults import parse_faults

When = Literal[
    "before",  # nothing of the answer has come: another can still be given
    "within",  # a part of it has come: the stream ends with an error
    "border",  # one of these, by what was sent so far
    "slow",  # the answer comes late: another is given where there is one
    "caller",  # it is the caller's own fault: passes as it is
    "tolerated",  # the answer is whole all the same
]
Unreachable = Literal["refused", "tls", "dns"]
BOTH, WHOLE, STREAM = (False, True), (False,), (True,)
SLOW_SECONDS = 2.0
"""How long the slow ones take: several times what the policy of a cell calls slow."""
_WITHIN = 7
"""After so many events every dialect has sent some text, and is not through with it."""


@dataclass(frozen=True, slots=True)
class Case:
    """One way of failing. streamed: in which kinds of call it can be. callers_key: the upstream has
    no key of its own. at: where a stream is cut, in events."""

    name: str
    when: When
    faults: tuple[Fault, ...] = ()
    streamed: tuple[bool, ...] = BOTH
    unreachable: Unreachable | None = None
    callers_key: bool = False
    at: int = 0

    @property
    def status(self) -> int:
        """Of the provider's error; 0: it is none of its API."""
        told = (f.at for f in self.faults if f.kind is FaultKind.STATUS and f.body == "dialect")
        return next(told, 0)

    @property
    def is_event(self) -> bool:
        """Whether the provider says so itself, inside its stream."""
        kinds = (FaultKind.ERROR_EVENT, FaultKind.FAILED_EVENT)
        return any(fault.kind in kinds for fault in self.faults)


def cases(now: float) -> Iterator[Case]:
    """All but the cuts at every border. now: seconds since the epoch, for what names a date."""
    yield Case("connect refused", "before", unreachable="refused")
    yield Case("TLS failure", "before", unreachable="tls")
    yield Case("DNS failure", "before", unreachable="dns")
    for status in (401, 403, 404, 408, 429, 500, 503, 529):
        name = {401: " key", 403: " key", 404: " model"}.get(status, "")
        yield Case(f"{status}{name}", "before", parse_faults(f"status={status}"))
    yield Case("401 caller's key", "caller", parse_faults("status=401"), callers_key=True)
    yield Case("400 bad request", "caller", parse_faults("status=400"))
    yield from _limited(now)
    yield Case("502 HTML", "before", parse_faults("status=502;body=html"))
    yield Case("503 empty", "before", parse_faults("status=503;body=empty"))
    yield from _bodies()
    yield from _streams()


def _limited(now: float) -> Iterator[Case]:
    """A rate limit, with each way of telling when it is over."""
    ways = {
        "retry-after-ms": "300",
        "retry-after": "1",
        "retry-after date": formatdate(now + 3_600, usegmt=True),
        "x-ratelimit-reset-requests": "900ms",
        "x-ratelimit-reset-tokens": "6m0s",
        "anthropic-ratelimit-tokens-reset": "2099-01-01T00:00:00Z",
    }
    for name, value in ways.items():
        header = name.removesuffix(" date")
        told = [(header, value)]
        if "reset" in header:  # it is this one that is used up
            told.append((header.replace("reset", "remaining"), "0"))
            told.append(("anthropic-ratelimit-tokens-remaining", "0"))
        fault = Fault(FaultKind.STATUS, 429, headers=tuple(dict(told).items()))
        yield Case(f"429 {name}", "before", (fault,))
    quota = Fault(FaultKind.STATUS, 429, code="insufficient_quota")
    yield Case("429 quota", "before", (quota,))


def _bodies() -> Iterator[Case]:
    """Connections and bodies that break, and answers that are none."""
    yield Case("reset before head", "before", parse_faults("reset"))
    yield Case("reset after head", "before", parse_faults("cut_events=0;how=reset"))
    for how in ("eof", "close", "reset"):
        cut = parse_faults(f"cut_bytes=90;how={how}")
        yield Case(f"cut in the body ({how})", "before", cut, WHOLE)
    yield Case("slow head", "slow", parse_faults(f"slow_head={SLOW_SECONDS}"))
    yield Case("malformed JSON", "before", parse_faults("malformed_json"))
    yield Case("wrong types", "before", parse_faults("wrong_types"))
    yield Case("empty 200", "before", parse_faults("empty"))


def _streams() -> Iterator[Case]:
    slow = f"slow_first_token={SLOW_SECONDS}"
    yield Case("slow first token", "slow", parse_faults(slow), STREAM)
    yield Case("stall after head", "before", parse_faults("stall=0"), STREAM)
    yield Case("stall within", "within", parse_faults(f"stall={_WITHIN}"), STREAM)
    yield Case("malformed line", "tolerated", parse_faults(f"malformed_sse={_WITHIN}"), STREAM)
    yield Case("malformed first line", "tolerated", parse_faults("malformed_sse=0"), STREAM)
    yield Case("error event first", "before", parse_faults("error_event=0"), STREAM)
    yield Case("error event within", "within", parse_faults(f"error_event={_WITHIN}"), STREAM)
    yield Case("failed event first", "before", parse_faults("failed_event=0"), STREAM)
    yield Case("failed event within", "within", parse_faults(f"failed_event={_WITHIN}"), STREAM)
    for how in ("close", "reset"):
        cut = parse_faults(f"cut_events={_WITHIN};how={how}")
        yield Case(f"cut within ({how})", "within", cut, STREAM)


def cuts(events: int) -> Iterator[Case]:
    """A clean end of the body at every border of a stream of so many events."""
    for at in range(events):
        fault = Fault(FaultKind.CUT_EVENTS, at)
        yield Case(f"cut after {at} events", "border", (fault,), STREAM, at=at)
