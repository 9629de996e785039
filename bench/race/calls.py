"""The scenario: the calls of a run, what the model answers, and what its clients see."""

import asyncio
import itertools
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

import aiohttp

from proxy.simulator import Price, Turn
from proxy.simulator.conversation import Conversation

MODEL = "gpt-4o"
"""A model whose price every contender knows by itself."""
PRICES = {MODEL: Price(input=Decimal("2.50"), output=Decimal("10.00"))}
_PROMPTS = (200, 2_000, 8_000)
_BOUNDS = (600, 900, 1_200, 1_600)
_LEAST_SHARE = 0.4
_HEAD_SECONDS = 0.1
_CHUNK_TOKENS = 16
_CHUNK_GAP_SECONDS = 0.005
_CALL_SECONDS = 60.0
Kind = Literal["whole", "cut", "left", "refused", "failed"]


@dataclass(frozen=True, slots=True)
class Call:
    """One call. answer_tokens: what the model says, within max_tokens.

    leaves_after_seconds: the client goes away then; None: it waits for the end.
    """

    number: int
    prompt_bytes: int
    max_tokens: int
    answer_tokens: int
    stream: bool
    leaves_after_seconds: float | None = None

    def body(self) -> dict[str, object]:
        """As an OpenAI client sends it."""
        words = f"Answer {self.number} in {self.answer_tokens} tokens: "
        text = words + "the case as it was told to us " * (self.prompt_bytes // 30)
        body: dict[str, object] = {
            "model": MODEL,
            "max_tokens": self.max_tokens,
            "messages": [{"role": "user", "content": text}],
        }
        return body | {"stream": True} if self.stream else body


def calls(count: int, leaving: bool) -> tuple[Call, ...]:
    """So many calls of all sizes, half of them streamed; leaving: a third of the clients go."""
    drawn = random.Random(count)
    sizes = itertools.cycle(itertools.product(_BOUNDS, _PROMPTS))
    made = []
    for number, (bound, prompt) in zip(range(count), sizes, strict=False):
        answer = round(bound * drawn.uniform(_LEAST_SHARE, 1.0))
        goes = drawn.uniform(0.1, 0.5) if leaving and number % 3 == 0 else None
        made.append(Call(number, prompt, bound, answer, drawn.random() < 0.5, goes))
    return tuple(made)


class Model:
    """Says as much as it was asked to. An actor of the simulated provider."""

    def turn(self, conversation: Conversation) -> Turn:
        """The answer to this request."""
        return Turn(
            text_tokens=int(conversation.user.split(" tokens:")[0].rsplit(" ", 1)[1]),
            latency_seconds=_HEAD_SECONDS,
            chunk_tokens=_CHUNK_TOKENS,
            chunk_gap_seconds=_CHUNK_GAP_SECONDS,
        )


@dataclass(frozen=True, slots=True)
class Seen:
    """What one client saw. status 0: no answer; code says why. cut: a 200 without its end."""

    kind: Kind
    status: int
    code: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """Where the clients of one session call, and what they say beside the body."""

    url: str
    headers: Mapping[str, str]


async def race(target: Target, all_calls: Sequence[Call], at_once: bool) -> tuple[Seen, ...]:
    """Makes the calls, together or one after the other."""
    timeout = aiohttp.ClientTimeout(total=_CALL_SECONDS)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as http:
        if at_once:
            return tuple(await asyncio.gather(*(_client(http, target, c) for c in all_calls)))
        return tuple([await _client(http, target, call) for call in all_calls])


async def _client(http: aiohttp.ClientSession, target: Target, call: Call) -> Seen:
    try:
        async with asyncio.timeout(call.leaves_after_seconds):
            return await _ask(http, target, call)
    except TimeoutError:
        return Seen("left" if call.leaves_after_seconds is not None else "failed", 0, "time-out")
    except aiohttp.ClientError as error:
        return Seen("failed", 0, type(error).__name__)


async def _ask(http: aiohttp.ClientSession, target: Target, call: Call) -> Seen:
    async with http.post(target.url, json=call.body(), headers=target.headers) as response:
        try:
            text = await response.text()
        except aiohttp.ClientPayloadError:  # the connection broke in the middle
            return Seen("cut", response.status)
    if response.status >= 500:
        return Seen("failed", response.status)
    if response.status != 200:
        return Seen("refused", response.status)
    ended = "data: [DONE]" in text if call.stream else _has_choices(text)
    return Seen("whole" if ended and '"error"' not in text else "cut", 200)


def _has_choices(text: str) -> bool:
    try:
        return bool(json.loads(text).get("choices"))
    except (ValueError, AttributeError):
        return False
