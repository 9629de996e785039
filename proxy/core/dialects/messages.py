"""The Messages dialect: Anthropic's `/v1/messages`, and what imitates it."""

from collections.abc import Callable, Collection, Mapping, Sequence

from proxy.core.changes import Changes, Given
from proxy.core.decision import Refusal
from proxy.core.dialects import (
    messages_answer,
    messages_exchange,
    messages_render,
    messages_request,
    messages_rewrite,
)
from proxy.core.dialects.base import Bounds, Dialect, HoldBack, Meter, Unstreamed
from proxy.core.dialects.held_messages import HeldMessages
from proxy.core.dialects.messages_stream import MessagesMeter
from proxy.core.dialects.render import error_frame
from proxy.core.memo import Memo
from proxy.core.request import DialectName, Request


class _Messages:
    """Implements `Dialect`. Usage is always sent, so nothing is asked for and nothing stripped."""

    name: DialectName = "messages"

    def parse(self, body: bytes, bounds: Bounds, memo: Memo | None = None) -> Request:
        return messages_request.parse(body, bounds, memo)

    def rewrite(self, body: bytes, request: Request, changes: Changes) -> bytes:
        return messages_rewrite.rewrite(body, request, changes)

    def follow_up(
        self,
        body: bytes,
        request: Request,
        turn: bytes,
        given: Sequence[Given],
        response_id: str | None = None,
    ) -> bytes:
        return messages_exchange.follow_up(body, request, turn, given)

    def answer_turn(self, body: bytes) -> bytes:
        return messages_exchange.answer_turn(body)

    def without_calls(self, body: bytes, call_ids: Collection[str]) -> bytes:
        return messages_exchange.without_calls(body, call_ids)

    def result_contents(self, body: bytes) -> Mapping[str, bytes]:
        return messages_exchange.result_contents(body)

    def meter(self, *, strip_usage: bool, bounds: Bounds) -> Meter:
        return MessagesMeter(bounds)

    def hold_back(self, guards: Callable[[str], bool], bounds: Bounds) -> HoldBack:
        return HeldMessages(guards, bounds)

    def read_answer(self, body: bytes) -> Unstreamed:
        return messages_answer.read_answer(body)

    def render_refusal(self, refusal: Refusal, request_id: str) -> bytes:
        return messages_render.render_refusal(refusal, request_id)

    def error_frames(
        self, refusal: Refusal, request_id: str, *, client: str, response_id: str | None = None
    ) -> bytes:
        return error_frame(refusal, request_id)

    def render_text(self, text: str, request: Request, answer_id: str, created: int) -> bytes:
        return messages_render.render_text(text, request, answer_id)

    def stream_text(self, text: str, request: Request, answer_id: str, created: int) -> bytes:
        return messages_render.stream_text(text, request, answer_id)


MESSAGES: Dialect = _Messages()
