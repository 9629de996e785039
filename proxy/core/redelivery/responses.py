"""Answers of `/v1/responses`:
https://platform.openai.com/docs/api-reference/responses-streaming."""

from collections.abc import Iterator
from typing import Final

from proxy.core.dialects.responses_render import event_frame
from proxy.core.redelivery.events import Json, NotUnderstood, events_of, listed, text_of

_ENDS: Final = {
    "completed": "response.completed",
    "incomplete": "response.incomplete",
}
_PARTS: Final[dict[str, tuple[str, str, Json]]] = {
    "output_text": ("text", "response.output_text", {"logprobs": []}),
    "refusal": ("refusal", "response.refusal", {}),
}


def whole(body: bytes) -> Json:
    """A stream's body as the response that an unstreamed call is answered: its last event has all
    of it. Raises NotUnderstood."""
    last = [*events_of(body)][-1]
    response = last.get("response")
    if last.get("type") not in _ENDS.values() or not isinstance(response, dict):
        raise NotUnderstood("no end")
    return response


def streamed(response: Json) -> bytes:
    """A response as a stream's body. Raises NotUnderstood."""
    events = enumerate(_events(response))
    return b"".join([event_frame(kind, number, said) for number, (kind, said) in events])


def _events(response: Json) -> Iterator[tuple[str, Json]]:
    end = _ENDS[str(response.get("status"))]
    begun = response | {"status": "in_progress", "output": [], "usage": None}
    begun |= {"incomplete_details": None}
    yield "response.created", {"response": begun}
    yield "response.in_progress", {"response": begun}
    for index, item in enumerate(listed(response, "output")):
        place: Json = {"output_index": index}
        yield "response.output_item.added", place | {"item": _begun(item)}
        match item.get("type"):
            case "message":
                yield from _said(item, place | {"item_id": item["id"]})
            case "function_call":
                yield from _called(item, place | {"item_id": item["id"]})
            case _:
                pass  # it comes at once
        yield "response.output_item.done", place | {"item": item}
    yield end, {"response": response}


def _begun(item: Json) -> Json:
    match item.get("type"):
        case "message":
            return item | {"status": "in_progress", "content": []}
        case "function_call":
            return item | {"status": "in_progress", "arguments": ""}
        case _:
            return item


def _said(item: Json, place: Json) -> Iterator[tuple[str, Json]]:
    for index, part in enumerate(listed(item, "content")):
        where = place | {"content_index": index}
        name, kind, more = _PARTS[str(part.get("type"))]
        said = text_of(part, name)
        yield "response.content_part.added", where | {"part": part | {name: ""}}
        yield f"{kind}.delta", where | {"delta": said} | more
        yield f"{kind}.done", where | {name: said} | more
        yield "response.content_part.done", where | {"part": part}


def _called(item: Json, place: Json) -> Iterator[tuple[str, Json]]:
    written = text_of(item, "arguments")
    yield "response.function_call_arguments.delta", place | {"delta": written}
    named = {"name": item["name"], "arguments": written}
    yield "response.function_call_arguments.done", place | named
