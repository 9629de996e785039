"""Real requests and answers to begin from: recorded ones, and one of each kind made by hand."""

import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, cast

from proxy.admin.shapes import Json
from proxy.core.request import DialectName

_ROOT = Path(__file__).parents[2]
_SAMPLES = _ROOT / "tests" / "data" / "cassettes_integration.jsonl"
_DIALECTS: Final[dict[str, DialectName]] = {
    "chat.completions": "chat",
    "completions": "completions",
    "embeddings": "embeddings",
    "messages": "messages",
    "responses": "responses",
}
PATHS: Final[dict[DialectName, str]] = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
    "completions": "/v1/completions",
    "embeddings": "/v1/embeddings",
}
_MOST_BYTES: Final = 40_000
INPUT_TOKENS: Final = 7
OUTPUT_WORDS: Final = 3
"""What our own answers are billed: each word of output is a token."""


@dataclass(frozen=True, slots=True)
class Seed:
    """One exchange. `answer` is the decoded body, a stream's events or JSON."""

    dialect: DialectName
    stream: bool
    request: dict[str, Json]
    answer: bytes


def request_of(
    dialect: DialectName, *, stream: bool = False, text: str = "What is it?"
) -> dict[str, Json]:
    """A small request that has something of everything. A text of its own makes it a conversation
    of its own."""
    tools: list[Json] = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
    said: list[Json] = [{"role": "user", "content": text}]
    match dialect:
        case "chat":
            more: dict[str, Json] = {"messages": said, "tools": tools, "max_tokens": 50}
        case "messages":
            more = {"messages": said, "max_tokens": 50, "system": "Be brief."}
        case "responses":
            more = {"input": said, "max_output_tokens": 50, "instructions": "Be brief."}
        case "completions":
            more = {"prompt": text, "max_tokens": 50}
        case _:
            return {"model": "m", "input": [text]}
    return {"model": "m", "stream": stream, **more}


def honest_answer(dialect: DialectName) -> bytes:
    """A whole answer of three words, with its usage."""
    text = "word " * OUTPUT_WORDS
    anthropic: Json = {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_WORDS}
    openai: Json = {"prompt_tokens": INPUT_TOKENS, "completion_tokens": OUTPUT_WORDS}
    said: Json
    match dialect:
        case "messages":
            content: Json = [{"type": "text", "text": text}]
            said = {"type": "message", "role": "assistant", "content": content, "usage": anthropic}
        case "responses":
            parts: Json = [{"type": "output_text", "text": text}]
            items: Json = [{"type": "message", "role": "assistant", "content": parts}]
            said = {"id": "resp_1", "status": "completed", "output": items, "usage": anthropic}
        case "embeddings":
            said = {"data": [{"embedding": [0.5]}], "usage": {"prompt_tokens": INPUT_TOKENS}}
        case "completions":
            said = {"choices": [{"text": text, "finish_reason": "stop"}], "usage": openai}
        case _:
            message: Json = {"role": "assistant", "content": text}
            said = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": openai}
    return json.dumps(said).encode()


def honest_events(dialect: DialectName) -> tuple[bytes, ...]:
    """The events of a streamed answer: one of them a word, the last ones the end."""
    match dialect:
        case "messages":
            return _messages_events()
        case "responses":
            return _responses_events()
        case "completions":
            words = [{"choices": [{"index": 0, "text": "word "}]}] * OUTPUT_WORDS
            end: Json = {"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]}
        case _:
            delta = {"choices": [{"index": 0, "delta": {"content": "word "}}]}
            words = [delta] * OUTPUT_WORDS
            end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    usage: Json = {"prompt_tokens": INPUT_TOKENS, "completion_tokens": OUTPUT_WORDS}
    told = (*words, end, {"choices": [], "usage": usage})
    return (*(b"data: %b\n\n" % json.dumps(part).encode() for part in told), b"data: [DONE]\n\n")


def _named(*events: tuple[str, Json]) -> tuple[bytes, ...]:
    made = []
    for name, more in events:
        data = json.dumps({"type": name, **cast("dict[str, Json]", more)})
        made.append(f"event: {name}\ndata: {data}\n\n".encode())
    return tuple(made)


def _messages_events() -> tuple[bytes, ...]:
    begun: Json = {"message": {"usage": {"input_tokens": INPUT_TOKENS, "output_tokens": 1}}}
    block: Json = {"index": 0, "content_block": {"type": "text", "text": ""}}
    word: Json = {"index": 0, "delta": {"type": "text_delta", "text": "word "}}
    stop: Json = {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": OUTPUT_WORDS}}
    return _named(
        ("message_start", begun),
        ("content_block_start", block),
        *([("content_block_delta", word)] * OUTPUT_WORDS),
        ("content_block_stop", {"index": 0}),
        ("message_delta", stop),
        ("message_stop", {}),
    )


def _responses_events() -> tuple[bytes, ...]:
    usage: Json = {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_WORDS}
    word: Json = {"output_index": 0, "content_index": 0, "delta": "word "}
    end: Json = {"id": "resp_1", "status": "completed", "output": [], "usage": usage}
    return _named(
        ("response.created", {"response": {"id": "resp_1", "status": "in_progress"}}),
        *([("response.output_text.delta", word)] * OUTPUT_WORDS),
        ("response.completed", {"response": end}),
    )


@cache
def seeds() -> tuple[Seed, ...]:
    """Our own, and all recorded ones that are at hand: some twenty, with HOLDFAST_DATA hundreds.
    Perplexity's are left out: its fee goes by the model's name, and our honest provider bills none.
    """
    own = [
        Seed(dialect, stream, request_of(dialect, stream=stream), body)
        for dialect in PATHS
        for stream, body in (
            (False, honest_answer(dialect)),
            (True, b"".join(honest_events(dialect))),
        )
        if dialect != "embeddings" or not stream
    ]
    return (*own, *_recorded())


def _recorded() -> Iterator[Seed]:
    for line in _lines():
        record = json.loads(line)
        dialect = _DIALECTS.get(record["endpoint"])
        try:
            request = json.loads(record["request"]["body"])
        except (TypeError, ValueError):
            continue
        body = record["response"]["body"] or ""
        sizes = len(record["request"]["body"]), len(body)
        if dialect is None or not isinstance(request, dict) or "sonar" in str(request.get("model")):
            continue
        if min(sizes) > 0 and max(sizes) < _MOST_BYTES:
            yield Seed(dialect, request.get("stream") is True, request, body.encode())


def _lines() -> Iterator[str]:
    yield from _SAMPLES.read_text().splitlines()
    data = Path(os.environ.get("HOLDFAST_DATA", _ROOT.parent / "shared" / "data"))
    whole = data / "cassettes" / "cassettes_small.jsonl.gz"
    if whole.exists():
        with gzip.open(whole, "rt") as file:
            yield from file
