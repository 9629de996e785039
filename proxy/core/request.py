"""The frozen view of a governed request that decisions are made on; its bytes stay beside it.

Structs, not dataclasses: some of these are made for every message of every request, and a Struct is
made in a tenth of the time.
"""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Final, Literal

import msgspec

from proxy.core.exposure import PLAIN, CacheWrites, Exposure
from proxy.core.prefixes import Prefixes
from proxy.core.splice import Member
from proxy.core.usage import ToolCall

DialectName = Literal["chat", "responses", "messages", "completions", "embeddings"]
CONVERSATIONS: Final[frozenset[DialectName]] = frozenset({"chat", "responses", "messages"})
"""Dialects whose requests have a history, and tools; the others are of prompts."""
Role = Literal["system", "user", "assistant", "tool"]


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message, canonicalised across dialects and clients.

    role: `developer` counts as system; a Responses `function_call` item is an assistant message, a
        `function_call_output` or an Anthropic `tool_result` block a tool message of its own.
    text: the text parts joined; other content (image, file, thinking) is not in it.
    content_digest: 16 bytes over role and canonical content: equal for two spellings of a message
        (key order, absent/null/"" content, string or parts, re-serialised arguments, item ids,
        `cache_control` and other decoration dropped).
    attached: 16 bytes over the other content, b"" where there is none.
    """

    role: Role
    text: str
    content_digest: bytes
    tool_calls: tuple[ToolCall, ...] = ()
    tool_result_id: str | None = None
    is_error: bool = False
    attached: bytes = b""


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


Element = Message | Piece
"""What one element of a conversation was read as: a bare Message where it is that and no more."""


class Conversation(msgspec.Struct, frozen=True, eq=False):
    """What a list of messages (or items) was read as.

    plain: every element is one message, and they are `messages`. apart: of all elements together.
    names: of the tools that they offer. starts: at which element each message begins, if not plain.
    """

    elements: tuple[Element, ...]
    messages: tuple[Message, ...]
    plain: bool
    apart: Apart | None = None
    names: tuple[str, ...] = ()
    starts: tuple[int, ...] = ()


class Past(msgspec.Struct, frozen=True, eq=False):
    """A body that was read, for those that go on from it (`core.memo`).

    borders: where its last messages end, and how many there are by then, the last first; as many
    as are known. size_bytes: about what its conversation takes in memory. prefixes: what has been
    hashed of it.
    """

    body: bytes
    frame: "Frame"
    conversation: Conversation
    history: "History"
    borders: tuple[tuple[int, int], ...]
    size_bytes: int
    prefixes: Prefixes


class Trail(msgspec.Struct, eq=False):
    """One conversation as it comes by, body after body. Written by the memo alone.

    past: the latest body. first: the shortest of all its beginnings. beginnings: what it is found
    by. size_bytes: about what it takes."""

    past: Past
    first: bytes
    beginnings: list[bytes] = []
    size_bytes: int = 0


class Learned(msgspec.Struct, frozen=True, eq=False):
    """What a request was read as, to be kept (`core.memo`) when it has been answered.

    pieces: those that were not known, or not of late, by their keys. frame: its body's. past: its
    body, found on this trail where it is known; to be found by its beginnings of `since` bytes and
    more, digested with this seed.
    """

    pieces: tuple[tuple[bytes, Piece], ...] = ()
    frame: "Frame | None" = None
    past: Past | None = None
    trail: Trail | None = None
    seed: int = 0
    since: int = 0


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
    older: those of the request that this one goes on from, as far as both have them. ids: of calls
    (`core.evidence`), None until they are asked for. said: the links of its turns, for its tenant.
    digested: how much of the chain has been, and the state after it (`core.recording.chain_of`).
    """

    messages: tuple[Message, ...] = ()
    chain: bytes = b""
    answers_in_items: bool = False
    turns: list[Turn] = []
    older: tuple[Turn, ...] = ()
    ids: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    said: list[bytes] = []
    digested: tuple[int, blake2b | None] = (0, None)

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
    learned: None without a memo.
    laid: where the top-level members are, those after its list (laid[listed]) as many bytes further
        on as that is longer than here: `moved`.
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
    laid: tuple[Member, ...] = ()
    listed: int = -1
    moved: int = 0
    learned: Learned | None = None
    history: History = msgspec.field(default_factory=History)

    def __post_init__(self) -> None:
        if self.messages and not self.history.messages:
            history = history_of(self.messages, answers_in_items=self.dialect == "responses")
            msgspec.structs.force_setattr(self, "history", history)

    @property
    def places(self) -> tuple[Member, ...]:
        """Where each top-level member is in the body."""
        if not self.moved:
            return self.laid
        return moved_places(self.laid, self.listed, self.moved)


def moved_places(places: tuple[Member, ...], at: int, by: int) -> tuple[Member, ...]:
    """Where members are if the value of the one at this place has grown by so many bytes."""
    grown = places[at]
    return (
        *places[:at],
        Member(grown.key, grown.key_start, grown.value_start, grown.value_end + by),
        *[
            Member(one.key, one.key_start + by, one.value_start + by, one.value_end + by)
            for one in places[at + 1 :]
        ],
    )


def history_of(messages: Iterable[Message], *, answers_in_items: bool) -> History:
    spoken = tuple([message for message in messages if message.role != "system"])
    chain = b"".join([message.content_digest for message in spoken])
    return History(spoken, chain, answers_in_items)


class Frame(msgspec.Struct, frozen=True, eq=False):
    """A body but for its conversation, as it was read (`core.memo`).

    head: what it begins with, to the bracket that opens the list; tail: what it ends with, from the
    one that closes it. Both empty where it has no list, or not once. request: without conversation;
    its text_bytes are without the list, its `laid` as if the list were empty. members: without it.
    before: messages that come before the conversation. apart: of all but the conversation.
    tools_disabled: though some be offered. bounds: that it was held to. steady: a retry of its body
    has the same one, byte by byte (`body_digest`).
    """

    request: Request
    members: Mapping[str, msgspec.Raw]
    bounds: object
    before: tuple[Message, ...] = ()
    apart: Apart | None = None
    tools_disabled: bool = False
    kind: str = ""
    head: bytes = b""
    tail: bytes = b""
    steady: bool = False
