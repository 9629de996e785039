"""An answer of chat completions and what its calls came to, as messages of the next request."""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from proxy.core.changes import Given
from proxy.core.dialects.chat_offer import is_custom
from proxy.core.dialects.chat_parts import Call
from proxy.core.dialects.contents import Part, Results, contents_of
from proxy.core.edits import Draft, Edit, Span, edited, fields_of, parts_of, without
from proxy.core.request import Request
from proxy.core.splice import members, raw_value, splice
from proxy.core.usage import ToolCall

_LEGACY_ID = ""
"""Of `function_call`, which has none."""
_NULL = b"null"
_ASSISTANT = b'"assistant"'
_CALLING = (b'"tool_calls"', b'"function_call"')


class _Choice(msgspec.Struct):
    index: int | None = None
    message: msgspec.Raw = msgspec.Raw()


class _Answer(msgspec.Struct):
    choices: list[_Choice] = []


_ANSWER = msgspec.json.Decoder(_Answer)
_CALL = msgspec.json.Decoder(Call)


def answer_turn(body: bytes) -> bytes:
    """The message of an unstreamed answer (of several the first) as a client appends it: as it
    came, but for fields that say nothing and for audio, which is sent back by its id. b"" where
    there is none."""
    try:
        choices = _ANSWER.decode(body).choices
    except (ValueError, RecursionError):
        return b""
    said = [one for one in choices if bytes(one.message).startswith(b"{")]
    if not said:
        return b""
    message = bytes(min(said, key=lambda one: one.index or 0).message)
    fields = fields_of(message, Span(0, len(message)))
    values = {key: message[span.start : span.end] for key, span in fields.items()}
    changes: dict[str, bytes | None] = {
        key: None for key, value in values.items() if value == _NULL and key != "content"
    }
    if values.get("audio", b"").startswith(b"{"):
        audio = values["audio"]
        changes["audio"] = b'{"id":%b}' % (raw_value(audio, members(audio), "id") or _NULL)
    return splice(message, {"role": _ASSISTANT, **changes})


def follow_up(body: bytes, request: Request, turn: bytes, given: Sequence[Given]) -> bytes:
    """The request with this turn and its results after all that the client sent."""
    draft = Draft(body, request.places)
    span = draft.span("messages")
    assert span is not None, "no request is read without messages"
    draft.append(span, b",".join((turn, *map(result, given))))
    return draft.written()


def result(given: Given) -> bytes:
    """The message that hands the model what its call came to."""
    content = given.content_in("chat")
    if given.call.call_id == _LEGACY_ID:
        name = msgspec.json.encode(given.call.name)
        return b'{"role":"function","name":%b,"content":%b}' % (name, content)
    call_id = msgspec.json.encode(given.call.call_id)
    return b'{"role":"tool","tool_call_id":%b,"content":%b}' % (call_id, content)


def put_back(draft: Draft, request: Request, given: Sequence[Given]) -> None:
    """Calls that were withheld from the newest answer that made some, and what they came to, beside
    its other calls and their results. Where there are none of those, or these are there already,
    nothing."""
    span = draft.span("messages")
    assert span is not None, "no request is read without messages"
    said = request.messages
    answer = max((at for at, one in enumerate(said) if one.tool_calls), default=len(said))
    last = answer
    while last + 1 < len(said) and said[last + 1].role == "tool":
        last += 1
    if last == answer:
        return
    parts = parts_of(draft.body, span)
    calls = fields_of(draft.body, parts[answer]).get("tool_calls")
    if calls is None or not draft.body.startswith(b"[", calls.start):
        return
    known = {_LEGACY_ID, *[call.call_id for call in said[answer].tool_calls]}
    new = [one for one in given if one.call.call_id not in known]
    if new:
        draft.append(calls, b",".join([_called(draft, one.call) for one in new]))
        draft.put(parts[last].end, b"".join([b"," + result(one) for one in new]))


def _called(draft: Draft, call: ToolCall) -> bytes:
    """A call as an answer has it."""
    kind, field = ("custom", "input") if is_custom(draft, call.name) else ("function", "arguments")
    inner = {"name": call.name, field: call.arguments}
    return msgspec.json.encode({"id": call.call_id, "type": kind, kind: inner})


def without_calls(body: bytes, call_ids: Collection[str]) -> bytes:
    """The answer without these calls ("" is the one of `function_call`). A choice that is left
    without any ends as one that had none."""
    found = fields_of(body, Span(0, len(body))).get("choices")
    if found is None or not body.startswith(b"[", found.start):
        return body
    edits: list[Edit] = []
    for choice in parts_of(body, found):
        edits += _choice_edits(body, choice, call_ids)
    return edited(body, sorted(edits)) if edits else body


def _choice_edits(body: bytes, choice: Span, call_ids: Collection[str]) -> list[Edit]:
    fields = fields_of(body, choice)
    message = fields.get("message")
    if message is None or not body.startswith(b"{", message.start):
        return []
    raw = body[message.start : message.end]
    said = fields_of(raw, Span(0, len(raw)))
    changes, left = _fewer(raw, said.get("tool_calls"), call_ids)
    legacy = said.get("function_call")
    if legacy and raw.startswith(b"{", legacy.start):
        left = left or _LEGACY_ID not in call_ids
        changes |= {"function_call": None} if _LEGACY_ID in call_ids else {}
    if not changes:
        return []
    edits = []
    if not left:
        if (content := said.get("content")) and raw[content.start : content.end] == _NULL:
            changes["content"] = b'""'  # what is said without a call is a text
        finish = fields.get("finish_reason")
        if finish and body[finish.start : finish.end] in _CALLING:
            edits.append(Edit(*finish, b'"stop"'))
    return [*edits, Edit(*message, splice(raw, changes))]


def _fewer(
    raw: bytes, calls: Span | None, call_ids: Collection[str]
) -> tuple[dict[str, bytes | None], bool]:
    """How a message's list of calls is set without these, and whether any is left."""
    if calls is None or not raw.startswith(b"[", calls.start):
        return {}, False
    parts = parts_of(raw, calls)
    ids = [_CALL.decode(raw[one.start : one.end]).id or _LEGACY_ID for one in parts]
    dropped = [at for at, call_id in enumerate(ids) if call_id in call_ids]
    left = len(dropped) < len(parts)
    if not dropped:
        return {}, left
    kept = edited(raw[: calls.end], without(parts, dropped))[calls.start :]
    return {"tool_calls": kept if left else None}, left


def result_contents(body: bytes) -> Mapping[str, bytes]:
    """The results of tool calls in a request, as JSON."""
    return contents_of(body, "messages", _results)


def _results(message: Part) -> Results:
    if message.tool_call_id is not None and message.role == "tool":
        yield message.tool_call_id, message.content
