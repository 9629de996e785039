"""Writes answers and failures of `/v1/responses` that OpenAI's SDKs and Codex take for its own."""

from collections.abc import Iterator
from fnmatch import fnmatchcase

import msgspec

from proxy.core.decision import Refusal
from proxy.core.dialects.render import error_object
from proxy.core.request import Request
from proxy.core.sse import encode_frame

# Codex sends a failed stream again, five times, unless its code says that the prompt is at fault.
_CODEX = "codex*"
_ENDS_CODEX = "invalid_prompt"
# Above that of any event that a provider can have sent before, which is not known here.
_LATE = 1_000_000_000
_NO_USAGE = {
    "input_tokens": 0,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 0,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 0,
}

Json = dict[str, object]


def error_frames(refusal: Refusal, request_id: str, client: str, response_id: str | None) -> bytes:
    """`response.failed`, which typed readers end on, then the `error` that untyped ones raise on.

    The failed response is the one that the stream began: openai-python's `stream()` breaks on any
    other id, before it could read the error.
    The error is told twice inside its frame: nested as every SDK raises it, flat as the API's own.
    """
    is_codex = fnmatchcase(client.lower(), _CODEX)
    told = error_object(refusal)
    code = _ENDS_CODEX if is_codex else refusal.code
    failed = response_object(response_id or _prefixed("resp", request_id), "", 0, "failed", [])
    failed["error"] = {"code": code, "message": refusal.message}
    flat = {"code": refusal.code, "message": refusal.message, "param": refusal.param}
    return b"".join(
        (
            event_frame("response.failed", _LATE, {"response": failed}),
            event_frame("error", _LATE + 1, flat | {"error": told, "request_id": request_id}),
        )
    )


def render_text(text: str, request: Request, answer_id: str, created: int) -> bytes:
    """A completed response of one message that says `text` and cost nothing."""
    answer = _Written(text, request, answer_id, created)
    return msgspec.json.encode(answer.response("completed", [answer.message]))


def stream_text(text: str, request: Request, answer_id: str, created: int) -> bytes:
    """The same in the whole sequence of events."""
    events = _Written(text, request, answer_id, created).events()
    return b"".join(event_frame(kind, number, event) for number, (kind, event) in enumerate(events))


class _Written:
    """One answer and the pieces that its events repeat."""

    def __init__(self, text: str, request: Request, answer_id: str, created: int) -> None:
        self._text = text
        self._request = request
        self._id = _prefixed("resp", answer_id)
        self._created = created
        self._place: Json = {
            "item_id": _prefixed("msg", answer_id.removeprefix("resp_")),
            "output_index": 0,
            "content_index": 0,
        }
        self._part: Json = {
            "type": "output_text",
            "text": text,
            "annotations": [],
            "logprobs": [],
        }
        self.message = self._item("completed", [self._part])

    def response(self, status: str, output: list[Json]) -> Json:
        request = self._request
        response = response_object(self._id, request.model, self._created, status, output)
        response["max_output_tokens"] = request.output_bound
        response["previous_response_id"] = request.previous_response_id
        return response

    def events(self) -> Iterator[tuple[str, Json]]:
        begun = self.response("in_progress", [])
        yield "response.created", {"response": begun}
        yield "response.in_progress", {"response": begun}
        item = self._item("in_progress", [])
        yield "response.output_item.added", {"output_index": 0, "item": item}
        empty = self._part | {"text": ""}
        yield "response.content_part.added", self._place | {"part": empty}
        if self._text:
            spoken = self._place | {"delta": self._text, "logprobs": []}
            yield "response.output_text.delta", spoken
        yield "response.output_text.done", self._place | {"text": self._text, "logprobs": []}
        yield "response.content_part.done", self._place | {"part": self._part}
        yield "response.output_item.done", {"output_index": 0, "item": self.message}
        whole = self.response("completed", [self.message])
        yield "response.completed", {"response": whole}

    def _item(self, status: str, content: list[Json]) -> Json:
        return {
            "id": self._place["item_id"],
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": content,
        }


def response_object(
    answer_id: str, model: str, created: int, status: str, output: list[Json]
) -> Json:
    """A response object with every member that the API's own always has."""
    return {
        "id": answer_id,
        "object": "response",
        "created_at": created,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "model": model,
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": _NO_USAGE if status == "completed" else None,
        "user": None,
    }


def _prefixed(prefix: str, identity: str) -> str:
    return identity if identity.startswith(prefix + "_") else f"{prefix}_{identity}"


def event_frame(kind: str, number: int, event: Json) -> bytes:
    whole = {"type": kind, "sequence_number": number} | event
    return encode_frame(msgspec.json.encode(whole), kind)
