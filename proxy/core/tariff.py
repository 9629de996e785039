"""What a call is held at: the dearest rates that its request can be billed at, as numbers."""

import msgspec

PICO_PER_MICRO = 1_000_000
"""Rates are pico-USD per token: USD per million tokens to six places."""

NO_TOKEN_BOUND = 1_000_000_000
"""What `affordable` answers where output costs nothing."""


class Tariff(msgspec.Struct, frozen=True, gc=False):
    """pico-USD per token of input and of output, multiplied by `times` / `per`, and fees on top."""

    input: int
    output: int
    times: int
    per: int
    fees: int

    def cost(self, input_tokens: int, output_tokens: int) -> int:
        """In micro-USD, rounded up. Monotone in both counts."""
        pico = (input_tokens * self.input + output_tokens * self.output) * self.times
        return -(-(pico + self.fees * self.per) // (self.per * PICO_PER_MICRO))

    def affordable(self, input_tokens: int, room_micro_usd: int) -> int:
        """The largest output whose cost is within the room; -1 if not even the input fits."""
        left = room_micro_usd * PICO_PER_MICRO - self.fees
        left = left * self.per // self.times - input_tokens * self.input
        if left < 0:
            return -1
        return min(left // self.output, NO_TOKEN_BOUND) if self.output else NO_TOKEN_BOUND
