"""What `decide` returns. A refusal is a value, not an error."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import msgspec

from proxy.core.loops.finding import Finding
from proxy.core.loops.thread import NOTHING, Noted
from proxy.core.session import SessionKey

DecisionName = Literal[
    "allow", "warn", "steer", "final_answer", "clamp", "downgrade", "fallback", "dedupe", "replay"
]
DECISION_STRENGTH: tuple[DecisionName, ...] = (
    "allow",
    "warn",
    "steer",
    "final_answer",
    "clamp",
    "downgrade",
    "fallback",
    "dedupe",
    "replay",
)


@dataclass(frozen=True, slots=True)
class LimitFacts:
    """The `holdfast` object of an error: which limit, how far. Money in USD, time in seconds."""

    session: str
    limit: str | None = None
    scope: str = "session"
    maximum: float | int | None = None
    used: float | int | None = None
    requested: float | int | None = None
    resumable: bool = True
    checkpoint: str | None = None
    next_try_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Everything the client is told when it is not served. `message` alone must suffice a human.

    type: session_limit, shared_budget, session_state, invalid_request_error, upstream_error, …
    code: one of SPEC section 5. retry_after_ms: only where waiting helps. held_at: the place (see
    Room) where only what calls in flight hold is missing, so that it may come free by itself.
    """

    status: int
    code: str
    type: str
    message: str
    facts: LimitFacts | None = None
    param: str | None = None
    retry_after_ms: int | None = None
    held_at: SessionKey | str | None = None


class Admit(msgspec.Struct, frozen=True, gc=False):
    """Go on: with this step number, this hold, and this output bound (None: as the client sent it).

    hold_cost_micro_usd, hold_input_tokens: reserved before sending: the worst case, of a stream
    what it usually comes to.
    output_allowance: tokens all choices together may produce inside the hold.
    loop: what was found of a loop, and is not past its last rung.
    guidance: a human's messages that it carries to the model.
    noted: what the call brings to which history of its session. at_rung: the loop comes to its rung
    with it.
    """

    step: int
    hold_cost_micro_usd: int
    hold_input_tokens: int
    output_allowance: int
    output_bound: int | None = None
    names: tuple[DecisionName, ...] = ("allow",)
    warnings: tuple[str, ...] = ()
    loop: Finding | None = None
    guidance: tuple[str, ...] = ()
    noted: Noted = NOTHING
    at_rung: bool = False

    @property
    def name(self) -> DecisionName:
        """The strongest that applied."""
        if len(self.names) == 1:
            return self.names[0]
        return max(self.names, key=DECISION_STRENGTH.index)

    @property
    def loop_warnings(self) -> tuple[str, ...]:
        """The loop that its client is told of, if any; one that is only observed is not told."""
        loop = self.loop
        return () if loop is None or loop.rung == "observe" else (loop.rule,)


Decision = Admit | Refusal


class Wanted(NamedTuple):
    """More output tokens for a running call: so many are needed, so many are welcome."""

    least: int
    most: int


class Granted(msgspec.Struct, frozen=True, gc=False):
    """A running call may hold this much more: output tokens, and what they can cost. admit: of
    another attempt; then the tokens are its input's, too."""

    output_tokens: int
    cost_micro_usd: int
    admit: Admit | None = None


class Blocked(msgspec.Struct, frozen=True):
    """A running call may hold nothing more. place: of the room that is full (see Room); None where
    nothing that others give back would help. why: told to who wanted another attempt."""

    place: SessionKey | str | None
    why: Refusal | None = None
