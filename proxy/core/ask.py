"""What a call asks for, as limits see it: sizes and prices, no content."""

import msgspec

from proxy.core.exposure import PLAIN, Exposure
from proxy.core.loops.turns import Tail
from proxy.core.pricing import Price
from proxy.core.request import DialectName


class Ask(msgspec.Struct, frozen=True, gc=False):
    """One call before it is decided on.

    input_tokens: the estimate. output_bound: the client's, for one choice; None if it set none.
    output_maximum: what the model can produce for one choice (0: it generates nothing).
    unseen_tokens: most that the provider may add from its own memory (a response or conversation
        that the call continues), 0 where it does not; the session's largest settled call replaces
        it once there is one. least_output: a bound is never lowered below it, whatever the
        policy's min_output_tokens.
    price: None counts tokens only. tools: names the model could ask for in its answer.
    usual_output: what one choice of such a stream usually comes to (p95), None where that is not
        known or the call is not streamed: then the whole bound is held. likely_output: the same of
        any call; a bound is not lowered below it while waiting may help.
    exposure: which dear classes of the price the request can be billed at.
    tail: what it brings that the model has not seen, where loops are looked for.
    """

    session: str
    dialect: DialectName
    model: str
    input_tokens: int
    output_bound: int | None
    output_maximum: int
    choices: int
    price: Price | None
    tools: tuple[str, ...] = ()
    body_digest: bytes = b""
    least_output: int = 0
    unseen_tokens: int = 0
    usual_output: int | None = None
    exposure: Exposure = PLAIN
    likely_output: int | None = None
    tail: Tail | None = None

    @property
    def bound_per_choice(self) -> int:
        """The most one choice can come to if nothing is lowered."""
        if self.output_bound is None:
            return self.output_maximum
        return self.output_bound if self.output_maximum else 0


class Instead(msgspec.Struct, frozen=True, gc=False):
    """Another attempt of a running call, in the place of one that came to nothing. spare: what of
    the call's hold nothing was booked on."""

    ask: Ask
    spare_micro_usd: int
    spare_tokens: int


class Account(msgspec.Struct, frozen=True, gc=False):
    """A shared account that the call is charged to, with what is on it, in micro-USD.

    account: its id in the store. scope and window: as in the policy's `budgets`.
    """

    account: str
    scope: str
    window: str
    maximum_micro_usd: int
    spent_micro_usd: int = 0
    held_micro_usd: int = 0

    @property
    def room_micro_usd(self) -> int:
        return self.maximum_micro_usd - self.spent_micro_usd - self.held_micro_usd
