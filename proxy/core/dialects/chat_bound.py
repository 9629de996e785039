"""Takes out of a chat request what only the provider that made it takes back.

Reasoning, signed or plain: some refuse a message that has it, whoever wrote it. But DeepSeek and
Kimi, at their own doors, refuse an answer without it while they think, and take a blank for it; and
Gemini refuses calls without a signature, and takes a word for it that says that there is none
(https://ai.google.dev/gemini-api/docs/thought-signatures, read 2026-11-30). Mistral's format takes
ids of nine letters and digits only; others are made into such. And it has an answer between a
tool's result and what a user says: anything else is refused ("Unexpected role 'user' after role
'tool'", code 3230), whoever serves the model.
"""

import re

import msgspec
import xxhash

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
MISTRALS = re.compile(
    r"mistral|ministral|mixtral|magistral|devstral|codestral|pixtral|voxtral", re.I
)
"""Models of Mistral, whoever serves them."""
BRIDGE = b'{"role":"assistant","content":"I have the results."}'
_THEIR_ID = re.compile(r"[a-zA-Z0-9]{9}")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_UNSIGNED = b'{"google":{"thought_signature":"skip_thought_signature_validator"}}'
_BLANK = b'" "'
_NOTHING_SAID = b'"(no answer)"'
_EMPTY = (None, b"null", b'""', b"[]")


class _Role(msgspec.Struct):
    role: str
    tool_call_id: str | None = None


class _Part(msgspec.Struct):
    type: object = None


_ROLE = msgspec.json.Decoder(_Role)
_PART = msgspec.json.Decoder(_Part)


def unbind(draft: Draft, model: str) -> None:
    """What the model said and called stays. model: the one that is asked now."""
    body, span = draft.body, draft.span("messages")
    assert span is not None, "no request is read without messages"
    last = ""
    for message in parts_of(body, span):
        raw = body[message.start : message.end]
        said = _ROLE.decode(raw)
        if bridges(last, said.role, model):
            draft.put(message.start, BRIDGE + b",")
        last, new = said.role, raw
        if said.role == "assistant":
            new = unbound_answer(raw, model)
        elif said.tool_call_id and (told := id_for(said.tool_call_id, model)) != said.tool_call_id:
            new = splice(raw, {"tool_call_id": msgspec.json.encode(told)})
        if new != raw:
            draft.edits.append(Edit(message.start, message.end, new))


def bridges(last: str, role: str, model: str) -> bool:
    """Whether this model wants an answer between messages of these roles."""
    return last == "tool" and role == "user" and MISTRALS.search(model) is not None


def id_for(call_id: str, model: str) -> str:
    """The id of a call in the form that this model takes, the same each time."""
    if not call_id or not MISTRALS.search(model) or _THEIR_ID.fullmatch(call_id):
        return call_id
    number = xxhash.xxh3_64_intdigest(call_id.encode())
    return "".join([_DIGITS[number // 36**place % 36] for place in range(9)])


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
        changes["tool_calls"] = _unsigned(calls, model)
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


def _unsigned(calls: bytes, model: str) -> bytes:
    """Calls without signatures, or with the word that the first one has none."""
    edits = []
    for at, one in enumerate(parts_of(calls, Span(0, len(calls)))):
        call = calls[one.start : one.end]
        changes: dict[str, bytes | None] = dict.fromkeys(_OF_CALLS)
        fields = _fields(call)
        function, call_id = fields.get("function"), fields.get("id", b"")
        if function is not None and function.startswith(b"{"):
            changes["function"] = splice(function, dict.fromkeys(_OF_CALLS))
        if call_id.startswith(b'"'):
            told = msgspec.json.decode(call_id, type=str)
            known = id_for(told, model)
            changes |= {} if known == told else {"id": msgspec.json.encode(known)}
        if at == 0 and _WANTS_SIGNATURE.match(model):
            changes["extra_content"] = _UNSIGNED
        edits.append(Edit(one.start, one.end, splice(call, changes)))
    return edited(calls, edits)
