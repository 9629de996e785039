"""The dialect of POST /v1/chat/completions."""

from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec

from proxy.core.changes import Changes, Given
from proxy.core.decision import Refusal
from proxy.core.dialects import chat_exchange, chat_parse
from proxy.core.dialects.base import Bounds, HoldBack, Meter, Unstreamed
from proxy.core.dialects.chat_meter import meter_of, read_answer
from proxy.core.dialects.chat_rewrite import rewrite, rewrite_conversation
from proxy.core.dialects.held_chat import HeldChat
from proxy.core.dialects.render import error_frame, openai_error
from proxy.core.memo import Memo
from proxy.core.request import DialectName, Request
from proxy.core.sse import encode_frame

_USAGE = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


class ChatDialect:
    """Implements `Dialect`; stateless."""

    name: DialectName = "chat"

    def parse(self, body: bytes, bounds: Bounds, memo: Memo | None = None) -> Request:
        return chat_parse.parse(body, bounds, memo)

    def rewrite(self, body: bytes, request: Request, changes: Changes) -> bytes:
        if changes.in_conversation:
            return rewrite_conversation(body, request, changes, chat_parse.BOUND_KEYS)
        return rewrite(body, request, changes, chat_parse.BOUND_KEYS)

    def follow_up(
        self,
        body: bytes,
        request: Request,
        turn: bytes,
        given: Sequence[Given],
        response_id: str | None = None,
    ) -> bytes:
        return chat_exchange.follow_up(body, request, turn, given)

    def answer_turn(self, body: bytes) -> bytes:
        return chat_exchange.answer_turn(body)

    def without_calls(self, body: bytes, call_ids: Collection[str]) -> bytes:
        return chat_exchange.without_calls(body, call_ids)

    def result_contents(self, body: bytes) -> Mapping[str, bytes]:
        return chat_exchange.result_contents(body)

    def meter(self, *, strip_usage: bool, bounds: Bounds) -> Meter:
        return meter_of(strip_usage=strip_usage, bounds=bounds)

    def hold_back(self, guards: Callable[[str], bool], bounds: Bounds) -> HoldBack:
        return HeldChat(guards, bounds)

    def read_answer(self, body: bytes) -> Unstreamed:
        return read_answer(body)

    def render_refusal(self, refusal: Refusal, request_id: str) -> bytes:
        return openai_error(refusal)

    def error_frames(
        self, refusal: Refusal, request_id: str, *, client: str, response_id: str | None = None
    ) -> bytes:
        return error_frame(refusal)

    def render_text(self, text: str, request: Request, answer_id: str, created: int) -> bytes:
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        head = _head(request, answer_id, created, "chat.completion")
        return msgspec.json.encode({**head, "choices": [choice], "usage": _USAGE})

    def stream_text(self, text: str, request: Request, answer_id: str, created: int) -> bytes:
        head = _head(request, answer_id, created, "chat.completion.chunk")
        deltas: list[tuple[dict[str, str], str | None]] = [
            ({"role": "assistant", "content": ""}, None),
            ({"content": text}, None),
            ({}, "stop"),
        ]
        chunks: list[Mapping[str, object]] = [
            {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
            for delta, finish in deltas
        ]
        if request.include_usage:
            chunks.append({**head, "choices": [], "usage": _USAGE})
        return stream_of(chunks)


def stream_of(chunks: list[Mapping[str, object]]) -> bytes:
    """A whole stream with OpenAI's own end."""
    frames = [encode_frame(msgspec.json.encode(chunk)) for chunk in chunks]
    return b"".join(frames) + encode_frame(b"[DONE]")


def _head(request: Request, answer_id: str, created: int, kind: str) -> dict[str, object]:
    return {"id": answer_id, "object": kind, "created": created, "model": request.model}


CHAT = ChatDialect()
