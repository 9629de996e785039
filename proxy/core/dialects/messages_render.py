"""Writes answers and refusals of `/v1/messages` as Anthropic's SDKs and Claude Code expect them."""

import msgspec

from proxy.core.decision import Refusal
from proxy.core.dialects.render import error_object
from proxy.core.request import Request
from proxy.core.sse import encode_frame

_NO_USAGE = {
    "input_tokens": 0,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "output_tokens": 0,
}

Json = dict[str, object]


def render_refusal(refusal: Refusal, request_id: str) -> bytes:
    """The body of a rejection or error."""
    return msgspec.json.encode(
        {"type": "error", "error": error_object(refusal), "request_id": request_id}
    )


def render_text(text: str, request: Request, answer_id: str) -> bytes:
    """A finished message that says `text` and cost nothing."""
    content: list[Json] = [{"type": "text", "text": text}]
    return msgspec.json.encode(_message(request, answer_id, content, "end_turn"))


def stream_text(text: str, request: Request, answer_id: str) -> bytes:
    """The same in the whole sequence of events."""
    block = {"type": "text", "text": ""}
    delta = {"type": "text_delta", "text": text}
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    return b"".join(
        (
            _frame("message_start", {"message": _message(request, answer_id, [], None)}),
            _frame("content_block_start", {"index": 0, "content_block": block}),
            _frame("ping", {}),
            _frame("content_block_delta", {"index": 0, "delta": delta}),
            _frame("content_block_stop", {"index": 0}),
            _frame("message_delta", {"delta": stop, "usage": _NO_USAGE}),
            _frame("message_stop", {}),
        )
    )


def _message(request: Request, answer_id: str, content: list[Json], stop: str | None) -> Json:
    return {
        "id": answer_id if answer_id.startswith("msg_") else f"msg_{answer_id}",
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": _NO_USAGE,
    }


def _frame(kind: str, event: Json) -> bytes:
    return encode_frame(msgspec.json.encode({"type": kind} | event), kind)
