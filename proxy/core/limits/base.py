"""What a limit is: a gate that a call passes or not, and how near the session is to it."""

from dataclasses import dataclass, replace
from typing import Protocol

from proxy.core.ask import Ask
from proxy.core.decision import Refusal
from proxy.core.policy import MICRO, Limits
from proxy.core.session import SessionState

Number = int | float

_WAY_ON = "To go on: holdfast sessions extend "


@dataclass(frozen=True, slots=True)
class Breach:
    """A limit that this call would pass. Money is in USD here, as a client reads it.

    scope: whose limit it is: the session's, or that of one of the policy's `budgets`.
    """

    code: str
    limit: str
    maximum: Number
    used: Number
    requested: Number
    message: str
    scope: str = "session"
    status: int | None = None
    retry_after_ms: int | None = None


class Limit(Protocol):
    """One limit. `name` is its YAML key, and what `extend` calls it."""

    name: str

    def check(self, limits: Limits, state: SessionState, ask: Ask, now: float) -> Breach | None:
        """Why this call may not go on, or None."""

    def share(self, limits: Limits, state: SessionState, now: float) -> float:
        """How much of it is used, 0 to 1 and more; 0 where it is not set."""


def maximum(limit: int | None, state: SessionState, name: str) -> int | None:
    """A limit with what a human has added to it."""
    return None if limit is None else limit + state.extended.get(name, 0)


def share_of(used: Number, limit: int | None) -> float:
    """used / limit; 0 where there is no limit, 1 where the limit is nought."""
    if limit is None:
        return 0.0
    return used / limit if limit > 0 else 1.0


def usd(micro_usd: int) -> float:
    """Micro-USD as USD, for facts."""
    return micro_usd / MICRO


def money(micro_usd: int) -> str:
    """Micro-USD as a human reads it: cents, or as many places as a small amount needs."""
    amount = micro_usd / MICRO
    return f"${amount:.2f}" if micro_usd % 10_000 == 0 else f"${amount:.6f}".rstrip("0")


def how_to_extend(session: str, name: str, amount: str) -> str:
    """The sentence that tells a human the way on."""
    flag = name.replace("_", "-")
    return f"{_WAY_ON}{session} --{flag} {amount}."


def unbegun(refusal: Refusal) -> Refusal:
    """What is told where a limit refused the very first call: there is no session to extend."""
    why, way, _ = refusal.message.partition(_WAY_ON)
    if not way or refusal.facts is None:
        return refusal
    what = f"limits.{refusal.facts.limit}, or what the run asks for itself"
    message = f"{why}It is its first call, so there is nothing to extend: raise {what}."
    facts = replace(refusal.facts, resumable=False, checkpoint=None)
    return replace(refusal, message=message, facts=facts)
