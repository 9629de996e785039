"""Splices a decision's changes into the body of a `/v1/responses` request."""

import re

import msgspec

from proxy.core.changes import Changes
from proxy.core.dialects.responses_bound import unbind
from proxy.core.dialects.responses_exchange import extend_input
from proxy.core.dialects.responses_offer import take_off, withhold
from proxy.core.dialects.responses_put_back import put_back
from proxy.core.edits import Draft
from proxy.core.request import Request
from proxy.core.splice import splice

_KNOWS_DEVELOPERS = re.compile(r"(?:.*/)?(?:ft:)?(?:gpt-(?!oss)|o[0-9]|chatgpt-|codex-)")
"""OpenAI's models, whoever serves them. Of others' servers some drop what a developer says without
a word (Ollama), some refuse it (Qwen's template): users' reports, read 2026-11-30."""


def rewrite(body: bytes, request: Request, changes: Changes) -> bytes:
    """Splices what has changed; usage is always sent here, so `ask_usage` changes nothing."""
    new: dict[str, bytes | None] = {}
    if changes.model is not None:
        new["model"] = msgspec.json.encode(changes.model)
    if changes.output_bound is not None:
        new["max_output_tokens"] = b"%d" % changes.output_bound
    if changes.in_conversation:
        return _rewrite_conversation(body, request, changes, new)
    return splice(body, new, request.places) if new else body


def _rewrite_conversation(
    body: bytes, request: Request, changes: Changes, new: dict[str, bytes | None]
) -> bytes:
    draft = Draft(body, request.places)
    draft.members |= new
    if changes.put_back:
        put_back(draft, request, changes.put_back)
    if changes.without_tools:
        take_off(draft, request, changes.without_tools)
    if changes.withhold_tools:
        withhold(draft, request)
    if changes.unbound:
        draft = draft.applied()
        unbind(draft)
        draft = draft.applied()
    if changes.notes:
        _add_note(draft, request, changes)
    return draft.written()


def _add_note(draft: Draft, request: Request, changes: Changes) -> None:
    """A developer's item at the end; a user's where developers may not be known."""
    model = changes.model or request.model
    role = "developer" if _KNOWS_DEVELOPERS.match(model) else "user"
    part = {"type": "input_text", "text": "\n\n".join(changes.notes)}
    note = msgspec.json.encode({"type": "message", "role": role, "content": [part]})
    extend_input(draft, note)
