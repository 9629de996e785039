"""Recorded calls, read again: what they asked, and what they were answered."""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, TypeVar

from proxy.core.contents import RecordedAnswer
from proxy.core.dialects.base import PARSE_ON_THREAD_BYTES, Dialect
from proxy.core.dialects.registry import DIALECTS
from proxy.core.equivalence import SteadyChains
from proxy.core.memo import Memo
from proxy.core.redelivery.redelivered import redelivered
from proxy.core.request import Request
from proxy.core.steps import RecordedStep
from proxy.core.usage import ToolCall
from proxy.errors import ContentMissing, MalformedRequest
from proxy.intake import Call, dialect_bounds

_UNREADABLE: Final = "what was recorded cannot be read under this policy"
_MEMO_BYTES: Final = 32 * 1024 * 1024
_AT_ONCE_BYTES: Final = 65_536
T = TypeVar("T")
_DIALECTS: Mapping[str, Dialect] = {str(name): one for name, one in DIALECTS.items()}


async def calls_of(call: Call, given: RecordedAnswer) -> Sequence[ToolCall]:
    """What a recorded answer asks to be called."""
    return await _at_once(given, partial(_calls_of, call, given))


def _calls_of(call: Call, given: RecordedAnswer) -> Sequence[ToolCall]:
    dialect = _DIALECTS[call.request.dialect]
    if not given.stream:
        return dialect.read_answer(given.body).answer.tool_calls
    meter = dialect.meter(strip_usage=False, bounds=dialect_bounds(call.policy))
    meter.feed(given.body)
    meter.close()
    return meter.answer().tool_calls


async def _at_once(given: RecordedAnswer, read: Callable[[], T]) -> T:
    """What is read from an answer: from a long one on a thread, for that takes seconds."""
    return read() if len(given.body) <= _AT_ONCE_BYTES else await asyncio.to_thread(read)


async def in_form(given: RecordedAnswer, step: RecordedStep, request: Request) -> RecordedAnswer:
    """Streamed or whole, as the request asks. Raises ContentMissing where it cannot be told so."""
    if given.stream == request.stream:
        return given
    usage = request.include_usage
    tell = partial(redelivered, given, request.dialect, step.usage, include_usage=usage)
    other = await _at_once(given, tell)
    if other is None:
        raise ContentMissing(f"step {step.step} was {'' if given.stream else 'not '}streamed")
    return other


class HistoryReading:
    """Reads the histories of a session's steps, one after the other: each goes on from one before
    it, and is read as that was, up to there."""

    def __init__(self, call: Call, steady: SteadyChains) -> None:
        self._steady = steady
        self._bounds = dialect_bounds(call.policy)
        self._memo = Memo(_MEMO_BYTES, int.from_bytes(os.urandom(8)))

    def chain(self, step: RecordedStep, body: bytes) -> bytes:
        """That of one step (`SteadyChains`). Raises ContentMissing."""
        try:
            request = _DIALECTS[step.dialect].parse(body, self._bounds, self._memo)
        except MalformedRequest as error:
            raise ContentMissing(_UNREADABLE) from error
        if request.learned is not None:
            self._memo.keep(request.learned)
        return self._steady.chain(request)


async def parsed(call: Call, dialect: str, body: bytes) -> Request:
    """Of a recorded body. Raises ContentMissing where it is none under the bounds in force."""
    parse, bounds = _DIALECTS[dialect].parse, dialect_bounds(call.policy)
    try:
        if len(body) < PARSE_ON_THREAD_BYTES:
            return parse(body, bounds)
        return await asyncio.to_thread(parse, body, bounds)
    except MalformedRequest as error:
        raise ContentMissing(_UNREADABLE) from error
