"""The log's line of each call: the same form as every other line, a moment later."""

import asyncio
import json
import logging

import pytest
from msgspec.structs import replace

from proxy.call_lines import CallLines
from proxy.core.usage import Usage
from proxy.records import CallRecord
from tests.fakes import FakeClock

ANSWERED = CallRecord(
    "chat", "allow", 200, "req_1", session="s1", usage=Usage(10, output_tokens=5), cost_micro_usd=20
)


@pytest.fixture
def written(caplog: pytest.LogCaptureFixture) -> list[bytes]:
    """What has been written; calls are logged."""
    caplog.set_level(logging.INFO, "holdfast.call")
    return []


async def test_lines_are_written_together_a_moment_later(written: list[bytes]) -> None:
    lines, done = CallLines(written.append, FakeClock()), asyncio.Event()
    lines.add(ANSWERED)
    lines.add(ANSWERED)
    asyncio.get_running_loop().call_later(0.05, done.set)
    assert written == []

    await done.wait()
    assert [len(chunk.splitlines()) for chunk in written] == [2]


async def test_a_line_says_what_is_known_and_leaves_out_the_rest(written: list[bytes]) -> None:
    lines = CallLines(written.append, FakeClock(), worker=2)
    lines.add(ANSWERED)
    lines.flush()

    line = json.loads(written[0])
    assert (line["level"], line["message"], line["worker"]) == ("info", "call", 2)
    assert (line["status"], line["session"], line["cost_usd"]) == (200, "s1", 0.00002)
    assert (line["input_tokens"], line["output_tokens"]) == (10, 5)
    assert line.keys().isdisjoint({"agent", "reason", "retries", "fallbacks", "overspend_usd"})


async def test_a_line_says_what_was_billed_and_not_held(written: list[bytes]) -> None:
    """Its metric says that there was any, and no label of it whose."""
    lines = CallLines(written.append, FakeClock())
    lines.add(replace(ANSWERED, overspend_micro_usd=1_500))
    lines.flush()

    assert json.loads(written[0])["overspend_usd"] == 0.0015


async def test_a_line_says_how_often_and_why_others_were_asked(written: list[bytes]) -> None:
    """At 2 a.m. the log is where somebody looks why it was the smaller model."""
    lines = CallLines(written.append, FakeClock())
    lines.add(replace(ANSWERED, retries=1, fallbacks=("error", "breaker_open")))
    lines.flush()

    line = json.loads(written[0])
    assert (line["retries"], line["fallbacks"]) == (1, ["error", "breaker_open"])


async def test_nothing_is_gathered_where_calls_are_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "holdfast.call")
    written: list[bytes] = []
    lines = CallLines(written.append, FakeClock())
    lines.add(ANSWERED)
    lines.flush()

    assert written == []


async def test_a_thousand_lines_do_not_wait(written: list[bytes]) -> None:
    """Memory is bounded by what a burst may gather."""
    lines = CallLines(written.append, FakeClock())
    for _ in range(1_500):
        lines.add(ANSWERED)
    lines.flush()

    assert [len(chunk.splitlines()) for chunk in written] == [1_000, 500]
