"""Puts calls that were withheld from an answer back into the next `/v1/responses` request."""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from proxy.core.changes import Given
from proxy.core.dialects.responses_exchange import result
from proxy.core.dialects.responses_items import CALLS, ITEM, Item
from proxy.core.dialects.responses_turns import TOOLS, Named
from proxy.core.edits import Draft, parts_of
from proxy.core.request import Request
from proxy.core.usage import ToolCall

_ANSWERED = frozenset({*CALLS, "reasoning", "item_reference", None})
_FUNCTION, _CUSTOM = "function_call", "custom_tool_call"
_UNNAMED = {name: kind for kind, (_, name) in CALLS.items() if name}


def put_back(draft: Draft, request: Request, given: Sequence[Given]) -> None:
    """Calls that were withheld from the newest answer, and what they came to, beside its other
    calls and their results. Where there are none of those, or these are there already, nothing.

    A provider that keeps the conversation has the calls, and wants no more than the results.
    """
    span = draft.span("input")
    if span is None or not draft.body.startswith(b"[", span.start):
        return
    parts = parts_of(draft.body, span)
    items = [ITEM.decode(draft.body[one.start : one.end]) for one in parts]
    last = max((at for at, one in enumerate(items) if one.is_result), default=-1)
    if last < 0 or any(_is_answer(one) for one in items[last:]):
        return
    first = last
    while first and items[first - 1].is_result:
        first -= 1
    known = {one.result_id for one in items if one.is_result}
    new = [one for one in given if one.call.call_id not in known]
    if not new:
        return
    kinds = [_kind(draft, one.call) for one in new]
    if (first and _is_answer(items[first - 1])) or not _is_kept(request):
        calls = zip(new, kinds, strict=True)
        written = b"".join([_called(one.call, kind) + b"," for one, kind in calls])
        draft.put(parts[first].start, written)
    results = zip(new, kinds, strict=True)
    draft.put(parts[last].end, b"".join([b"," + result(one, kind) for one, kind in results]))


def _is_kept(request: Request) -> bool:
    """Whether the provider has what was said before."""
    return request.previous_response_id is not None or request.conversation_id is not None


def _is_answer(item: Item) -> bool:
    """Whether it is of an answer: a call, a text, reasoning, or a reference to one of them."""
    if item.is_message:
        return item.role == "assistant"
    return item.type in _ANSWERED


def _kind(draft: Draft, call: ToolCall) -> str:
    """The type of the call's item, by what was offered under its name."""
    offered = draft.value("tools")
    tools = [] if offered is None else TOOLS.decode(offered)
    types = {tool.name: tool.type for tool in _flat(tools)}
    if call.name in types:
        return _CUSTOM if types[call.name] == "custom" else _FUNCTION
    return _UNNAMED.get(call.name, _FUNCTION)


def _flat(tools: Iterable[Named]) -> Iterator[Named]:
    for tool in tools:
        yield from _flat(tool.tools or ()) if tool.type == "namespace" else (tool,)


def _called(call: ToolCall, kind: str) -> bytes:
    """A call as an answer has it, but for its id: with one it would be held to its reasoning."""
    field, name = CALLS[kind]
    item: dict[str, object] = {"type": kind, "call_id": call.call_id}
    if name:
        item |= {field: _written(call.arguments), "status": "completed"}
    else:
        item |= {"name": call.name, field: call.arguments}
    return msgspec.json.encode(item)


def _written(arguments: str) -> object:
    """As they were written, where they are JSON."""
    written = msgspec.Raw(arguments.encode())
    try:
        msgspec.json.decode(written)
    except (ValueError, RecursionError):
        return arguments
    return written
