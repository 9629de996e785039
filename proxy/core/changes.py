"""What a decision changes in the body that goes to the provider."""

import msgspec

from proxy.core.request import DialectName
from proxy.core.usage import ToolCall


class Given(msgspec.Struct, frozen=True, gc=False):
    """A call with what it came to, given to the model instead of being handed to the agent.

    text: the result as text. content: the same as JSON, as `dialect` writes it, where known.
    """

    call: ToolCall
    text: str
    is_error: bool = False
    content: bytes = b""
    dialect: str = ""

    def content_in(self, dialect: DialectName) -> bytes:
        """What it came to as JSON that this dialect takes."""
        known = self.content if self.dialect == dialect else b""
        return known or msgspec.json.encode(self.text)


class Changes(msgspec.Struct, frozen=True):
    """What a decision changes in the forwarded body; every other byte stays as the client sent it.

    output_bound: new bound for one choice, written under the key the client used, else under the
        dialect's current one (max_completion_tokens, max_output_tokens, max_tokens).
    ask_usage: set stream_options.include_usage. model: the name at the target.
    notes: told to the model after all that the client sent, in the dialect's best place.
    withhold_tools: the model may call nothing; the history stays valid.
    without_tools: names that are taken off the offered tools.
    put_back: into the newest assistant turn and its results.
    unbound: what only the provider that made it takes back (signed or encrypted reasoning, the ids
        of its items) is taken out of the history, which stays valid without; so another one, or the
        same after `is_bound_refusal`, can go on from it.
    Bodies without a conversation (completions, embeddings) have no place for the last five.
    """

    output_bound: int | None = None
    ask_usage: bool = False
    model: str | None = None
    notes: tuple[str, ...] = ()
    withhold_tools: bool = False
    without_tools: tuple[str, ...] = ()
    put_back: tuple[Given, ...] = ()
    unbound: bool = False

    @property
    def in_conversation(self) -> bool:
        """Whether the conversation changes, or what it may call."""
        return bool(
            self.notes or self.withhold_tools or self.without_tools or self.put_back or self.unbound
        )
