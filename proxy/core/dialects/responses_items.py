"""Items of the Responses API, as `input` sends them and `output` answers them.

The shapes: https://platform.openai.com/docs/api-reference/responses (read 2026-11-22), and what
OpenAI, Azure, Bedrock, xAI, DeepSeek and OpenRouter were recorded to send.
"""

import msgspec

from proxy.core.usage import ToolCall

_ABSENT = msgspec.Raw()
TEXT_TYPES = frozenset({"input_text", "output_text", "text", "refusal", "summary_text"})
_IMAGE_TYPES = frozenset({"input_image", "computer_screenshot"})
_FILE_TYPES = frozenset({"input_file", "input_audio"})
OWN_WORK = frozenset(
    {
        "web_search_call",
        "file_search_call",
        "code_interpreter_call",
        "image_generation_call",
        "mcp_list_tools",
        "mcp_call",
    }
)
"""What the provider does by itself; the answer that comes of it tells of it."""
# Where each call keeps what the model wrote, and the name of tools that are called by no name.
CALLS = {
    "function_call": ("arguments", ""),
    "custom_tool_call": ("input", ""),
    "mcp_approval_request": ("arguments", ""),
    "local_shell_call": ("action", "local_shell"),
    "shell_call": ("action", "shell"),
    "apply_patch_call": ("operation", "apply_patch"),
    "computer_call": ("action", "computer"),
}


APPROVED, DENIED = "approved", "denied"
"""What an `mcp_approval_response` is read as."""


class Item(msgspec.Struct, frozen=True, gc=False):
    """One item; what the provider runs by itself (web_search_call, mcp_call, …) stays unread."""

    type: str | None = None
    role: str | None = None
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    content: msgspec.Raw = _ABSENT
    arguments: msgspec.Raw = _ABSENT
    input: msgspec.Raw = _ABSENT
    action: msgspec.Raw = _ABSENT
    operation: msgspec.Raw = _ABSENT
    output: msgspec.Raw = _ABSENT
    tools: msgspec.Raw = _ABSENT
    approval_request_id: str | None = None
    approve: bool | None = None

    @property
    def is_message(self) -> bool:
        return self.type == "message" or (self.type is None and self.role is not None)

    @property
    def is_result(self) -> bool:
        """Whether it hands the model what a tool call of its came to."""
        if self.type == "mcp_approval_response":
            return True
        return (
            self.type is not None and self.type.endswith("_output") and self.result_id is not None
        )

    @property
    def result_id(self) -> str | None:
        return self.call_id or self.approval_request_id or self.id

    @property
    def named(self) -> str:
        """The tool that the model names in it, whoever is to run that; "" where it names none."""
        return self.name or CALLS.get(self.type or "", ("", ""))[1]

    def tool_call(self) -> ToolCall | None:
        """The call that it asks the client for; None if it is no such item."""
        place = CALLS.get(self.type or "")
        if place is None:
            return None
        arguments = as_text(getattr(self, place[0]))
        return ToolCall(self.call_id or self.id or "", self.named, arguments)


class _Part(msgspec.Struct, frozen=True, gc=False):
    type: str | None = None
    text: str | None = None
    refusal: str | None = None


class Content(msgspec.Struct, frozen=True, gc=False):
    """What a message or a result says. `inline_bytes` of its attachments are no text."""

    text: str = ""
    attachments: tuple[bytes, ...] = ()
    images: int = 0
    files: int = 0
    inline_bytes: int = 0


ITEM = msgspec.json.Decoder(Item)
_PART = msgspec.json.Decoder(_Part)
_PARTS = msgspec.json.Decoder(list[_Part])
_RAW_PARTS = msgspec.json.Decoder(list[msgspec.Raw])
_STRING = msgspec.json.Decoder(str)


def as_text(raw: msgspec.Raw) -> str:
    """A JSON string's value; any other value as it was written; "" where absent or null.

    Raises ValueError if it is a string that is not text.
    """
    written = bytes(raw)
    if written.startswith(b'"'):
        return _STRING.decode(written)
    return "" if written == b"null" else written.decode()


def read_content(raw: msgspec.Raw) -> Content:
    """Content as a string, as a list of parts, or (a tool's output) as one object.

    Raises ValueError for parts that are no objects or texts that are none.
    """
    written = bytes(raw)
    if written.startswith(b"["):
        return _read_parts(written)
    if written.startswith(b"{") and _PART.decode(written).type in _IMAGE_TYPES:
        return Content("", (written,), images=1, inline_bytes=len(written))
    return Content(as_text(raw))


def _read_parts(written: bytes) -> Content:
    parts = _PARTS.decode(written)
    texts = [part.text or part.refusal or "" for part in parts if part.type in TEXT_TYPES]
    if len(texts) == len(parts):
        return Content("".join(texts))
    texts.clear()
    attachments: list[bytes] = []
    images = files = inline_bytes = 0
    for part, raw in zip(parts, _RAW_PARTS.decode(written), strict=True):
        if part.type in TEXT_TYPES:
            texts.append(part.text or part.refusal or "")
        elif part.type is None:  # what a shell printed: {"stdout", "stderr", "outcome"}
            texts.append(part.text or bytes(raw).decode())
        else:
            is_image, is_file = part.type in _IMAGE_TYPES, part.type in _FILE_TYPES
            attachments.append(bytes(raw))
            images += is_image
            files += is_file
            inline_bytes += memoryview(raw).nbytes if is_image or is_file else 0
    return Content("".join(texts), tuple(attachments), images, files, inline_bytes)
