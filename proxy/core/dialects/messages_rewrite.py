"""Splices a decision's changes into the body of a `/v1/messages` request."""

from collections.abc import Sequence

import msgspec

from proxy.core.changes import Changes
from proxy.core.dialects.messages_bound import unbind
from proxy.core.dialects.messages_exchange import put_back
from proxy.core.dialects.messages_offer import take_off, withhold
from proxy.core.dialects.messages_request import LEAST_BUDGET_TOKENS, budget_tokens
from proxy.core.dialects.messages_wire import content_of, role_of, user_message
from proxy.core.edits import Draft, Edit, Span, last_of, parts_of
from proxy.core.request import Request
from proxy.core.splice import raw_value, splice

_TEXT = b'{"type":"text","text":'


def rewrite(body: bytes, request: Request, changes: Changes) -> bytes:
    """Splices what has changed; usage is always sent here, so `ask_usage` changes nothing.

    `max_tokens` must stay above `thinking.budget_tokens`: where the new bound is not, the budget is
    lowered with it, by the same share. Below a bound of 1025 it cannot be (the provider's least
    budget is 1024): then the provider refuses the call, unbilled, so do not bound it lower.
    """
    new: dict[str, bytes | None] = {}
    if changes.model is not None:
        new["model"] = msgspec.json.encode(changes.model)
    if changes.output_bound is not None:
        new["max_tokens"] = b"%d" % changes.output_bound
        new |= _thought(body, request, changes.output_bound)
    if changes.in_conversation:
        return _rewrite_conversation(body, request, changes, new)
    return splice(body, new, request.places) if new else body


def _rewrite_conversation(
    body: bytes, request: Request, changes: Changes, new: dict[str, bytes | None]
) -> bytes:
    draft = Draft(body, request.places)
    draft.members |= new
    if changes.put_back:
        put_back(draft, changes.put_back)
    if changes.without_tools:
        take_off(draft, changes.without_tools)
    if changes.withhold_tools:
        withhold(draft, request)
    if changes.unbound:
        draft = draft.applied()
        unbind(draft)
        draft = draft.applied()
    if changes.notes:
        _add_note(draft, changes.notes)
    return draft.written()


def _thought(body: bytes, request: Request, bound: int) -> dict[str, bytes | None]:
    raw, most = raw_value(body, request.places, "thinking"), request.output_bound
    if raw is None or most is None:
        return {}
    budget = budget_tokens(raw)
    if budget is None or not bound <= budget < most:
        return {}
    lowered = max(LEAST_BUDGET_TOKENS, bound * budget // most)
    return {"thinking": splice(raw, {"budget_tokens": b"%d" % lowered})}


def _add_note(draft: Draft, notes: Sequence[str]) -> None:
    """A block at the end of what the user says last: after the results of tools, which have to come
    first, and in the same message, for imitators want roles to alternate. Where the last message is
    an answer that the model is to go on with, the user's before it.
    """
    block = b"%b%b}" % (_TEXT, msgspec.json.encode("\n\n".join(notes)))
    span = draft.span("messages")
    if span is None:
        draft.members["messages"] = b"[%b]" % user_message(block)
        return
    heard = _heard_last(draft.body, span)
    content = None if heard is None else content_of(draft.body, heard)
    if content is None:
        draft.append(span, user_message(block))
    elif draft.body.startswith(b"[", content.start):
        draft.append(content, block)
    elif draft.body[content.start : content.end] == b'""':  # an empty text is refused in a block
        draft.edits.append(Edit(content.start, content.end, b"[%b]" % block))
    else:
        draft.put(content.start, b"[" + _TEXT)
        draft.put(content.end, b"},%b]" % block)


def _heard_last(body: bytes, span: Span) -> Span | None:
    """The user's last message, where only answers come after it."""
    last = last_of(body, span)
    if last is None:
        return None
    role = role_of(body, last)
    if role != "assistant":
        return last if role == "user" else None
    heard = (one for one in reversed(parts_of(body, span)) if role_of(body, one) == "user")
    return next(heard, None)
