"""The frozen view of a governed request that decisions are made on; its bytes stay beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from proxy.core.exposure import PLAIN, Exposure
from proxy.core.usage import ToolCall

DialectName = Literal["chat", "responses", "messages", "completions", "embeddings"]
Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Message:
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


@dataclass(frozen=True, slots=True)
class Request:
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
    hints: Mapping[str, str] = field(default_factory=dict)
    body_digest: bytes = b""
    exposure: Exposure = PLAIN


@dataclass(frozen=True, slots=True)
class Changes:
    """What a decision changes in the forwarded body; every other byte stays as the client sent it.

    output_bound: new bound for one choice, written under the key the client used, else under the
        dialect's current one (max_completion_tokens, max_output_tokens, max_tokens).
    ask_usage: set stream_options.include_usage. model: the name at the target.
    """

    output_bound: int | None = None
    ask_usage: bool = False
    model: str | None = None

    @property
    def any(self) -> bool:
        return self.output_bound is not None or self.ask_usage or self.model is not None
