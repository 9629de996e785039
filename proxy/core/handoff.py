"""Sessions that wait for a human: what the policy says of it, and which stops one is shown."""

from dataclasses import dataclass, field
from typing import Final, Literal

from proxy.core.decision import Refusal

OnLimit = Literal["reject", "handoff"]


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where a handoff is told. url: of an incoming webhook it is itself a secret.

    format: one of `core.webhook_formats`. secret_env: the environment variable with the key that
    signs it (pagerduty: the routing key).
    """

    url: str = field(repr=False)
    format: str = "generic"
    secret_env: str | None = None


@dataclass(frozen=True, slots=True)
class Handoff:
    """reply: how a session that waits is answered: with an error, or with a normal completion whose
    text is `message`. webhook: None: nobody is told."""

    reply: Literal["reject", "message"] = "reject"
    message: str = "I need manual help."
    webhook: Webhook | None = None


_STOPS: Final = frozenset(
    {
        "step_limit_exceeded",
        "budget_exceeded",
        "token_limit_exceeded",
        "duration_exceeded",
        "tool_call_limit_exceeded",
        "request_cost_exceeded",
        "velocity_exceeded",
        "loop_detected",
    }
)


def stands_in_queue(refusal: Refusal) -> bool:
    """Whether a refusal is a stop that a human should see. Not where waiting is all it takes: too
    many calls at once, or money that calls in flight hold."""
    return refusal.code in _STOPS and refusal.facts is not None and refusal.held_at is None


def blocks(refusal: Refusal, on_limit: OnLimit) -> bool:
    """Whether the session waits for its human from this stop on. Not for a budget that many
    sessions share: nothing that is done to one of them would help."""
    shared = refusal.facts is None or refusal.facts.scope != "session"
    return on_limit == "handoff" and not shared
