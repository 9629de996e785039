"""Whether two requests with the same conversation ask for the same, though their bytes differ.

Some clients send what changes with every run: Claude Code its session in `metadata`, a billing line
in the system's text and a cache marker that moves; Codex its thread in `client_metadata`, and how
long a command took in its result. What changes by itself is left out; all else is compared as JSON.
What differs is named, never quoted: it may be a tool's output.
"""

import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Final

import msgspec
from xxhash import xxh3_64_intdigest

from proxy.core.histories import DIGEST_BYTES
from proxy.core.loops.normal import normal_text, timeless_text
from proxy.core.request import Message, Request


class _Message(msgspec.Struct):
    role: str | None = None
    content: msgspec.Raw = msgspec.Raw(b"null")
    name: msgspec.Raw = msgspec.Raw(b"null")


_MESSAGES = msgspec.json.Decoder(list[_Message])
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_VALUE = msgspec.json.Decoder()
_pack = msgspec.msgpack.Encoder().encode
_encode = msgspec.json.Encoder(order="deterministic").encode
_CONVERSATION: Final = frozenset({"messages", "input"})
_SYSTEM: Final = frozenset({"system", "instructions"})
_SYSTEM_ROLES: Final = frozenset({"system", "developer"})
_BY_RUN: Final = frozenset(
    {
        *("stream", "stream_options", "metadata", "client_metadata", "user", "safety_identifier"),
        *("prompt_cache_key", "prompt_cache_retention", "cache_control", "service_tier"),
    }
)
"""Members that change nothing in what is answered: who asks, how it is delivered and billed."""
_DECORATION: Final = "cache_control"
_BILLING: Final = "x-anthropic-billing-header"
_DATE: Final = re.compile(r"\b\d{4}-\d\d-\d\d\b")
_SHOWN_CHARACTERS: Final = 64
_KNOWN: Final = 16_384
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


def differs(body: bytes, request: Request, recorded: bytes, record: Request) -> str:
    """What one asks for otherwise than the other, in a few words; "" for the same."""
    if request.dialect != record.dialect:
        return f"it was recorded as {record.dialect}"
    if request.model != record.model:
        return "another model"
    return _in_history(request, record) or asks_otherwise(body, recorded)


def asks_otherwise(body: bytes, recorded: bytes) -> str:
    """As `differs`, of two bodies of one dialect whose histories are known to be the same: only
    what no history has is compared. Raises MsgspecError for a body that is no JSON object."""
    one, other = _OBJECT.decode(body), _OBJECT.decode(recorded)
    said, known = _conversation(one, other), _conversation(other, one)
    if _system(one, said) != _system(other, known):
        return "another system text"
    if _names(said) != _names(known):
        return "another name of who speaks"
    for name in sorted({*one, *other} - _CONVERSATION - _SYSTEM - _BY_RUN):
        mine, theirs = one.get(name), other.get(name)
        if mine != theirs and _value(mine) != _value(theirs):
            return f"another {_shown(name)}"
    return ""


class SteadyChains:
    """The histories of one session's requests, digest by digest: equal for one whose tool results
    differ in nothing but their times. Each result is read once, for that takes long."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, bool, int], bytes] = {}

    def __len__(self) -> int:
        return len(self._known)

    def chain(self, request: Request) -> bytes:
        return b"".join([self._digest(message) for message in request.history.messages])

    def _digest(self, message: Message) -> bytes:
        if message.tool_result_id is None or not message.text:
            return message.content_digest
        text = xxh3_64_intdigest(message.text.encode("utf-8", "surrogatepass"))
        key = (message.content_digest, message.is_error, text)
        if (known := self._known.get(key)) is not None:
            return known
        if len(self._known) >= _KNOWN:
            self._known.clear()
        digest = self._known[key] = steady_digest(message)
        return digest


def steady_digest(message: Message) -> bytes:
    """16 bytes over what a message says, and of a tool's result without its times: a command that
    is run again takes another one, and says so. Its ids count: the recorded answer goes on with
    those of then."""
    if message.tool_result_id is None or not message.text:
        return message.content_digest
    said = (message.tool_result_id, message.is_error, message.attached, timeless_text(message.text))
    return blake2b(_pack(said), digest_size=DIGEST_BYTES).digest()


def _in_history(request: Request, record: Request) -> str:
    mine, theirs = request.history.messages, record.history.messages
    for at, (message, known) in enumerate(zip(mine, theirs, strict=False), 1):
        if steady_digest(message) != steady_digest(known):
            return f"message {at} ({_kind(message)}) is another"
    if len(mine) < len(theirs):
        return f"message {len(mine) + 1} ({_kind(theirs[len(mine)])}) is not there"
    if len(mine) > len(theirs):
        return f"message {len(theirs) + 1} ({_kind(mine[len(theirs)])}) is more"
    return ""


def _kind(message: Message) -> str:
    return "tool result" if message.tool_result_id is not None else message.role


def _conversation(
    members: Mapping[str, msgspec.Raw], beside: Mapping[str, msgspec.Raw]
) -> list[_Message]:
    """Nothing where both have the same bytes."""
    said: list[_Message] = []
    for name in sorted(_CONVERSATION & members.keys()):
        if members[name] != beside.get(name):
            said += _said(members[name])
    return said


def _system(members: Mapping[str, msgspec.Raw], said: list[_Message]) -> bytes:
    """All that the system says, wherever a dialect has it, without what changes by itself."""
    texts = [text for name in sorted(_SYSTEM & members.keys()) for text in _texts(members[name])]
    for message in said:
        if message.role in _SYSTEM_ROLES:
            texts += _texts(message.content)
    return b"\n".join([_steady(text) for text in texts if not _is_billing(text)])


def _names(said: list[_Message]) -> list[bytes]:
    """Of users who have one: it is no part of a history. Only those, for a turn may be left out."""
    return [name for one in said if one.role == "user" and (name := _value(one.name)) != b"null"]


def _said(raw: msgspec.Raw) -> list[_Message]:
    try:
        return _MESSAGES.decode(raw)
    except ValueError:
        return []  # a prompt that is one text


def _steady(text: str) -> bytes:
    return normal_text(_DATE.sub("", text))


def _is_billing(text: str) -> bool:
    return text.lstrip().startswith(_BILLING)


def _texts(raw: msgspec.Raw) -> list[str]:
    try:
        value = _VALUE.decode(raw)
    except ValueError:  # a number out of range
        return [bytes(raw).decode()]
    if isinstance(value, str):
        return [value]
    parts = value if isinstance(value, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return [text for text in texts if isinstance(text, str)]


def _value(raw: msgspec.Raw | None) -> bytes:
    """The same for two spellings of one value; null is as good as nothing."""
    if raw is None:
        return b"null"
    try:
        return _encode(_undecorated(_VALUE.decode(raw)))
    except ValueError:
        return bytes(raw)


def _undecorated(value: object) -> object:
    if isinstance(value, dict):
        return {k: _undecorated(inner) for k, inner in value.items() if k != _DECORATION}
    if isinstance(value, list):
        return [_undecorated(inner) for inner in value]
    return value


def _shown(name: str) -> str:
    """A member's name as it can stand in a header."""
    return "".join([c if c in _PLAIN else "?" for c in name[:_SHOWN_CHARACTERS]])
