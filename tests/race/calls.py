"""The calls of a race: what their clients ask for, when they leave, and what the model answers."""

import asyncio
import random
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import aiohttp

from proxy.core.request import DialectName
from proxy.simulator import Turn
from proxy.simulator.conversation import Conversation
from tests.integration.kit import DIALECTS, PATHS, body_of

Kind = Literal["whole", "short", "cut", "left", "refused", "lost"]
"""short: whole, but its bound was lowered to what was left. lost: its worker was killed, again and
again."""

_PROMPT_BYTES = (80, 800, 3_000)
_STREAM_BOUNDS = (1_000, 4_000, 16_000)
_BOUND = 800
"""Of what is not streamed: all of it is held, and all is booked if its client leaves."""
_ANSWER_TOKENS = (50, 400)
_CHUNK_TOKENS = (1, 2, 4)
_ASKED = re.compile(r"in (\d+) tokens, (\d+) at a time")
_ATTEMPTS = 3
"""As the SDKs make."""
_ENDS = (b"data: [DONE]", b"response.completed", b"message_stop", b"response.incomplete")
_LOWERED = (b'"finish_reason":"length"', b'"stop_reason":"max_tokens"', b'max_output_tokens"}')
_INPUT_MICRO_USD, _OUTPUT_MICRO_USD = 1, 2
"""A token, as `kit.PRICES` has it."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call. leaves_after_seconds: None where the client waits for the end."""

    number: int
    dialect: DialectName
    stream: bool
    prompt_bytes: int
    bound: int
    answer_tokens: int
    chunk_tokens: int
    leaves_after_seconds: float | None

    @property
    def cost_micro_usd(self) -> int:
        """About what the whole answer costs: the simulator has some 5 bytes a token of prompt."""
        return self.prompt_bytes // 5 * _INPUT_MICRO_USD + self.answer_tokens * _OUTPUT_MICRO_USD

    @property
    def text(self) -> str:
        asked = (
            f"Answer {self.number} in {self.answer_tokens} tokens, {self.chunk_tokens} at a time"
        )
        return asked + " the case as it was told" * (self.prompt_bytes // 24)


@dataclass(frozen=True, slots=True)
class Model:
    """An actor of the simulator: it answers each call as that asks, at this pace."""

    gap_seconds: float

    def turn(self, conversation: Conversation) -> Turn:
        asked = _ASKED.search(conversation.user)
        assert asked is not None, conversation.user
        tokens, chunk = int(asked[1]), int(asked[2])
        gap = self.gap_seconds * chunk
        if conversation.stream:
            return Turn(text_tokens=tokens, chunk_tokens=chunk, chunk_gap_seconds=gap)
        return Turn(text_tokens=tokens, latency_seconds=self.gap_seconds * tokens)


def drawn(count: int, seed: int, *, leave_within_seconds: float) -> tuple[Call, ...]:
    """So many, of all kinds; a third of their clients leave at some point."""
    draw = random.Random(seed)
    calls = []
    for number in range(count):
        stream = draw.random() < 0.6
        calls.append(
            Call(
                number=number,
                dialect=draw.choice(DIALECTS),
                stream=stream,
                prompt_bytes=draw.choice(_PROMPT_BYTES),
                bound=draw.choice(_STREAM_BOUNDS) if stream else _BOUND,
                answer_tokens=draw.randint(*_ANSWER_TOKENS),
                chunk_tokens=draw.choice(_CHUNK_TOKENS),
                leaves_after_seconds=draw.uniform(0, leave_within_seconds)
                if draw.random() < 1 / 3
                else None,
            )
        )
    return tuple(calls)


def mean_cost(calls: Sequence[Call]) -> int:
    """Micro-USD of a whole answer."""
    return sum(call.cost_micro_usd for call in calls) // len(calls)


async def play(http: aiohttp.ClientSession, url: str, call: Call, session: str) -> Kind:
    """One call from its client's side."""
    try:
        async with asyncio.timeout(call.leaves_after_seconds):
            for _ in range(_ATTEMPTS):
                with suppress(aiohttp.ClientError):
                    return await _send(http, url, call, session)
    except TimeoutError:
        return "left"
    return "lost"


async def _send(http: aiohttp.ClientSession, url: str, call: Call, session: str) -> Kind:
    body = body_of(call.dialect, stream=call.stream, text=call.text, bound=call.bound)
    async with http.post(
        f"{url}/s/{session}{PATHS[call.dialect]}", json=body, headers=_HEADERS
    ) as response:
        got = await response.read()
        if response.status != 200:
            assert response.status in (422, 502, 503), (response.status, got)
            return "refused" if response.status == 422 else "lost"
    return _kind(call, got)


def _kind(call: Call, got: bytes) -> Kind:
    tight = got.replace(b'": ', b'":')
    if call.stream and (b"event: error" in got or not any(end in got for end in _ENDS)):
        return "cut"
    return "short" if any(lowered in tight for lowered in _LOWERED) else "whole"


_HEADERS: Mapping[str, str] = {
    "authorization": "Bearer key-1",
    "anthropic-version": "2023-06-01",
}
