"""Splices a decision's changes into the body of a chat or completions request."""

from collections.abc import Sequence

import msgspec

from proxy.core.changes import Changes
from proxy.core.dialects.chat_bound import BRIDGE, bridges, unbind
from proxy.core.dialects.chat_exchange import put_back
from proxy.core.dialects.chat_offer import take_off, withhold
from proxy.core.edits import Draft, last_of
from proxy.core.request import Request
from proxy.core.splice import raw_value, splice


def rewrite(body: bytes, request: Request, changes: Changes, bound_keys: Sequence[str]) -> bytes:
    """The body to forward; the same object when nothing changes.

    body: the one that `request` was parsed from. bound_keys: where a bound may stand; it goes under
    the first if the client gave none. A bound is only ever lowered, under each key that is above.
    """
    edits = plain_edits(body, request, changes, bound_keys)
    return splice(body, edits, request.places) if edits else body


def rewrite_conversation(
    body: bytes, request: Request, changes: Changes, bound_keys: Sequence[str]
) -> bytes:
    """The same with what changes in the conversation and the offered tools."""
    draft = Draft(body, request.places)
    draft.members |= plain_edits(body, request, changes, bound_keys)
    if changes.put_back:
        put_back(draft, request, changes.put_back)
    if changes.without_tools:
        take_off(draft, changes.without_tools)
    if changes.withhold_tools:
        withhold(draft)
    if changes.unbound:
        draft = draft.applied()
        unbind(draft, changes.model or request.model)
        draft = draft.applied()
    if changes.notes:
        _add_note(draft, request, changes)
    return draft.written()


def plain_edits(
    body: bytes, request: Request, changes: Changes, bound_keys: Sequence[str]
) -> dict[str, bytes | None]:
    """Of top-level members alone."""
    edits: dict[str, bytes | None] = {}
    if changes.model is not None and changes.model != request.model:
        edits["model"] = msgspec.json.encode(changes.model)
    if changes.ask_usage and request.stream and not request.include_usage:
        options = raw_value(body, request.places, "stream_options")
        edits["stream_options"] = (
            splice(options, {"include_usage": b"true"}) if options else b'{"include_usage":true}'
        )
    if changes.output_bound is not None:
        edits.update(_bounds(body, request, changes.output_bound, bound_keys))
    return edits


def _bounds(body: bytes, request: Request, bound: int, keys: Sequence[str]) -> dict[str, bytes]:
    if request.output_bound is None:
        return {keys[0]: b"%d" % bound}
    given = [(key, raw_value(body, request.places, key)) for key in keys]
    return {key: b"%d" % bound for key, value in given if value is not None and int(value) > bound}


def _add_note(draft: Draft, request: Request, changes: Changes) -> None:
    """A user's message at the end: several providers refuse a system's there. Before an answer that
    the model is to go on with (a prefix), for that has to stay the last.

    XXX templates that want roles to alternate (Gemma's) refuse two user messages in a row.
    """
    text = "\n\n".join(changes.notes)
    note = msgspec.json.encode({"role": "user", "content": text})
    span = draft.span("messages")
    assert span is not None, "no request is read without messages"
    last = request.messages[-1].role
    if last == "assistant" and (answer := last_of(draft.body, span)):
        draft.put(answer.start, note + b",")
        return
    if bridges(last, "user", changes.model or request.model):
        note = BRIDGE + b"," + note
    draft.append(span, note)
