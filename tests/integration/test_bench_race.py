"""The clients of the budget race tell a whole answer from one that is not."""

import pytest

from bench.race.calls import Call, Kind, Seen, Target, calls, race
from tests.integration.bench_kit import ok, saying

WHOLE = b'{"choices": [{"message": {"content": "yes"}}]}'
EVENT = b'data: {"choices": [{"delta": {"content": "yes"}}]}\n\n'
ERROR = b'event: error\ndata: {"error": {"code": "budget_exceeded"}}\n\n'
DONE = b"data: [DONE]\n\n"


async def seen(answer: bytes, call: Call) -> Seen:
    async with saying(answer, close=True) as port:
        target = Target(f"http://127.0.0.1:{port}/v1/chat/completions", {})
        (one,) = await race(target, [call], at_once=True)
        return one


@pytest.mark.parametrize(
    ("stream", "answer", "kind"),
    [
        (False, ok(WHOLE), "whole"),
        (False, ok(b"{}"), "cut"),
        (False, ok(WHOLE[:20], len(WHOLE)), "cut"),
        (True, ok(EVENT + DONE), "whole"),
        (True, ok(EVENT), "cut"),
        (True, ok(EVENT + ERROR), "cut"),
        (True, ok(EVENT + ERROR + DONE), "cut"),
        (False, b"HTTP/1.1 422 No\r\nContent-Length: 0\r\n\r\n", "refused"),
        (True, b"HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n", "failed"),
        (False, b"", "failed"),
    ],
)
async def test_what_a_client_saw_is_called_by_its_name(
    stream: bool, answer: bytes, kind: Kind
) -> None:
    """A stream that was cut and is counted as served would hide the overspending, or the harm."""
    one = await seen(answer, Call(1, 200, 600, 300, stream))

    assert one.kind == kind


def test_the_calls_of_a_race_are_the_same_for_all() -> None:
    """Or the ratios compare different bills."""
    made = calls(500, leaving=True)

    assert made == calls(500, leaving=True)
    assert sum(call.leaves_after_seconds is not None for call in made) == 167
    assert 200 < sum(call.stream for call in made) < 300
    assert all(call.answer_tokens <= call.max_tokens for call in made)
