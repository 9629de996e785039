"""The shapes of OpenAI's chat format that are read: only what is needed, and null wherever sent.

One module for both directions: a client sends back what it was answered with.
"""

from collections.abc import Iterable, Iterator

import msgspec


class Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | dict[str, msgspec.Raw] | None = None  # an object at some local servers


class Custom(msgspec.Struct, gc=False):
    """A custom tool: its input is text, not JSON."""

    name: str | None = None
    input: str | None = None


class Call(msgspec.Struct, gc=False):
    """A tool call of a message, or a part of one in a delta."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None
    custom: Custom | None = None

    @property
    def called(self) -> tuple[str, str]:
        """Name and arguments, as far as they are here."""
        if self.function is not None:
            return self.function.name or "", argument_text(self.function.arguments)
        if self.custom is not None:
            return self.custom.name or "", self.custom.input or ""
        return "", ""


class Part(msgspec.Struct, gc=False):
    """A content part. `thinking` is Mistral's: parts inside a part."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None
    thinking: list[msgspec.Raw] | str | None = None

    @property
    def said(self) -> str:
        return self.text or self.refusal or ""


class Said(msgspec.Struct, gc=False):
    """A `message` of an answer, or a `delta`."""

    content: str | list[msgspec.Raw] | None = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    reasoning_details: list[msgspec.Raw] | None = None
    tool_calls: list[Call] | None = None
    function_call: Function | None = None
    audio: dict[str, msgspec.Raw] | None = None


class Choice(msgspec.Struct, gc=False):
    index: int | None = None
    delta: Said | None = None
    message: Said | None = None
    text: str | None = None
    finish_reason: str | None = None


_PART = msgspec.json.Decoder(Part)


def argument_text(arguments: str | dict[str, msgspec.Raw] | None) -> str:
    """Arguments as text, however the other side sent them."""
    if isinstance(arguments, dict):
        return msgspec.json.encode(arguments).decode()
    return arguments or ""


def read_parts(content: Iterable[msgspec.Raw]) -> Iterator[tuple[Part, msgspec.Raw]]:
    """Content parts with their raw JSON; a bare string counts as text.

    Raises msgspec.DecodeError for what is neither string nor object.
    """
    for raw in content:
        if bytes(raw).startswith(b'"'):
            yield Part("text", msgspec.json.decode(raw, type=str)), raw
        else:
            yield _PART.decode(raw), raw
