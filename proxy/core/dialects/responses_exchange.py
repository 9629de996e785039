"""An answer of the Responses API and what its calls came to, as items of the next request."""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from proxy.core.changes import Given
from proxy.core.dialects.contents import Part, Results, contents_of
from proxy.core.dialects.responses_items import APPROVED, ITEM, Item
from proxy.core.edits import Draft, Span, edited, fields_of, parts_of, without
from proxy.core.request import Request
from proxy.core.splice import members, raw_value, splice

_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
_REASONING = "reasoning"
_NO_IDS: Mapping[str, bytes | None] = {"id": None}
_IDENTIFIED = frozenset({"function_call", "custom_tool_call", "message"})
"""Items that need no id to be sent back; with one they are held to the reasoning before them."""


def answer_turn(body: bytes) -> bytes:
    """The output items of an unstreamed answer as a client appends them, as they came. b"" where
    there are none."""
    try:
        output = fields_of(body, Span(0, len(body))).get("output")
    except (ValueError, RecursionError):
        return b""
    if output is None or not body.startswith(b"[", output.start):
        return b""
    return body[output.start : output.end]


def follow_up(
    body: bytes,
    request: Request,
    turn: bytes,
    given: Sequence[Given],
    response_id: str | None = None,
) -> bytes:
    """The request with this turn and its results after all that the client sent.

    response_id: of the answer. Where the provider keeps what was said (a conversation, or a request
    that goes on from a stored response by `previous_response_id`), it has the turn and all that was
    sent with it: then only the results are sent, after the conversation or that answer. Otherwise
    the items are sent back, reasoning with them. With `store: false` reasoning can be sent back
    only if it came encrypted; else it is left out, and with it the ids that would ask for it.
    """
    draft = Draft(body, request.places)
    raws = [bytes(raw) for raw in _ITEMS.decode(turn)]
    items = [_read(raw) for raw in raws]
    kinds = {_call_id(item): item.type for item in items}
    results = [result(one, kinds.get(one.call.call_id)) for one in given]
    stored = draft.value("store") != b"false"
    if request.conversation_id is not None:
        draft.members["input"] = b"[%b]" % b",".join(results)
    elif request.previous_response_id is not None and stored and response_id:
        draft.members["input"] = b"[%b]" % b",".join(results)
        draft.members["previous_response_id"] = msgspec.json.encode(response_id)
    else:
        sent = raws if stored else _unstored(raws, items)
        extend_input(draft, b",".join((*sent, *results)))
    return draft.written()


def extend_input(draft: Draft, items: bytes) -> None:
    """Puts items after all others; a text becomes the first of them."""
    span = draft.span("input")
    if span is None:
        draft.members["input"] = b"[%b]" % items
    elif draft.body.startswith(b"[", span.start):
        draft.append(span, items)
    else:
        said = b'{"role":"user","content":%b}' % draft.body[span.start : span.end]
        draft.members["input"] = b"[%b,%b]" % (said, items)


def result(given: Given, kind: str | None) -> bytes:
    """The item that hands the model what its call came to. kind: the type of the call's item.

    XXX a computer's calls want a screenshot: their result is only right where it is known as it
    was sent (`Given.content`)."""
    call_id = msgspec.json.encode(given.call.call_id)
    if kind == "mcp_approval_request":
        return _approval(given, call_id)
    output, more = given.content_in("responses"), b""
    if kind == "shell_call" and not output.startswith(b"["):
        outcome = b'{"type":"exit","exit_code":%d}' % given.is_error
        output = b'[{"stdout":%b,"stderr":"","outcome":%b}]' % (output, outcome)
    elif kind == "apply_patch_call":
        more = b',"status":"failed"' if given.is_error else b',"status":"completed"'
    kind_of_result = f"{kind or 'function_call'}_output".encode()
    item = b'{"type":"%b","call_id":%b,"output":%b%b}'
    return item % (kind_of_result, call_id, output, more)


def _approval(given: Given, call_id: bytes) -> bytes:
    item = b'{"type":"mcp_approval_response","approval_request_id":%b,"approve":%b}'
    if given.text == APPROVED:
        return item % (call_id, b"true")
    reason = msgspec.json.encode(given.text)
    return item % (call_id, b'false,"reason":%b' % reason)


def without_calls(body: bytes, call_ids: Collection[str]) -> bytes:
    """The answer without these calls, and without reasoning that then leads to nothing: sent back
    alone it is refused ("without its required following item")."""
    output = fields_of(body, Span(0, len(body))).get("output")
    if output is None or not body.startswith(b"[", output.start):
        return body
    parts = parts_of(body, output)
    items = [_read(body[one.start : one.end]) for one in parts]
    dropped = {at for at, item in enumerate(items) if _call_id(item) in call_ids}
    if not dropped:
        return body
    dropped |= _idle(items, dropped)
    return edited(body, without(parts, dropped))


def _read(raw: bytes) -> Item:
    """What can be read of an item: a provider's new kind of thing stays as it is."""
    try:
        return ITEM.decode(raw)
    except (ValueError, RecursionError):
        return Item()


def _call_id(item: Item) -> str | None:
    """Of the call that it asks the client for."""
    try:
        call = item.tool_call()
    except ValueError:
        return None
    return None if call is None else call.call_id


def _idle(items: Sequence[Item], dropped: Collection[int]) -> set[int]:
    """The reasoning that led to what is dropped, and leads to nothing else."""
    idle: set[int] = set()
    led_to_dropped = False
    next_kept: str | None = _REASONING  # as good as none
    for at in reversed(range(len(items))):
        kind = items[at].type
        if at in dropped:
            led_to_dropped = True
        elif kind != _REASONING:
            led_to_dropped, next_kept = False, kind
        elif led_to_dropped and next_kept == _REASONING:
            idle.add(at)
        else:
            next_kept = kind
    return idle


def _unstored(raws: Sequence[bytes], items: Sequence[Item]) -> list[bytes]:
    """The items that can be sent back to a provider that has kept none of them."""
    kept = [
        (item, raw)
        for item, raw in zip(items, raws, strict=True)
        if item.type != _REASONING or _is_sealed(raw)
    ]
    if len(kept) == len(items):
        return [raw for _, raw in kept]
    return [splice(raw, _NO_IDS) if item.type in _IDENTIFIED else raw for item, raw in kept]


def _is_sealed(raw: bytes) -> bool:
    return raw_value(raw, members(raw), "encrypted_content") is not None


def result_contents(body: bytes) -> Mapping[str, bytes]:
    """The results of tool calls in a request, as JSON."""
    return contents_of(body, "input", _results)


def _results(item: Part) -> Results:
    if item.call_id is not None and item.type.endswith("_output"):
        yield item.call_id, item.output
