"""The dialect of POST /v1/embeddings: priced and limited, never streamed, nothing generated."""

from collections.abc import Callable

import msgspec

from proxy.core.changes import Changes
from proxy.core.decision import Refusal
from proxy.core.dialects.base import Bounds, HoldBack, Meter, Unstreamed
from proxy.core.dialects.body import (
    body_digest,
    read_body,
    read_hints,
    read_model,
    refuse,
)
from proxy.core.dialects.chat_meter import meter_of, read_embeddings
from proxy.core.dialects.held_chat import HeldChat
from proxy.core.dialects.prompts import NoConversation, read_prompts
from proxy.core.dialects.render import error_frame, openai_error
from proxy.core.memo import Memo
from proxy.core.request import DialectName, Request
from proxy.core.splice import splice

_GOVERNED = ("model", "input", "user", "metadata", "prompt_cache_key", "safety_identifier")


class EmbeddingsDialect(NoConversation):
    """Implements `Dialect`; stateless. Its requests have no messages and an output bound of 0."""

    name: DialectName = "embeddings"

    def parse(self, body: bytes, bounds: Bounds, memo: Memo | None = None) -> Request:
        taken = read_body(body, bounds, _GOVERNED)
        members = taken.members
        inputs = read_prompts(members, "input")
        if not 1 <= len(inputs) <= bounds.messages:
            refuse(f"expected 1 to {bounds.messages} inputs", "input")
        return Request(
            dialect="embeddings",
            model=read_model(members),
            stream=False,
            messages=(),
            output_bound=0,
            choices=1,
            text_bytes=sum(prompt.size_bytes for prompt in inputs),
            hints=read_hints(members),
            body_digest=body_digest(body, taken.places),
            laid=taken.places,
        )

    def rewrite(self, body: bytes, request: Request, changes: Changes) -> bytes:
        if changes.model is None or changes.model == request.model:
            return body
        return splice(body, {"model": msgspec.json.encode(changes.model)}, request.places)

    def meter(self, *, strip_usage: bool, bounds: Bounds) -> Meter:
        return meter_of(strip_usage=strip_usage, bounds=bounds)

    def hold_back(self, guards: Callable[[str], bool], bounds: Bounds) -> HoldBack:
        return HeldChat(guards, bounds)

    def read_answer(self, body: bytes) -> Unstreamed:
        return read_embeddings(body)

    def render_refusal(self, refusal: Refusal, request_id: str) -> bytes:
        return openai_error(refusal)

    def error_frames(
        self, refusal: Refusal, request_id: str, *, client: str, response_id: str | None = None
    ) -> bytes:
        return error_frame(refusal)

    def render_text(self, text: str, request: Request, answer_id: str, created: int) -> bytes:
        """No text can be an embedding: an empty list, which every SDK refuses to go on with."""
        usage = {"prompt_tokens": 0, "total_tokens": 0}
        answer = {"object": "list", "data": [], "model": request.model, "usage": usage}
        return msgspec.json.encode(answer)

    def stream_text(self, text: str, request: Request, answer_id: str, created: int) -> bytes:
        """Never asked for, since no embeddings request streams."""
        return self.render_text(text, request, answer_id, created)


EMBEDDINGS = EmbeddingsDialect()
