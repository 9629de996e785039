"""The dialect of the legacy POST /v1/completions: prompts in, text out, no tools."""

from collections.abc import Callable, Mapping

import msgspec

from proxy.core.canonical import message_digest
from proxy.core.changes import Changes
from proxy.core.decision import Refusal
from proxy.core.dialects.base import Bounds, HoldBack, Meter, Unstreamed
from proxy.core.dialects.body import (
    body_digest,
    prompt_bytes,
    read_body,
    read_count,
    read_flag,
    read_hints,
    read_model,
    refuse,
)
from proxy.core.dialects.chat import stream_of
from proxy.core.dialects.chat_meter import meter_of, read_answer
from proxy.core.dialects.chat_parse import MAX_CHOICES, read_bound, wants_usage
from proxy.core.dialects.chat_rewrite import rewrite
from proxy.core.dialects.held_chat import HeldChat
from proxy.core.dialects.prompts import NoConversation, Prompt, read_prompts
from proxy.core.dialects.render import error_frame, openai_error
from proxy.core.memo import Memo
from proxy.core.request import DialectName, Message, Request

_BOUND_KEYS = ("max_tokens",)
_GOVERNED = (
    *("model", "prompt", "suffix", "stream", "stream_options", "n", "best_of", *_BOUND_KEYS),
    *("user", "metadata", "prompt_cache_key", "safety_identifier"),
)
_NO_USAGE = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


class CompletionsDialect(NoConversation):
    """Implements `Dialect`; stateless."""

    name: DialectName = "completions"

    def parse(self, body: bytes, bounds: Bounds, memo: Memo | None = None) -> Request:
        taken = read_body(body, bounds, _GOVERNED)
        members = taken.members
        prompts = read_prompts(members, "prompt")
        if len(prompts) > bounds.messages:
            refuse(f"expected at most {bounds.messages} prompts", "prompt")
        per_prompt = [read_count(members, key, most=MAX_CHOICES) or 1 for key in ("n", "best_of")]
        stream = read_flag(members, "stream")
        return Request(
            dialect="completions",
            model=read_model(members),
            stream=stream,
            messages=tuple(map(_message, prompts)),
            output_bound=read_bound(members, _BOUND_KEYS, least=0),
            choices=max(per_prompt) * max(1, len(prompts)),
            text_bytes=sum(prompt.size_bytes for prompt in prompts)
            + prompt_bytes(taken.places, ("suffix",)),
            include_usage=stream and wants_usage(members),
            hints=read_hints(members),
            body_digest=body_digest(body, taken.places),
            laid=taken.places,
        )

    def rewrite(self, body: bytes, request: Request, changes: Changes) -> bytes:
        return rewrite(body, request, changes, _BOUND_KEYS)

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
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": "stop"}
        head = _head(request, answer_id, created)
        return msgspec.json.encode({**head, "choices": [choice], "usage": _NO_USAGE})

    def stream_text(self, text: str, request: Request, answer_id: str, created: int) -> bytes:
        head = _head(request, answer_id, created)
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": "stop"}
        chunks: list[Mapping[str, object]] = [{**head, "choices": [choice]}]
        if request.include_usage:
            chunks.append({**head, "choices": [], "usage": _NO_USAGE})
        return stream_of(chunks)


def _head(request: Request, answer_id: str, created: int) -> dict[str, object]:
    kind = "text_completion"
    return {"id": answer_id, "object": kind, "created": created, "model": request.model}


def _message(prompt: Prompt) -> Message:
    attachments = () if prompt.text else (prompt.raw,)
    digest = message_digest("user", prompt.text, attachments=attachments)
    return Message("user", prompt.text, digest)


COMPLETIONS = CompletionsDialect()
