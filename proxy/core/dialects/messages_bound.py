"""Takes out of a `/v1/messages` request what only the provider that made it takes back.

Thinking is signed, and belongs to one model and one conversation; what the provider's own search
found is sealed. Both go. Between a call and its result Claude wants the thinking that led to it, if
thinking is enabled by a budget; so there it is not enabled for this once (adaptive thinking does
not ask for it).
"""

from collections.abc import Sequence

import msgspec

from proxy.core.dialects.messages_blocks import Block
from proxy.core.dialects.messages_request import budget_tokens
from proxy.core.dialects.messages_wire import content_of, role_of
from proxy.core.dialects.reported import member
from proxy.core.edits import Draft, Edit, Span, parts_of, without
from proxy.core.splice import splice

_THINKING = frozenset({"thinking", "redacted_thinking"})
_SEALED = (b'"encrypted_content"', b'"encrypted_index"', b'"encrypted_stdout"')
_NOTHING_SAID = b'[{"type":"text","text":"(no answer)"}]'
"""An empty message is refused, and so may be two of a user in a row."""
_BLOCK = msgspec.json.Decoder(Block)


def unbind(draft: Draft) -> None:
    """What the model said and called stays, in its order."""
    body, span = draft.body, draft.span("messages")
    messages = [] if span is None else parts_of(body, span)
    for message in messages:
        if role_of(body, message) == "assistant":
            content = content_of(body, message)
            draft.edits += [] if content is None else _unsealed(body, content)
    if _is_answering(body, messages):
        _forgo_thinking(draft)


def _unsealed(body: bytes, content: Span) -> list[Edit]:
    """What of an answer goes."""
    if not body.startswith(b"[", content.start):
        return []
    parts = parts_of(body, content)
    raws = [body[one.start : one.end] for one in parts]
    blocks = [_BLOCK.decode(raw) for raw in raws]
    sealed = [any(mark in raw for mark in _SEALED) for raw in raws]
    results = {block.tool_use_id for block, is_one in zip(blocks, sealed, strict=True) if is_one}
    dropped = [
        at
        for at, block in enumerate(blocks)
        if block.type in _THINKING
        or (sealed[at] and block.type not in ("text", "tool_use"))
        or (block.type == "server_tool_use" and block.id in results)
    ]
    if parts and len(dropped) == len(parts):
        return [Edit(content.start, content.end, _NOTHING_SAID)]
    cited = [
        Edit(parts[at].start, parts[at].end, splice(raws[at], {"citations": None}))
        for at, block in enumerate(blocks)
        if block.type == "text" and sealed[at]
    ]
    return [*cited, *without(parts, dropped)]


def _is_answering(body: bytes, messages: Sequence[Span]) -> bool:
    """Whether the model is to go on from the results of calls."""
    content = content_of(body, messages[-1]) if messages else None
    if content is None or not body.startswith(b"[", content.start):
        return False
    said = parts_of(body, content)
    return any(_BLOCK.decode(body[one.start : one.end]).type == "tool_result" for one in said)


def _forgo_thinking(draft: Draft) -> None:
    """And what clears the thinking of earlier turns, which is refused where there is none."""
    thinking = draft.value("thinking")
    if thinking is None or budget_tokens(thinking) is None:
        return
    draft.members["thinking"] = None
    management = draft.value("context_management")
    if management is None or b"clear_thinking" not in management:
        return
    asked = member(msgspec.json.decode(management), "edits")
    left = [one for one in asked if not _clears(one)] if isinstance(asked, list) else []
    kept = splice(management, {"edits": msgspec.json.encode(left)}) if left else None
    draft.members["context_management"] = kept


def _clears(edit: object) -> bool:
    return str(member(edit, "type")).startswith("clear_thinking")
