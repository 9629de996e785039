"""Recorded streams of twenty providers through the filters, with random chunk borders."""

import random

import pytest

from proxy.core.dialects.base import Bounds
from tests.unit.core.dialects.holding import everything, filtered, metered, nothing
from tests.unit.core.dialects.made import DIALECTS
from tests.unit.core.dialects.metering import pieces, recordings

pytestmark = pytest.mark.data

ENDPOINTS = {"chat": "chat.completions", "messages": "messages", "responses": "responses"}
LEAST = {"chat": (40, 9), "messages": (8, 0), "responses": (15, 4)}
"""Streams, and tools called in them: none in those of messages."""
_FOR_CALLS = {"tool_calls": "stop", "tool_use": "end_turn"}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_recorded_streams_are_held_back_right(dialect: str) -> None:
    """Untouched with nothing guarded; the same with each tool released, and without it dropped."""
    chance, kind = random.Random(7), DIALECTS[dialect]
    read = calls = 0
    for record in recordings(ENDPOINTS[dialect]):
        response = record["response"]
        assert isinstance(response, dict)
        if response["status"] != 200 or not record["stream"]:
            continue
        stream = response["body"].encode()
        chunks = pieces(stream, [chance.randrange(len(stream)) for _ in range(20)])
        read += 1

        assert filtered(kind.hold_back(nothing, Bounds()), chunks) == stream
        original = metered(kind, stream)
        answer = original.answer()
        released = filtered(kind.hold_back(everything, Bounds()), chunks)
        assert metered(kind, released).answer() == answer
        assert metered(kind, released).usage == original.usage
        for name in {call.name for call in answer.tool_calls}:
            calls += 1
            dropped = filtered(kind.hold_back(name.__eq__, Bounds()), chunks, nothing)
            left = tuple(call for call in answer.tool_calls if call.name != name)
            seen = metered(kind, dropped)
            assert seen.answer().tool_calls == left
            assert seen.answer().text == answer.text
            assert (seen.ended, seen.malformed) == (original.ended, original.malformed)
            assert seen.usage == original.usage
            finish = str(answer.finish_reason)
            assert seen.answer().finish_reason == (
                finish if left else _FOR_CALLS.get(finish, finish)
            )
    assert read >= LEAST[dialect][0]
    assert calls >= LEAST[dialect][1]
    print(f"{dialect}: {read} streams, {calls} tools")
