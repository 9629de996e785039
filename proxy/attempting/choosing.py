"""Whom a call may ask, and who of them takes calls now."""

import math
from collections.abc import Sequence

import msgspec

from proxy.breakers.breaker import Shut
from proxy.breakers.permits import Permit
from proxy.breakers.registry import Breakers
from proxy.core.decision import LimitFacts, Refusal
from proxy.core.dialects.bound import needs_state
from proxy.core.left import share_left
from proxy.core.pricing import hold_cost
from proxy.core.routing import Candidate, is_low
from proxy.core.session import SessionState
from proxy.core.translation.registry import translation
from proxy.intake import Call, Intake


class Unwatched(Permit):
    """Leave to ask one that is only slow: what comes of it says nothing new."""

    __slots__ = ()

    def __init__(self) -> None:
        self._breaker = None


class Closed(msgspec.Struct, frozen=True):
    """All that a call may ask, and why nobody of them can be asked. seconds: until one may be.
    reset_seconds: until one may be whose provider said when; None where none did. own: what shuts
    the caller's own key out at its first target."""

    message: str
    seconds: float
    reset_seconds: float | None = None
    own: Shut | None = None


class Choosing:
    """Shared by all calls."""

    def __init__(self, breakers: Breakers, intake: Intake) -> None:
        self._breakers = breakers
        self.intake = intake

    def is_open(self, call: Call) -> bool:
        """Whether the call may begin at its first target, whatever its session has left."""
        if call.route.downgrade_below is not None:
            return False
        return self._breakers.closed_to(call.candidate, call.credential) is None

    def acquire(self, call: Call) -> Permit | Shut:
        """Leave to ask the target that the call is aimed at."""
        return self._breakers.acquire(call.candidate, call.credential)

    def shut(self, call: Call) -> Shut | None:
        """Why that one must not be asked now."""
        return self._breakers.closed_to(call.candidate, call.credential)

    def others(self, call: Call) -> list[Candidate]:
        """All others that may be asked, those after the one that it is aimed at first."""
        found = call.candidates
        if len(found) == 1 or call.stays:
            return []
        at = found.index(call.candidate) + 1
        return [one for one in (*found[at:], *found[: at - 1]) if not self.barred(call, one)]

    def takes(self, call: Call, others: Sequence[Candidate]) -> bool:
        """Whether one of these takes the call now."""
        for candidate in others:
            aimed = self.intake.aim(call, candidate)
            if isinstance(aimed, Call) and self.shut(aimed) is None:
                return True
        return False

    def barred(self, call: Call, candidate: Candidate) -> str:
        """Why this call must not go there whatever happens; "" where it may."""
        first = call.candidates[0]
        if candidate is first:
            return ""
        if candidate.upstream is not first.upstream:
            kept = needs_state(call.body, call.request)
            if kept is not None:
                return f"only {first.upstream.name} has the {kept} that the call goes on from"
        if candidate.upstream.api_key is not None and _is_stranger(call):
            return "its key is for the policy's tenants"
        dialect = call.request.dialect
        if candidate.spoken != dialect and translation(dialect, candidate.spoken) is None:
            return f"it does not speak {dialect}"
        return ""

    def begin(self, call: Call, state: SessionState) -> Call | Closed:
        """The call aimed at the first target that takes it now: a cheaper one where its run's money
        is low; one that is only slow where no other does."""
        low = is_low(call.route, share_left(call.rules.limits, state))
        cheaper = [one for one in self.others(call) if low and self._is_cheaper(call, one)]
        slow: list[Call] = []
        shuts: list[tuple[Candidate, Shut]] = []
        told: list[str] = []
        for candidate in dict.fromkeys((*cheaper, call.candidate, *self.others(call))):
            why = "budget_low" if candidate in cheaper else "breaker_open"
            aimed = self._aimed(call, candidate, why)
            if isinstance(aimed, Refusal):
                told.append(f"{name_of(candidate)}: {aimed.message}")
                continue
            shut = self.shut(aimed)
            if shut is None:
                return aimed
            if shut.own and shut.why == "key" and candidate.index == 0:  # its caller has to know
                return Closed(f"{name_of(candidate)} {shut_in_words(shut)}", shut.seconds, own=shut)
            if shut.why == "slow":
                slow.append(aimed)
            shuts.append((candidate, shut))
        return slow[0] if slow else _closed(told, shuts)

    def _aimed(self, call: Call, candidate: Candidate, why: str) -> Call | Refusal:
        return call if candidate is call.candidate else self.intake.aim(call, candidate, why)

    def _is_cheaper(self, call: Call, candidate: Candidate) -> bool:
        aimed = self.intake.aim(call, candidate)
        return isinstance(aimed, Call) and _cost(aimed) < _cost(call)


def _is_stranger(call: Call) -> bool:
    """Whether the policy has a key of its own used by nobody whom it does not name."""
    policy = call.policy
    if policy.unknown_credentials != "reject":
        return False
    return all(tenant.name != call.key.tenant for tenant in policy.tenants)


def _cost(call: Call) -> float:
    """What so much input and output would cost there."""
    ask, price = call.ask, call.price
    if price is None:
        return math.inf
    return hold_cost(price, ask.input_tokens, ask.usual_output or 1_000, ask.exposure)


def _closed(told: list[str], shuts: list[tuple[Candidate, Shut]]) -> Closed:
    told += [f"{name_of(candidate)} {shut_in_words(shut)}" for candidate, shut in shuts]
    seconds = min((shut.seconds for _, shut in shuts), default=math.inf)
    own = shuts[0][1] if shuts and all(shut.own for _, shut in shuts) else None
    return Closed("; ".join(told), seconds, reset_in([shut for _, shut in shuts]), own)


def reset_in(shuts: Sequence[Shut]) -> float | None:
    """Seconds until the first of them may be asked whose provider said when."""
    said = [shut.seconds for shut in shuts if shut.why == "rate_limited" and shut.said]
    return min(said, default=None)


def refuse_closed_to(call: Call, closed: Closed) -> Refusal:
    """What a call is told that nobody takes now."""
    when = "" if math.isinf(closed.seconds) else f" The next try is in {closed.seconds:.0f} s."
    message = f"No upstream takes this call of session {call.key.session}: {closed.message}.{when}"
    seconds = None if math.isinf(closed.seconds) else round(closed.seconds, 3)
    facts = LimitFacts(session=call.key.session, next_try_seconds=seconds)
    if closed.own is not None and closed.own.why == "key":
        return Refusal(401, "upstream_unavailable", "authentication_error", message, facts)
    if closed.own is not None and closed.own.why == "rate_limited" and seconds is not None:
        wait = round(seconds * 1_000)
        kind = "rate_limit_error"
        return Refusal(429, "upstream_unavailable", kind, message, facts, retry_after_ms=wait)
    return Refusal(503, "upstream_unavailable", "upstream_error", message, facts)


def name_of(candidate: Candidate) -> str:
    """As a policy names it; the model bounded, for a client may have named it."""
    return f"{candidate.upstream.name}/{candidate.model[:64]}"


_WORDS = {
    "failing": "has failed too often",
    "slow": "is too slow",
    "rate_limited": "is over its rate limit",
    "key": "does not take the key",
    "manual": "was shut by hand",
}


def shut_in_words(shut: Shut) -> str:
    return f"{_WORDS[shut.why]} and is not asked for now"
