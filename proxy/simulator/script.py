"""What the simulated model says: a script of turns, chosen by where a conversation stands.

Nothing is remembered between requests: the step is read from the history that each request brings,
so any number of sessions interleave, and a request sent twice gets the same turn twice.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from fnmatch import fnmatchcase
from typing import Literal, Protocol

from proxy.simulator.conversation import Conversation
from proxy.simulator.faults import Fault
from proxy.simulator.tokens import Json

Finish = Literal["stop", "length", "tool_calls", "content_filter"]
After = Literal["last", "cycle"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call to ask for. `arguments` as text are sent as they stand, valid JSON or not."""

    name: str
    arguments: Json | str = "{}"


@dataclass(frozen=True, slots=True)
class UsageOverride:
    """What the provider claims instead of what passed; None: what passed. `omit`: no usage."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    omit: bool = False


@dataclass(frozen=True, slots=True)
class Match:
    """When a turn applies. model, tool, offers: globs; user: a regular expression to be found.

    user: in the last user message. tool: the tool whose result ends the history. offers: a tool
    that the request offers.
    """

    model: str = ""
    user: str = ""
    tool: str = ""
    offers: str = ""

    def fits(self, conversation: Conversation) -> bool:
        """Whether all that is said here is so."""
        return (
            (not self.model or fnmatchcase(conversation.model, self.model))
            and (not self.tool or fnmatchcase(conversation.last_tool, self.tool))
            and (not self.user or re.search(self.user, conversation.user) is not None)
            and (
                not self.offers
                or any(fnmatchcase(tool.name, self.offers) for tool in conversation.tools)
            )
        )


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer of the model.

    `{{step}}` in text, reasoning and arguments stands for the step. text_tokens: the text is made
    up to this length. Latency is before the head, first_token after it, chunk_gap between chunks of
    `chunk_tokens` tokens. finish None: what follows from the rest.
    """

    text: str = ""
    text_tokens: int = 0
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""
    finish: Finish | None = None
    usage: UsageOverride = UsageOverride()
    latency_seconds: float = 0.0
    first_token_seconds: float = 0.0
    chunk_gap_seconds: float = 0.0
    chunk_tokens: int = 1
    faults: tuple[Fault, ...] = ()
    match: Match = Match()
    step: int | None = None


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens, which is micro-USD per token."""

    input: Decimal = Decimal(0)
    output: Decimal = Decimal(0)


class Actor(Protocol):
    """Whoever decides what the model says."""

    def turn(self, conversation: Conversation) -> Turn:
        """The answer to this request."""


@dataclass(frozen=True, slots=True)
class Script:
    """Turns in order. Those with the same `match` are one conversation, played by step.

    The first turn that fits gives the conversation; a turn with a `step` of its own goes before.
    after: what follows the last turn of a conversation: that turn again, or the first.
    """

    turns: tuple[Turn, ...]
    after: After = "last"
    prices: Mapping[str, Price] | None = None

    def turn(self, conversation: Conversation) -> Turn:
        """The turn for this request; where none fits, a text that says so."""
        step = conversation.step
        for turn in self.turns:
            if not turn.match.fits(conversation):
                continue
            if turn.step == step:
                return turn
            if turn.step is None:
                scene = [t for t in self.turns if t.step is None and t.match == turn.match]
                return scene[
                    step % len(scene) if self.after == "cycle" else min(step, len(scene) - 1)
                ]
        return Turn(text=f"The script has no turn for step {step} of this conversation.")


def cost_micro_usd(
    prices: Mapping[str, Price] | None, model: str, input_tokens: int, output_tokens: int
) -> int | None:
    """What a call costs by the first glob that fits, rounded up; None: no price is known."""
    for glob, price in (prices or {}).items():
        if fnmatchcase(model, glob):
            exact = price.input * input_tokens + price.output * output_tokens
            return int(exact.to_integral_value(ROUND_CEILING))
    return None
