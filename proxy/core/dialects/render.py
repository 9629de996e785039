"""What refusals and errors look like, shared by the dialects."""

import msgspec

from proxy.core.decision import LimitFacts, Refusal
from proxy.core.sse import encode_frame


def error_object(refusal: Refusal) -> dict[str, object]:
    """The `error` object of SPEC section 5: the same in every dialect.

    `holdfast` is there only where a limit or a session is behind it.
    """
    error: dict[str, object] = {
        "message": refusal.message,
        "type": refusal.type,
        "code": refusal.code,
        "param": refusal.param,
    }
    if refusal.facts is not None:
        error["holdfast"] = _facts(refusal.facts)
    return error


def openai_error(refusal: Refusal) -> bytes:
    """The JSON body of a rejection on OpenAI's endpoints."""
    return msgspec.json.encode({"error": error_object(refusal)})


def error_frame(refusal: Refusal, request_id: str | None = None) -> bytes:
    """The one frame that every SDK raises on, whatever the endpoint; nothing may follow it.

    Anthropic's clients also read `request_id` beside the error.
    """
    frame: dict[str, object] = {"type": "error", "error": error_object(refusal)}
    if request_id is not None:
        frame["request_id"] = request_id
    return encode_frame(msgspec.json.encode(frame), "error")


def _facts(facts: LimitFacts) -> dict[str, object]:
    """What is known; an error that no limit is behind names none."""
    told = {
        "session": facts.session,
        "limit": facts.limit,
        "scope": facts.scope if facts.limit else None,
        "max": facts.maximum,
        "used": facts.used,
        "requested": facts.requested,
        "resumable": facts.resumable,
        "checkpoint": facts.checkpoint,
        "next_try_seconds": facts.next_try_seconds,
    }
    return {name: value for name, value in told.items() if value is not None}
