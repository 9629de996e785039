"""Takes out of a chat request what only the provider that made it takes back.

Reasoning, signed or plain: some refuse a message that has it, whoever wrote it. But DeepSeek and
Kimi, at their own doors, refuse an answer without it while they think, and take a blank for it; and
Gemini refuses calls without a signature, and takes a word for it that says that there is none
(https://ai.google.dev/gemini-api/docs/thought-signatures, read 2026-11-30).
"""

import re

import msgspec

from proxy.core.edits import Draft, Edit, Span, edited, fields_of, parts_of, without
from proxy.core.splice import splice

_REASONING = "reasoning_content"
_FIELDS = (
    _REASONING,
    "reasoning",
    "reasoning_details",
    "reasoning_opaque",
    "reasoning_text",
    "thinking_blocks",
    "thought_signature",
    "extra_content",
    "provider_specific_fields",
)
_OF_CALLS = ("extra_content", "provider_specific_fields", "thought_signature")
_PARTS = frozenset({"thinking", "redacted_thinking", "reasoning"})
_WANTS_REASONING = re.compile(r"(?:deepseek|kimi)-", re.I)
"""As their own APIs name them; others who serve them put a name before."""
_WANTS_SIGNATURE = re.compile(r"(?:.*/)?gemini-", re.I)
_UNSIGNED = b'{"google":{"thought_signature":"skip_thought_signature_validator"}}'
_BLANK = b'" "'
_NOTHING_SAID = b'"(no answer)"'
_EMPTY = (None, b"null", b'""', b"[]")


class _Role(msgspec.Struct):
    role: str


class _Part(msgspec.Struct):
    type: object = None


_ROLE = msgspec.json.Decoder(_Role)
_PART = msgspec.json.Decoder(_Part)


def unbind(draft: Draft, model: str) -> None:
    """What the model said and called stays. model: the one that is asked now."""
    body, span = draft.body, draft.span("messages")
    assert span is not None, "no request is read without messages"
    for message in parts_of(body, span):
        raw = body[message.start : message.end]
        if _ROLE.decode(raw).role == "assistant":
            new = unbound_answer(raw, model)
            if new != raw:
                draft.edits.append(Edit(message.start, message.end, new))


def wants_more(model: str) -> bool:
    """Whether this model wants more of an answer than what it said and called."""
    return bool(_WANTS_REASONING.match(model) or _WANTS_SIGNATURE.match(model))


def unbound_answer(raw: bytes, model: str) -> bytes:
    """One answer of the history, for this model."""
    fields = _fields(raw)
    changes: dict[str, bytes | None] = {key: None for key in _FIELDS if key in fields}
    if _WANTS_REASONING.match(model):
        changes[_REASONING] = _thought(fields)
    content, calls = fields.get("content"), fields.get("tool_calls")
    if content is not None and content.startswith(b"["):
        changes["content"] = content = _without_thinking(content)
    if calls is not None and calls.startswith(b"["):
        changes["tool_calls"] = _unsigned(calls, signs=_WANTS_SIGNATURE.match(model) is not None)
    others = (calls, fields.get("function_call"), fields.get("refusal"), fields.get("audio"))
    if changes and content in _EMPTY and all(one in _EMPTY for one in others):
        changes["content"] = _NOTHING_SAID
    return splice(raw, changes)


def _fields(raw: bytes) -> dict[str, bytes]:
    return {key: raw[at.start : at.end] for key, at in fields_of(raw, Span(0, len(raw))).items()}


def _thought(fields: dict[str, bytes]) -> bytes:
    """What it thought, under whichever name that came; an empty text is refused."""
    told = [fields.get(key, b"") for key in (_REASONING, "reasoning")]
    return next((one for one in told if one.startswith(b'"') and one != b'""'), _BLANK)


def _without_thinking(content: bytes) -> bytes:
    parts = parts_of(content, Span(0, len(content)))
    raws = [content[one.start : one.end] for one in parts]
    dropped = [
        at
        for at, raw in enumerate(raws)
        if raw.startswith(b"{") and _PART.decode(raw).type in _PARTS
    ]
    return edited(content, without(parts, dropped))


def _unsigned(calls: bytes, *, signs: bool) -> bytes:
    """Calls without signatures. signs: the first one says that it has none."""
    edits = []
    for at, one in enumerate(parts_of(calls, Span(0, len(calls)))):
        call = calls[one.start : one.end]
        changes: dict[str, bytes | None] = dict.fromkeys(_OF_CALLS)
        function = _fields(call).get("function")
        if function is not None and function.startswith(b"{"):
            changes["function"] = splice(function, dict.fromkeys(_OF_CALLS))
        if signs and at == 0:
            changes["extra_content"] = _UNSIGNED
        edits.append(Edit(one.start, one.end, splice(call, changes)))
    return edited(calls, edits)
