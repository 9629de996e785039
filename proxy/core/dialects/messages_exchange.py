"""An answer of the Messages API and what its calls came to, as messages of the next request."""

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

import msgspec

from proxy.core.changes import Given
from proxy.core.dialects.contents import Part, Results, contents_of, parts_in
from proxy.core.dialects.messages_blocks import Block
from proxy.core.dialects.messages_wire import content_of, role_of, user_message
from proxy.core.edits import Draft, Edit, Span, edited, fields_of, parts_of, without
from proxy.core.request import Request
from proxy.core.usage import ToolCall

_BLOCK = msgspec.json.Decoder(Block)
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


def answer_turn(body: bytes) -> bytes:
    """The message of an unstreamed answer as a client appends it, with all of its blocks as they
    came: thinking must be sent back unchanged, for its signature is checked. b"" where there is
    none."""
    try:
        content = fields_of(body, Span(0, len(body))).get("content")
    except (ValueError, RecursionError):
        return b""
    if content is None or not body.startswith(b"[", content.start):
        return b""
    return b'{"role":"assistant","content":%b}' % body[content.start : content.end]


def follow_up(body: bytes, request: Request, turn: bytes, given: Sequence[Given]) -> bytes:
    """The request with this turn and its results after all that the client sent. An answer that the
    model went on with and the turn are two messages in a row, which the provider joins."""
    draft = Draft(body, request.places)
    results = (user_message(b",".join(map(result, given))),) if given else ()
    new = b",".join((turn, *results))
    span = draft.span("messages")
    if span is None:
        draft.members["messages"] = b"[%b]" % new
    else:
        draft.append(span, new)
    return draft.written()


def result(given: Given) -> bytes:
    """The block that hands the model what its call came to."""
    call_id, content = msgspec.json.encode(given.call.call_id), given.content_in("messages")
    failed = b',"is_error":true' if given.is_error else b""
    block = b'{"type":"tool_result","tool_use_id":%b,"content":%b%b}'
    return block % (call_id, content, failed)


def put_back(draft: Draft, given: Sequence[Given]) -> None:
    """Calls that were withheld from the newest answer that made some, and what they came to, beside
    its other calls and their results. Where there are none of those, or these are there already,
    nothing.

    The signed thinking of the answer stays as it is; another block at its end does not matter.
    """
    body, span = draft.body, draft.span("messages")
    messages = [] if span is None else parts_of(body, span)
    turn = _newest_calls(body, messages)
    if turn is None:
        return
    asked, called, after = turn
    heard = _blocks(body, content_of(body, after)) if role_of(body, after) == "user" else []
    results = [one for one, block in heard if block.type == "tool_result"]
    new = [one for one in given if one.call.call_id not in called]
    if results and new:
        draft.append(asked, b",".join([_called(one.call) for one in new]))
        draft.put(results[-1].end, b"".join([b"," + result(one) for one in new]))


def _newest_calls(
    body: bytes, messages: Sequence[Span]
) -> tuple[Span, Collection[str | None], Span] | None:
    """The content of the newest answer that made calls, their ids, and the message after it."""
    for answer, after in reversed([*pairwise(messages)]):
        content = content_of(body, answer) if role_of(body, answer) == "assistant" else None
        called = {block.id for _, block in _blocks(body, content) if block.type == "tool_use"}
        if content is not None and called:
            return content, called, after
    return None


def _blocks(body: bytes, content: Span | None) -> list[tuple[Span, Block]]:
    if content is None or not body.startswith(b"[", content.start):
        return []
    return [(one, _BLOCK.decode(body[one.start : one.end])) for one in parts_of(body, content)]


def _called(call: ToolCall) -> bytes:
    """A call as an answer has it; arguments that are no object were none."""
    written = call.arguments.encode()
    try:
        _OBJECT.decode(written)
    except (ValueError, RecursionError):
        written = b"{}"
    call_id, name = msgspec.json.encode(call.call_id), msgspec.json.encode(call.name)
    return b'{"type":"tool_use","id":%b,"name":%b,"input":%b}' % (call_id, name, written)


def without_calls(body: bytes, call_ids: Collection[str]) -> bytes:
    """The answer without these calls; one that is left without any has ended its turn."""
    fields = fields_of(body, Span(0, len(body)))
    content = fields.get("content")
    if content is None or not body.startswith(b"[", content.start):
        return body
    parts = parts_of(body, content)
    read = [_call_id(body[one.start : one.end]) for one in parts]
    calls = {at: call_id for at, call_id in enumerate(read) if call_id is not None}
    dropped = [at for at, call_id in calls.items() if call_id in call_ids]
    if not dropped:
        return body
    edits = without(parts, dropped)
    reason = fields.get("stop_reason")
    if len(dropped) == len(calls) and reason and body[reason.start : reason.end] == b'"tool_use"':
        edits.append(Edit(*reason, b'"end_turn"'))
    return edited(body, sorted(edits))


def _call_id(raw: bytes) -> str | None:
    """Of the call that a block asks the client for; a provider's new kind of block asks nothing."""
    try:
        block = _BLOCK.decode(raw)
    except (ValueError, RecursionError):
        return None
    return (block.id or "") if block.type == "tool_use" else None


def result_contents(body: bytes) -> Mapping[str, bytes]:
    """The results of tool calls in a request, as JSON."""
    return contents_of(body, "messages", _results)


def _results(message: Part) -> Results:
    for block in parts_in(message.content) if message.role == "user" else ():
        if block.tool_use_id is not None:
            yield block.tool_use_id, block.content
