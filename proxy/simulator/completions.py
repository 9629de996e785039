"""The older and smaller endpoints: `/v1/completions`, `/v1/embeddings`, `/v1/models`."""

import base64
import math
import struct
from collections.abc import Iterator, Sequence
from hashlib import blake2b

import msgspec

from proxy.simulator.answer import Event, Reply, Usage, chunks
from proxy.simulator.chat import DONE, wants
from proxy.simulator.chat_read import model_of
from proxy.simulator.conversation import Conversation, Rejected, bound, listing
from proxy.simulator.tokens import Json

_USUAL_BOUND = 16
_DIMENSIONS = 1536
_MODELS_SINCE = 1_735_689_600
MODELS = ("gpt-5", "gpt-5-mini", "gpt-4o-mini", "claude-sonnet-4-5", "claude-haiku-4-5")


def read_completion(body: Json) -> Conversation:
    """The view of a completions request. Raises Rejected."""
    model = model_of(body)
    prompts = _prompts(body.get("prompt", "<|endoftext|>"))
    limit = bound(body, "max_tokens", 0)
    return Conversation(
        "completions",
        model,
        user=prompts[-1] if isinstance(prompts[-1], str) else "",
        stream=body.get("stream") is True,
        max_output_tokens=_USUAL_BOUND if limit is None else limit,
        choices=(bound(body, "n") or 1) * len(prompts),
        parts=tuple(prompts),
        thinks=False,
        body=body,
    )


def _prompts(prompt: object) -> Sequence[object]:
    """One prompt or several; a prompt is a text or a list of token numbers."""
    if isinstance(prompt, str):
        return [prompt]
    entries = listing(prompt)
    if not entries:
        raise Rejected("'$.prompt' is invalid. Please check the API reference.", "prompt")
    return [entries] if isinstance(entries[0], int) else entries


def completion(reply: Reply) -> bytes:
    """The unstreamed completion."""
    answer = reply.answer
    text = "".join(answer.text)
    body = _frame(reply) | {
        "choices": [
            _completion_choice(index, text, answer.finish)
            for index in range(reply.conversation.choices)
        ]
    }
    if answer.usage is not None:
        body["usage"] = _usage(answer.usage)
    return msgspec.json.format(msgspec.json.encode(body), indent=2) + b"\n"


def completion_stream(reply: Reply) -> Iterator[Event]:
    """The streamed completion."""
    frame, answer = _frame(reply), reply.answer
    for index in range(reply.conversation.choices):
        for text, tokens in chunks(answer.text, answer.chunk_tokens):
            yield _data(frame | {"choices": [_completion_choice(index, text, None)]}, tokens)
        yield _data(frame | {"choices": [_completion_choice(index, "", answer.finish)]})
    if wants(reply.conversation.body, "include_usage") and answer.usage is not None:
        yield _data(frame | {"choices": [], "usage": _usage(answer.usage)})
    yield DONE


def _frame(reply: Reply) -> dict[str, object]:
    return {
        "id": reply.ids.base62("cmpl-", 29),
        "object": "text_completion",
        "created": reply.created,
        "model": reply.conversation.model,
    }


def _completion_choice(index: int, text: str, finish: str | None) -> dict[str, object]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}


def _usage(usage: Usage) -> dict[str, object]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _data(body: Json, tokens: int = 0) -> Event:
    return Event(b"data: " + msgspec.json.encode(body) + b"\n\n", tokens, tokens > 0)


def read_embeddings(body: Json) -> Conversation:
    """The view of an embeddings request. Raises Rejected."""
    model = model_of(body)
    given = body.get("input")
    if given is None or given == "" or given == []:
        raise Rejected("'$.input' is invalid. Please check the API reference.", "input")
    texts = _prompts(given)
    return Conversation(
        "embeddings", model, max_output_tokens=0, parts=tuple(texts), thinks=False, body=body
    )


def embeddings(conversation: Conversation, usage: Usage) -> bytes:
    """A unit vector for each input, the same for the same input."""
    body = conversation.body or {}
    size = bound(body, "dimensions") or _DIMENSIONS
    encode = _as_base64 if body.get("encoding_format") == "base64" else list
    answer = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": encode(_vector(text, size))}
            for index, text in enumerate(conversation.parts)
        ],
        "model": conversation.model,
        "usage": {"prompt_tokens": usage.input_tokens, "total_tokens": usage.input_tokens},
    }
    return msgspec.json.format(msgspec.json.encode(answer), indent=2) + b"\n"


def _vector(text: object, size: int) -> list[float]:
    seed = msgspec.json.encode(text)
    digest = b"".join(
        blake2b(seed, digest_size=64, salt=block.to_bytes(8, "big")).digest()
        for block in range((size + 31) // 32)
    )
    values = struct.unpack(f">{size}h", digest[: size * 2])
    length = math.sqrt(sum(value * value for value in values)) or 1.0
    return [value / length for value in values]


def _as_base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def model_list(anthropic: bool) -> bytes:
    """`GET /v1/models`; any other name is accepted as well."""
    data = [_model(name, anthropic) for name in MODELS]
    if anthropic:
        ends = {"has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]}
        return msgspec.json.encode({"data": data, **ends})
    return msgspec.json.encode({"object": "list", "data": data})


def model_card(name: str, anthropic: bool) -> bytes:
    """`GET /v1/models/{id}`."""
    return msgspec.json.encode(_model(name, anthropic))


def _model(name: str, anthropic: bool) -> dict[str, object]:
    if anthropic:
        since = "2025-01-01T00:00:00Z"
        return {"type": "model", "id": name, "display_name": name, "created_at": since}
    return {"id": name, "object": "model", "created": _MODELS_SINCE, "owned_by": "simulator"}
