"""Recorded calls, read again: what they asked, and what they were answered."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from proxy.core.contents import RecordedAnswer
from proxy.core.dialects.base import PARSE_ON_THREAD_BYTES, Dialect
from proxy.core.dialects.registry import DIALECTS
from proxy.core.equivalence import steady_chain
from proxy.core.request import Request
from proxy.core.steps import RecordedStep
from proxy.core.usage import ToolCall
from proxy.errors import ContentMissing, MalformedRequest
from proxy.intake import Call, dialect_bounds

_UNREADABLE: Final = "what was recorded cannot be read under this policy"
_DIALECTS: Mapping[str, Dialect] = {str(name): one for name, one in DIALECTS.items()}


def calls_of(call: Call, given: RecordedAnswer) -> Sequence[ToolCall]:
    """What a recorded answer asks to be called."""
    dialect = _DIALECTS[call.request.dialect]
    if not given.stream:
        return dialect.read_answer(given.body).answer.tool_calls
    meter = dialect.meter(strip_usage=False, bounds=dialect_bounds(call.policy))
    meter.feed(given.body)
    meter.close()
    return meter.answer().tool_calls


def chains_of(
    call: Call, steps: Sequence[RecordedStep], bodies: Mapping[str, bytes]
) -> Mapping[str, bytes]:
    """Their histories (`equivalence.steady_chain`). Runs on a thread. Raises ContentMissing."""
    bounds = dialect_bounds(call.policy)
    try:
        return {
            step.call_id: steady_chain(_DIALECTS[step.dialect].parse(bodies[step.call_id], bounds))
            for step in steps
        }
    except MalformedRequest as error:
        raise ContentMissing(_UNREADABLE) from error


async def parsed(call: Call, dialect: str, body: bytes) -> Request:
    """Of a recorded body. Raises ContentMissing where it is none under the bounds in force."""
    parse, bounds = _DIALECTS[dialect].parse, dialect_bounds(call.policy)
    try:
        if len(body) < PARSE_ON_THREAD_BYTES:
            return parse(body, bounds)
        return await asyncio.to_thread(parse, body, bounds)
    except MalformedRequest as error:
        raise ContentMissing(_UNREADABLE) from error
