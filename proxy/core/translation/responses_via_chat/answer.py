"""An unstreamed answer of chat as a response."""

import msgspec
import xxhash

from proxy.core.dialects.chat_meter import read_answer
from proxy.core.dialects.chat_parts import Call, Choice, Said
from proxy.core.dialects.responses_render import response_object
from proxy.core.translation.json_values import Json
from proxy.core.translation.responses_via_chat import items
from proxy.core.translation.responses_via_chat.custom_input import input_of
from proxy.core.translation.responses_via_chat.request import Asked, items_of, offer_of, read
from proxy.core.translation.responses_via_chat.said import CHUNK, calls_of, pieces_of
from proxy.core.translation.responses_via_chat.tools import Offer
from proxy.core.translation.usages import response_usage
from proxy.core.usage import Usage

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
_FAILED = "error"
_FAILURE: Json = {"code": "server_error", "message": "The provider ended the answer with an error."}


class Head:
    """What the answer to a request says of the request, and the ids in it.

    The ids are made of the request and the time: nothing that a chat provider sends is known to be
    unique. Raises ValueError where the request could not have been translated.
    """

    def __init__(self, body: bytes, created: int) -> None:
        asked = read(body)
        self.offer: Offer = offer_of(asked, items_of(asked))
        self._asked: Asked = asked
        self._created = created
        self._unique = xxhash.xxh3_128_hexdigest(body + created.to_bytes(8, "big", signed=True))

    def item_id(self, prefix: str, number: int) -> str:
        return f"{prefix}_{self._unique}{number:02x}"

    def call_id(self, given: str | None, number: int) -> str:
        """Gemini gives none now and then; without one no result could follow."""
        return given or self.item_id("call", number)

    def response(
        self, model: object, status: str, output: list[Json], usage: Usage | None = None
    ) -> Json:
        asked = self._asked
        name = model if isinstance(model, str) and model else asked.model
        told = response_object(f"resp_{self._unique}", name, self._created, status, output)
        told |= {
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "usage": None if usage is None else response_usage(usage),
        }
        told |= {
            key: value
            for key in ("temperature", "top_p", "parallel_tool_calls")
            if (value := getattr(asked, key)) is not None
        }
        if isinstance(asked.tool_choice, str):
            told["tool_choice"] = asked.tool_choice
        return told


def ended(finish_reason: str | None) -> tuple[str, Json]:
    """The status of a response that ended so, and what else it tells of that."""
    if finish_reason == _FAILED:
        return "failed", {"error": _FAILURE}
    reason = _INCOMPLETE.get(finish_reason or "")
    return (
        ("incomplete", {"incomplete_details": {"reason": reason}}) if reason else ("completed", {})
    )


def response_of(body: bytes, asked: bytes, created: int) -> bytes:
    """What is no answer stays as it is, and is none of responses either. Raises as `Head`."""
    told = read_answer(body)
    if told.malformed is not None:
        return body
    head = Head(asked, created)
    try:
        whole = CHUNK.decode(body)
        choice = min(whole.choices or [Choice()], key=lambda one: one.index or 0)
        status, more = ended(choice.finish_reason)
        output = _output(head, choice.message or Said(), status)
    except (ValueError, RecursionError):
        return body
    return msgspec.json.encode(head.response(whole.model, status, output, told.usage) | more)


def _output(head: Head, said: Said, status: str) -> list[Json]:
    """status: of the response; what was cut short is the last of its items."""
    output: list[Json] = []
    thoughts, parts = _told(said)
    calls = calls_of(said)
    if thoughts:
        output.append(items.reasoning_item(head.item_id("rs", 0), thoughts, "completed"))
    if parts or not calls:
        item_id = head.item_id("msg", len(output))
        output.append(items.message_item(item_id, parts or [items.text_part("")], "completed"))
    for call in calls:
        output.append(_call(head, call, len(output)))
    if status == "incomplete":
        output[-1]["status"] = status
    return output


def _told(said: Said) -> tuple[str, list[Json]]:
    """What it thought, and what it said."""
    thoughts: list[str] = []
    parts: list[Json] = []
    for kind, text in pieces_of(said):
        if kind == "reasoning":
            thoughts.append(text)
        elif text:
            parts.append(items.text_part(text) if kind == "text" else items.refusal_part(text))
    return "".join(thoughts), parts


def _call(head: Head, call: Call, at: int) -> Json:
    name, arguments = call.called
    called = head.offer.of(name)
    prefix, written = ("ctc", input_of(arguments)) if called.is_custom else ("fc", arguments)
    item_id, call_id = head.item_id(prefix, at), head.call_id(call.id, at)
    return items.call_item(item_id, called, call_id, written, "completed")
