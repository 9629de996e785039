"""Takes out of a `/v1/responses` request what only the provider that made it takes back.

Reasoning, encrypted or by its id, goes, and with it what the provider did by itself: of both the
order and the ids are checked, and a search without its reasoning is refused. What the model said
and asked for stays, without ids: with one it is held to the reasoning before it. A call's link to
its result is `call_id`, which stays.
"""

import msgspec

from proxy.core.dialects.responses_items import ITEM, OWN_WORK
from proxy.core.edits import Draft, Edit, Span, parts_of, without
from proxy.core.splice import splice

_OF_ITS_MAKER = OWN_WORK | {"reasoning"}
_NAMED = frozenset({"item_reference", "mcp_approval_request", "mcp_approval_response", None})
"""Items that are nothing without their id."""
_SEALED = "reasoning.encrypted_content"
_INCLUDED = msgspec.json.Decoder(list[object])


def unbind(draft: Draft) -> None:
    """What is named by reference stays: nobody else has it (`needs_state`)."""
    span = draft.span("input")
    if span is not None and draft.body.startswith(b"[", span.start):
        _unbind_items(draft, parts_of(draft.body, span))
    included = draft.value("include")
    if included is not None and included.startswith(b"[") and _SEALED.encode() in included:
        asked = [one for one in _INCLUDED.decode(included) if one != _SEALED]
        draft.members["include"] = msgspec.json.encode(asked) if asked else None


def _unbind_items(draft: Draft, parts: list[Span]) -> None:
    body = draft.body
    dropped = []
    for at, part in enumerate(parts):
        raw = body[part.start : part.end]
        item = ITEM.decode(raw)
        if item.type in _OF_ITS_MAKER:
            dropped.append(at)
        elif item.id is not None and (item.is_message or item.type not in _NAMED):
            draft.edits.append(Edit(part.start, part.end, splice(raw, {"id": None})))
    draft.edits += without(parts, dropped)
