"""From a turn to the answer that is sent: text cut into tokens, held to the bound, and billed."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from proxy.simulator.conversation import Conversation
from proxy.simulator.faults import Fault, FaultKind
from proxy.simulator.ids import Ids
from proxy.simulator.script import Finish, ToolCall, Turn, UsageOverride
from proxy.simulator.tokens import Json, split

_CALL_OVERHEAD_TOKENS = 4
_FILLER = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "the",
    "lazy",
    "dog",
    "while",
    "this",
    "patient",
    "model",
    "keeps",
    "on",
    "writing",
]

Tokens = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Usage:
    """What a call is billed for. Cache reads and writes are part of the input, reasoning of the
    output."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream, encoded. tokens: billed once it is sent. content: it carries some, so
    that it waits for the first token and the chunk gap."""

    data: bytes
    tokens: int = 0
    content: bool = False


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: before the head, before the first token, between chunks."""

    latency: float = 0.0
    first_token: float = 0.0
    chunk_gap: float = 0.0

    def slowed(self, faults: Iterable[Fault]) -> "Pace":
        """With what the faults add to it."""
        pace = self
        for fault in faults:
            if fault.kind is FaultKind.SLOW_HEAD:
                pace = replace(pace, latency=pace.latency + fault.seconds)
            elif fault.kind is FaultKind.SLOW_FIRST_TOKEN:
                pace = replace(pace, first_token=pace.first_token + fault.seconds)
        return pace


@dataclass(frozen=True, slots=True)
class AskedCall:
    """A tool call as it is sent: the arguments, and `head_tokens` for its name and frame."""

    name: str
    arguments: Tokens
    head_tokens: int

    @property
    def tokens(self) -> int:
        """All of it, as it is billed."""
        return self.head_tokens + len(self.arguments)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says, ready to be sent in any dialect. usage None: the provider tells none."""

    reasoning: Tokens
    text: Tokens
    calls: tuple[AskedCall, ...]
    finish: Finish
    billed: Usage
    usage: Usage | None
    chunk_tokens: int = 1


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with all that a dialect needs to send it. created: seconds since the epoch."""

    conversation: Conversation
    answer: Answer
    ids: Ids
    created: int


def compose(
    turn: Turn,
    conversation: Conversation,
    input_usage: Usage,
    *,
    bounded: bool = True,
) -> Answer:
    """The answer that a turn makes. `input_usage` is what the request itself costs.

    bounded False: the answer ignores the request's output bound, and is a quarter longer than it.
    """
    step = conversation.step
    reasoning = tuple(split(_filled(turn.reasoning, step))) if conversation.thinks else ()
    text = tuple(split(_filled(turn.text, step)))
    if turn.text_tokens and not turn.tool_calls:
        text = filler(turn.text_tokens)
    calls = tuple(_asked(call, step) for call in turn.tool_calls)
    finish: Finish = turn.finish or ("tool_calls" if calls else "stop")
    whole = Answer(reasoning, text, calls, finish, Usage(), None, max(1, turn.chunk_tokens))
    limit = conversation.max_output_tokens
    if limit is not None:
        whole = _held_to(whole, limit) if bounded else _beyond(whole, limit)
    output, thought = _size(whole), len(whole.reasoning)
    billed = replace(
        input_usage,
        output_tokens=output * conversation.choices,
        reasoning_tokens=thought * conversation.choices,
    )
    return replace(whole, billed=_claimed(billed, turn.usage), usage=_told(billed, turn.usage))


def filler(count: int) -> Tokens:
    """A text of exactly `count` tokens."""
    words = (_FILLER[i % len(_FILLER)] for i in range(count))
    return tuple(word if i == 0 else " " + word for i, word in enumerate(words))


def chunks(tokens: Sequence[str], size: int) -> Iterator[tuple[str, int]]:
    """Texts of `size` tokens, each with its number of tokens."""
    for start in range(0, len(tokens), size):
        part = tokens[start : start + size]
        yield "".join(part), len(part)


def _asked(call: ToolCall, step: int) -> AskedCall:
    arguments = call.arguments if isinstance(call.arguments, str) else _compact(call.arguments)
    head = len(split(call.name)) + _CALL_OVERHEAD_TOKENS
    return AskedCall(call.name, tuple(split(_filled(arguments, step))), head)


def _compact(arguments: Json) -> str:
    return json.dumps(arguments, separators=(",", ":"), ensure_ascii=False)


def _filled(text: str, step: int) -> str:
    return text.replace("{{step}}", str(step))


def _size(answer: Answer) -> int:
    calls = sum(call.tokens for call in answer.calls)
    return len(answer.reasoning) + len(answer.text) + calls


def _held_to(answer: Answer, limit: int) -> Answer:
    """Cuts where the bound is reached: reasoning is thought first, then text, then the calls."""
    if _size(answer) <= limit:
        return answer
    reasoning = answer.reasoning[:limit]
    limit -= len(reasoning)
    text = answer.text[:limit]
    limit -= len(text)
    calls: list[AskedCall] = []
    for call in answer.calls:
        if limit < call.head_tokens:
            break
        arguments = call.arguments[: limit - call.head_tokens]
        calls.append(replace(call, arguments=arguments))
        limit -= calls[-1].tokens
    return replace(answer, reasoning=reasoning, text=text, calls=tuple(calls), finish="length")


def _beyond(answer: Answer, limit: int) -> Answer:
    missing = limit + max(1, limit // 4) - _size(answer)
    more = tuple(" and" for _ in range(missing))
    return replace(answer, text=answer.text + more)


def _claimed(billed: Usage, override: UsageOverride) -> Usage:
    def chosen(claim: int | None, truth: int) -> int:
        return truth if claim is None else claim

    return Usage(
        chosen(override.input_tokens, billed.input_tokens),
        chosen(override.output_tokens, billed.output_tokens),
        chosen(override.cache_read_tokens, billed.cache_read_tokens),
        chosen(override.cache_write_tokens, billed.cache_write_tokens),
        chosen(override.reasoning_tokens, billed.reasoning_tokens),
    )


def _told(billed: Usage, override: UsageOverride) -> Usage | None:
    return None if override.omit else _claimed(billed, override)
