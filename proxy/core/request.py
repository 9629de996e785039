"""The frozen view of a governed request that decisions are made on; its bytes stay beside it.

Structs, not dataclasses: some of these are made for every message of every request, and a Struct is
made in a tenth of the time.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from proxy.core.exposure import PLAIN, CacheWrites, Exposure
from proxy.core.splice import Member
from proxy.core.usage import ToolCall

DialectName = Literal["chat", "responses", "messages", "completions", "embeddings"]
Role = Literal["system", "user", "assistant", "tool"]


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message, canonicalised across dialects and clients.

    role: `developer` counts as system; a Responses `function_call` item is an assistant message, a
        `function_call_output` or an Anthropic `tool_result` block a tool message of its own.
    text: the text parts joined; other content (image, file, thinking) is not in it.
    content_digest: 16 bytes over role and canonical content: equal for two spellings of a message
        (key order, absent/null/"" content, string or parts, re-serialised arguments, item ids,
        `cache_control` and other decoration dropped), and for the answer it echoes.
    """

    role: Role
    text: str
    content_digest: bytes
    tool_calls: tuple[ToolCall, ...] = ()
    tool_result_id: str | None = None
    is_error: bool = False


class Saying(msgspec.Struct, frozen=True, gc=False):
    """What one item says of an answer that is spread over several (Responses)."""

    text: str = ""
    attachments: tuple[bytes, ...] = ()
    tool_call: ToolCall | None = None


class Apart(msgspec.Struct, frozen=True, gc=False):
    """What a part of a body has beside text.

    hidden_bytes: of it that no provider tokenises (base64, ciphertext). writes: the longest life
    that a cache marker in it asks for. searches: the most that its tools may bill.
    """

    images: int = 0
    files: int = 0
    hidden_bytes: int = 0
    writes: CacheWrites = "none"
    searches: int = 0


class Piece(msgspec.Struct, frozen=True, gc=False):
    """What one part of a body was read as: an element of the conversation, or the list of tools.

    saying: given where it may be only part of its message. names: of the tools that it offers.
    apart: None where it is text and nothing else.
    """

    messages: tuple[Message, ...] = ()
    saying: Saying | None = None
    names: tuple[str, ...] = ()
    apart: Apart | None = None


class Past(msgspec.Struct, frozen=True, eq=False):
    """A body that was read, for those that go on from it (`core.memo`).

    members: without its list of messages (or items), which is places[at]. borders: where its last
    messages end, and how many there are by then, the last first. keys: of the pieces that its
    messages were read as.
    """

    body: bytes
    members: Mapping[str, msgspec.Raw]
    places: tuple[Member, ...]
    at: int
    borders: tuple[tuple[int, int], ...]
    keys: tuple[bytes, ...]


class Trail(msgspec.Struct, eq=False):
    """One conversation as it comes by, body after body. Written by the memo alone.

    past: the latest body. beginnings: what it is found by. size_bytes: about what it takes."""

    past: Past
    beginnings: list[bytes] = []
    size_bytes: int = 0


class Learned(msgspec.Struct, frozen=True, eq=False):
    """What a request was read as, to be kept (`core.memo`) when it has been answered.

    pieces: those that were not known, or not of late, by their keys. past: its body, found on this
    trail where it is known, and to be found there by these beginnings.
    """

    pieces: tuple[tuple[bytes, Piece], ...] = ()
    past: Past | None = None
    trail: Trail | None = None
    beginnings: tuple[bytes, ...] = ()


class Turn(msgspec.Struct, frozen=True, gc=False):
    """One answer as a history echoes it, messages[start:end] (Responses splits it into items).

    said: digest without ids. size: characters said.
    """

    start: int
    end: int
    said: bytes
    size: int


class History(msgspec.Struct, eq=False):
    """A request's messages without the system's; chain: their digests in a row.

    answers_in_items: one answer may be several assistant messages (Responses). turns: the newest
    answers, newest first, as far as `core.links` has read them; they are asked for again and again.
    """

    messages: tuple[Message, ...] = ()
    chain: bytes = b""
    answers_in_items: bool = False
    turns: list[Turn] = []

    def before(self, index: int) -> bytes:
        return self.chain[: 16 * index]


class Request(msgspec.Struct, frozen=True, eq=False):
    """A parsed governed request.

    output_bound: the client's max_tokens / max_completion_tokens / max_output_tokens for ONE
        choice, None where it gave none. choices: `n` (`best_of` if larger), 1 where absent.
    least_output: tokens below which the provider takes no bound (Anthropic with thinking enabled).
    text_bytes: size of all that the provider will tokenise (messages, tools, instructions, schema).
    image_count, file_count: parts that are priced by a ceiling, not by size (their inline base64 is
        not in text_bytes).
    offered_tools: names; tools_disabled: tool_choice "none" (or nothing offered).
    forces_tool: tool_choice required or named; forces_format: structured output.
    include_usage: chat and completions streams: whether the client asked for the usage chunk.
    hints: body fields that may name the session, flattened: "metadata.user_id", "prompt_cache_key",
        "client_metadata.session_id", "metadata.holdfast_budget_usd", "conversation", "user" …
    body_digest: 16 bytes over the body without `stream` and `stream_options`: an SDK's retry has
        the same.
    exposure: which dear classes of a price it can be billed at.
    places: where each top-level member is in the body. learned: None without a memo.
    """

    dialect: DialectName
    model: str
    stream: bool
    messages: tuple[Message, ...]
    output_bound: int | None
    choices: int
    text_bytes: int
    least_output: int = 0
    image_count: int = 0
    file_count: int = 0
    offered_tools: tuple[str, ...] = ()
    tools_disabled: bool = True
    forces_tool: bool = False
    forces_format: bool = False
    include_usage: bool = False
    background: bool = False
    previous_response_id: str | None = None
    conversation_id: str | None = None
    hints: Mapping[str, str] = {}
    body_digest: bytes = b""
    exposure: Exposure = PLAIN
    places: tuple[Member, ...] = ()
    learned: Learned | None = None
    history: History = msgspec.field(default_factory=History)

    def __post_init__(self) -> None:
        if self.messages and not self.history.messages:
            history = _history(self.messages, self.dialect == "responses")
            msgspec.structs.force_setattr(self, "history", history)


def _history(messages: tuple[Message, ...], answers_in_items: bool) -> History:
    spoken = tuple([message for message in messages if message.role != "system"])
    chain = b"".join([message.content_digest for message in spoken])
    return History(spoken, chain, answers_in_items)


class Changes(msgspec.Struct, frozen=True):
    """What a decision changes in the forwarded body; every other byte stays as the client sent it.

    output_bound: new bound for one choice, written under the key the client used, else under the
        dialect's current one (max_completion_tokens, max_output_tokens, max_tokens).
    ask_usage: set stream_options.include_usage. model: the name at the target.
    """

    output_bound: int | None = None
    ask_usage: bool = False
    model: str | None = None
