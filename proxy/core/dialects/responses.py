"""The Responses dialect: OpenAI's `/v1/responses`, and what Azure, xAI and others make of it."""

from collections.abc import Callable, Collection, Mapping, Sequence

from proxy.core.changes import Changes, Given
from proxy.core.decision import Refusal
from proxy.core.dialects import (
    responses_answer,
    responses_exchange,
    responses_render,
    responses_request,
    responses_rewrite,
)
from proxy.core.dialects.base import Bounds, Dialect, HoldBack, Meter, Unstreamed
from proxy.core.dialects.held_responses import HeldResponses
from proxy.core.dialects.render import openai_error
from proxy.core.dialects.responses_stream import ResponsesMeter
from proxy.core.memo import Memo
from proxy.core.request import DialectName, Request


class _Responses:
    """Implements `Dialect`. Usage is always sent, so nothing is asked for and nothing stripped."""

    name: DialectName = "responses"

    def parse(self, body: bytes, bounds: Bounds, memo: Memo | None = None) -> Request:
        return responses_request.parse(body, bounds, memo)

    def rewrite(self, body: bytes, request: Request, changes: Changes) -> bytes:
        return responses_rewrite.rewrite(body, request, changes)

    def follow_up(
        self,
        body: bytes,
        request: Request,
        turn: bytes,
        given: Sequence[Given],
        response_id: str | None = None,
    ) -> bytes:
        return responses_exchange.follow_up(body, request, turn, given, response_id)

    def answer_turn(self, body: bytes) -> bytes:
        return responses_exchange.answer_turn(body)

    def without_calls(self, body: bytes, call_ids: Collection[str]) -> bytes:
        return responses_exchange.without_calls(body, call_ids)

    def result_contents(self, body: bytes) -> Mapping[str, bytes]:
        return responses_exchange.result_contents(body)

    def meter(self, *, strip_usage: bool, bounds: Bounds) -> Meter:
        return ResponsesMeter(bounds)

    def hold_back(self, guards: Callable[[str], bool], bounds: Bounds) -> HoldBack:
        return HeldResponses(guards, bounds)

    def read_answer(self, body: bytes) -> Unstreamed:
        return responses_answer.read_answer(body)

    def render_refusal(self, refusal: Refusal, request_id: str) -> bytes:
        return openai_error(refusal)

    def error_frames(
        self, refusal: Refusal, request_id: str, *, client: str, response_id: str | None = None
    ) -> bytes:
        return responses_render.error_frames(refusal, request_id, client, response_id)

    def render_text(self, text: str, request: Request, answer_id: str, created: int) -> bytes:
        return responses_render.render_text(text, request, answer_id, created)

    def stream_text(self, text: str, request: Request, answer_id: str, created: int) -> bytes:
        return responses_render.stream_text(text, request, answer_id, created)


RESPONSES: Dialect = _Responses()
