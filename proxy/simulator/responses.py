"""`/v1/responses` as OpenAI answers it.

https://platform.openai.com/docs/api-reference/responses, and recorded exchanges (read 2026-11-22).
"""

from collections.abc import Iterator, Mapping

import msgspec

from proxy.simulator.answer import AskedCall, Event, Reply, Tokens, Usage, chunks
from proxy.simulator.chat import call_id
from proxy.simulator.conversation import listing, mapping
from proxy.simulator.memory import conversation_of
from proxy.simulator.tokens import Json

_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}
_ECHOED: Mapping[str, object] = {
    "background": False,
    "frequency_penalty": 0.0,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "parallel_tool_calls": True,
    "presence_penalty": 0.0,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "prompt_cache_retention": None,
    "safety_identifier": None,
    "store": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
    "metadata": {},
}


class Response:
    """One response: its items get their ids once, the same streamed, unstreamed and stored."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._body = mapping(reply.conversation.body)
        self.id = reply.ids.hexadecimal("resp_", 48)
        self.items = tuple(self._make_items())

    def whole(self) -> dict[str, object]:
        """The finished response."""
        answer = self._reply.answer
        reason = _REASONS.get(answer.finish)
        incomplete = None if reason is None else {"reason": reason}
        return self._object("completed" if reason is None else "incomplete") | {
            "incomplete_details": incomplete,
            "completed_at": self._reply.created if reason is None else None,
            "service_tier": "default",
            "output": self.items,
            "usage": None if answer.usage is None else usage_of(answer.usage),
        }

    def events(self) -> Iterator[Event]:
        """The response, streamed."""
        sequence = _Sequence()
        started = self._object("in_progress")
        yield sequence.make("response.created", response=started)
        yield sequence.make("response.in_progress", response=started)
        calls = iter(self._reply.answer.calls)
        for index, item in enumerate(self.items):
            match item["type"]:
                case "reasoning":
                    yield from self._reasoning_events(sequence, index, item)
                case "message":
                    yield from self._text_events(sequence, index, item)
                case _:
                    yield from self._call_events(sequence, index, item, next(calls))
        body = self.whole()
        yield sequence.make(f"response.{body['status']}", response=body)

    def _object(self, status: str) -> dict[str, object]:
        echoed = {key: self._body.get(key, usual) for key, usual in _ECHOED.items()}
        conversation = conversation_of(self._body)
        reasoning = mapping(self._body.get("reasoning"))
        text = mapping(self._body.get("text"))
        return {
            "id": self.id,
            "object": "response",
            "created_at": self._reply.created,
            "status": status,
            "completed_at": None,
            "error": None,
            "incomplete_details": None,
            "model": self._reply.conversation.model,
            "output": [],
            **echoed,
            "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
            "service_tier": "auto",
            "text": {"format": {"type": "text"}, "verbosity": "medium"} | dict(text),
            "usage": None,
        } | ({} if conversation is None else {"conversation": {"id": conversation}})

    def _make_items(self) -> Iterator[dict[str, object]]:
        answer, ids = self._reply.answer, self._reply.ids
        if answer.reasoning:
            item: dict[str, object] = {"id": ids.hexadecimal("rs_", 48), "type": "reasoning"}
            item["summary"] = []
            if mapping(self._body.get("reasoning")).get("summary"):
                item["summary"] = [{"type": "summary_text", "text": "".join(answer.reasoning)}]
            if "reasoning.encrypted_content" in listing(self._body.get("include")):
                item["encrypted_content"] = ids.base62("gAAAAAB", 57)
            yield item
        if answer.text or not answer.calls:
            yield _message(ids.hexadecimal("msg_", 48), self._status(), "".join(answer.text))
        for number, call in enumerate(answer.calls):
            yield {
                "id": ids.hexadecimal("fc_", 48),
                "type": "function_call",
                "status": self._status(),
                "arguments": "".join(call.arguments),
                "call_id": call_id(ids, number),
                "name": call.name,
            }

    def _status(self) -> str:
        return "incomplete" if self._reply.answer.finish in _REASONS else "completed"

    def _chunks(self, tokens: Tokens) -> Iterator[tuple[str, int]]:
        return chunks(tokens, self._reply.answer.chunk_tokens)

    def _reasoning_events(
        self, sequence: "_Sequence", index: int, item: dict[str, object]
    ) -> Iterator[Event]:
        tokens = self._reply.answer.reasoning
        empty = {**item, "summary": []}
        yield sequence.make("response.output_item.added", output_index=index, item=empty)
        if item["summary"]:
            at = {"item_id": item["id"], "output_index": index, "summary_index": 0}
            name = "response.reasoning_summary_"
            part = {"type": "summary_text", "text": ""}
            yield sequence.make(name + "part.added", **at, part=part)
            for text, count in self._chunks(tokens):
                yield sequence.make(name + "text.delta", count, **at, delta=text)
            whole = "".join(tokens)
            yield sequence.make(name + "text.done", **at, text=whole)
            yield sequence.make(name + "part.done", **at, part={**part, "text": whole})
        else:
            for _, count in self._chunks(tokens):
                yield Event(b"", count, content=True)  # thought and billed, never sent
        yield sequence.make("response.output_item.done", output_index=index, item=item)

    def _text_events(
        self, sequence: "_Sequence", index: int, item: dict[str, object]
    ) -> Iterator[Event]:
        at = {"item_id": item["id"], "output_index": index, "content_index": 0}
        started = {**item, "status": "in_progress", "content": []}
        text = "".join(self._reply.answer.text)
        yield sequence.make("response.output_item.added", output_index=index, item=started)
        yield sequence.make("response.content_part.added", **at, part=_text_part(""))
        for delta, count in self._chunks(self._reply.answer.text):
            yield sequence.make("response.output_text.delta", count, **at, delta=delta, logprobs=[])
        yield sequence.make("response.output_text.done", **at, text=text, logprobs=[])
        yield sequence.make("response.content_part.done", **at, part=_text_part(text))
        yield sequence.make("response.output_item.done", output_index=index, item=item)

    def _call_events(
        self, sequence: "_Sequence", index: int, item: dict[str, object], call: AskedCall
    ) -> Iterator[Event]:
        at = {"item_id": item["id"], "output_index": index}
        started = {**item, "status": "in_progress", "arguments": ""}
        name = "response.function_call_arguments."
        added = "response.output_item.added"
        yield sequence.make(added, call.head_tokens, output_index=index, item=started)
        for delta, count in self._chunks(call.arguments):
            yield sequence.make(name + "delta", count, **at, delta=delta)
        yield sequence.make(name + "done", **at, arguments=item["arguments"])
        yield sequence.make("response.output_item.done", output_index=index, item=item)


class _Sequence:
    """Numbers the events of one stream."""

    def __init__(self) -> None:
        self._next = 0

    def make(self, event_type: str, tokens: int = 0, /, **fields: object) -> Event:
        body = {"type": event_type, "sequence_number": self._next, **fields}
        self._next += 1
        data = b"event: %b\ndata: %b\n\n" % (event_type.encode(), msgspec.json.encode(body))
        return Event(data, tokens, tokens > 0)


def encode(body: Json) -> bytes:
    """An unstreamed body, indented as OpenAI sends it."""
    return msgspec.json.format(msgspec.json.encode(body), indent=2)


def usage_of(usage: Usage) -> dict[str, object]:
    """The usage object."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cache_read_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _message(item_id: str, status: str, text: str) -> dict[str, object]:
    return {
        "id": item_id,
        "type": "message",
        "status": status,
        "content": [_text_part(text)],
        "role": "assistant",
    }


def _text_part(text: str) -> dict[str, object]:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
