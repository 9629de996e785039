"""How far a call has come."""

from dataclasses import dataclass, field
from math import ceil

from msgspec.structs import replace

from proxy import bill
from proxy.answer_capture import AnswerCapture
from proxy.calls import LiveCall
from proxy.core.ask import Ask
from proxy.core.decision import Admit, DecisionName, Granted, Refusal
from proxy.core.dialects.base import Meter
from proxy.core.events import AnyEvent, AttemptFailed, Outcome
from proxy.core.session import EMPTY, SessionState
from proxy.core.usage import Usage
from proxy.intake import Call
from proxy.reservation import Admitted, Settlement, most_output

_COUNT_TOLERANCE = 3.0
_COUNT_SLACK = 16
"""How far the estimate may be above a bound that is kept: a common word is a token of 12 bytes."""


@dataclass(slots=True, eq=False)
class Tried:
    """What of a call came to nothing so far. failed: its attempts, as they are written down.
    retries: of the same target. fallbacks: why another one was asked, each time. moved: whether it
    is another one than it was reserved for."""

    failed: tuple[AttemptFailed, ...] = ()
    retries: int = 0
    fallbacks: tuple[str, ...] = ()
    moved: bool = False


@dataclass(slots=True, eq=False)
class Progress:
    """A call under way.

    call: as it is asked now: of the target that the attempt at hand is made at.

    sent: bytes may have reached the provider. outcome: how it broke off, None while it has not.
    shown: has read what the client is given of a stream, over all attempts.
    at_border: what the client has got so far ends with a whole event. end_forwarded: it has got the
    provider's own end. allowance: output tokens that are held for it. most: that its bound lets
    it produce. settled: what was booked. Times are monotonic.
    Where the provider is asked more than once: earlier: what the attempts before this one came to;
    all but `held_cost_micro_usd` and the times is of this one. facts: what is written with the
    settlement. unpaid: this attempt is an answer that was kept. replays: how often the model was
    told results in the place of the agent's. usage: what the provider says of an answer that was
    read whole, and on whose calls it is still decided. ask: what this attempt was held for.
    unread_part: of a stream that its budget cut, as in `Incoming.unread_part`.
    held_tokens: of all attempts, like `held_cost_micro_usd`. tried: None where none has failed.
    capture: takes down what the client is given; None where that is not kept.
    """

    call: Call
    admitted: Admitted
    live: LiveCall
    request_id: str
    sent: bool = False
    status: int = 0
    outcome: Outcome | None = None
    meter: Meter | None = None
    shown: Meter | None = None
    at_border: bool = True
    end_forwarded: bool = False
    allowance: int = 0
    most: int = 0
    held_cost_micro_usd: int = 0
    settled: Settlement | None = None
    refusal: Refusal | None = None
    forwarded_at: float | None = None
    first_byte_at: float | None = None
    state: SessionState = EMPTY
    earlier: Settlement | None = None
    facts: tuple[AnyEvent, ...] = ()
    unpaid: bool = False
    replays: int = 0
    usage: Usage | None = None
    ask: Ask = field(init=False)
    held_tokens: int = 0
    tried: Tried | None = None
    capture: AnswerCapture | None = None
    unread_part: float = 0.0

    def __post_init__(self) -> None:
        admit = self.admitted.admit
        self.ask = self.call.ask
        self.state = self.admitted.state
        self.most = self.admitted.most
        self.allowance = admit.output_allowance
        self.held_cost_micro_usd = admit.hold_cost_micro_usd
        self.held_tokens = admit.hold_input_tokens + admit.output_allowance

    def leaves(self) -> None:
        """The first byte of the request is about to leave."""
        self.sent = True

    def again(self, came_to: Settlement, granted: Granted, ask: Ask) -> None:
        """This attempt came to that; another one begins, for which so much more is held."""
        admit, before = granted.admit, self.admitted
        assert admit is not None
        names = before.admit.names
        admit = replace(admit, step=before.admit.step, names=names, warnings=before.admit.warnings)
        self.admitted = replace(before, admit=admit, most=most_output(ask, admit))
        self._held_more(granted, ask)
        self.over(came_to)
        self.replays += 1

    def stays(self) -> None:
        """Its client has seen a part of the answer, which no other model may go on with."""
        self.call = replace(self.call, stays=True)

    def over(self, came_to: Settlement) -> None:
        """This attempt was sent, and came to that; whatever follows is another one."""
        self.earlier = came_to if self.earlier is None else bill.together(self.earlier, came_to)
        self.anew()

    def anew(self) -> None:
        """Nothing of the next attempt has happened yet."""
        self.sent, self.unpaid, self.status, self.meter = False, False, 0, None
        self.usage, self.unread_part = None, 0.0

    def aim(self, call: Call, granted: Granted, ask: Ask) -> None:
        """The next attempt is made at another target, or is held for anew: `granted` is what it
        holds on top of what is there."""
        assert granted.admit is not None
        admit = held_for(self.admitted.admit, granted.admit)
        self.call = call
        self.admitted = replace(self.admitted, admit=admit, most=most_output(ask, admit))
        self._held_more(granted, ask)
        if admit.output_bound is not None:
            self.did("clamp")

    def take(self, other: "Progress") -> None:
        """The attempt at hand is that of `other`, whose hold is counted here already."""
        self.call, self.ask, self.admitted = other.call, other.ask, other.admitted
        self.sent, self.status, self.meter = other.sent, other.status, other.meter
        self.most, self.allowance = other.most, other.allowance
        self.first_byte_at = other.first_byte_at

    def _held_more(self, granted: Granted, ask: Ask) -> None:
        self.ask = ask
        self.most, self.allowance = self.admitted.most, self.admitted.admit.output_allowance
        self.held_cost_micro_usd += granted.cost_micro_usd
        self.held_tokens += granted.output_tokens

    @property
    def spare_micro_usd(self) -> int:
        """Of the hold, what nothing was booked on."""
        booked = 0 if self.earlier is None else self.earlier.cost_micro_usd
        return max(0, self.held_cost_micro_usd - booked)

    @property
    def spare_tokens(self) -> int:
        booked = 0 if self.earlier is None else self.earlier.tokens
        return max(0, self.held_tokens - booked)

    def did(self, name: DecisionName) -> None:
        """What was decided on its way, for headers, log and metrics."""
        admit = self.admitted.admit
        if name not in admit.names:
            self.admitted = replace(self.admitted, admit=replace(admit, names=(*admit.names, name)))

    def broke(self, outcome: Outcome) -> None:
        """The call ended before its answer did."""
        self.outcome = outcome

    @property
    def may_keep_its_bound(self) -> bool:
        """Whether the provider was given a bound that what was counted leaves possible."""
        admit = self.admitted.admit
        bounds = (self.call.request.output_bound, admit.output_bound)
        if self.meter is None or bounds == (None, None):
            return False
        most = self.most * _COUNT_TOLERANCE + _COUNT_SLACK
        return self.meter.output_tokens_counted <= most

    @property
    def output_tokens_passed(self) -> int:
        """What a stream has come to: the estimate, but of one that may keep its bound not more than
        that, unless more has passed for certain. It keeps it by its own exact count, and must
        neither be cut for ours nor be booked past it."""
        if self.meter is None:
            return 0
        counted = self.meter.output_tokens_counted
        if not self.may_keep_its_bound:
            return counted
        return max(self.meter.output_tokens_least, min(counted, self.most))

    @property
    def overspend_micro_usd(self) -> int:
        """What was billed past the hold, and what was billed and not booked."""
        if self.settled is None:
            return 0
        past_hold = max(0, self.settled.cost_micro_usd - self.held_cost_micro_usd)
        return past_hold + self._unbooked_micro_usd() if self.unread_part else past_hold

    def _unbooked_micro_usd(self) -> int:
        """What had arrived unread when its budget cut the stream, at the rate of what was read."""
        meter, admit = self.meter, self.admitted.admit
        if meter is None or self.unpaid:
            return 0
        read = self.output_tokens_passed
        billed = read + ceil(meter.output_tokens_counted * self.unread_part)
        if self.may_keep_its_bound:
            billed = max(read, min(billed, self.most))
        costs = [
            bill.counted(self.call, admit, "cut", meter.usage, tokens, bill.NO_ANSWER)
            for tokens in (read, billed)
        ]
        return costs[1].cost_micro_usd - costs[0].cost_micro_usd


def held_for(before: Admit, admit: Admit) -> Admit:
    """A call that was admitted, with what is held for another attempt of it."""
    return replace(
        before,
        hold_cost_micro_usd=admit.hold_cost_micro_usd,
        hold_input_tokens=admit.hold_input_tokens,
        output_allowance=admit.output_allowance,
        output_bound=admit.output_bound,
    )
