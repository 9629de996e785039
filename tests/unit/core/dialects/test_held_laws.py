"""Laws of held streams: whatever a provider sends, in any split, of every dialect."""

import json
from collections.abc import Iterable
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.dialects.base import Bounds, HoldBack
from proxy.core.dialects.held_chat import HeldChat
from proxy.core.usage import Answer, ToolCall
from tests.unit.core.dialects.holding import everything, metered, nothing, read, streamed
from tests.unit.core.dialects.made import DIALECTS, TOOLS, Made, made
from tests.unit.core.dialects.metering import law, pieces

seeds = st.integers(0, 2**32).map(Random)
splits = st.lists(st.integers(0, 20_000), max_size=12)
guarded = st.sets(st.sampled_from(TOOLS))
every_dialect = pytest.mark.parametrize("dialect", DIALECTS)
many = settings(law, max_examples=60)
_FOR_CALLS = {"tool_calls": "stop", "tool_use": "end_turn"}


def held(one: Made, guards: Iterable[str] = TOOLS) -> HoldBack:
    names = frozenset(guards)
    return DIALECTS[one.dialect].hold_back(names.__contains__, Bounds())


def without(answer: Answer, dropped: Iterable[str]) -> Answer:
    """The answer as the provider would have ended it without these calls."""
    gone = set(dropped)
    calls = tuple(call for call in answer.tool_calls if call.call_id not in gone)
    finish = answer.finish_reason
    if gone and not calls and finish in _FOR_CALLS:
        finish = _FOR_CALLS[finish]
    return Answer(answer.text, calls, answer.response_id, finish)


def said(stream: bytes) -> list[str]:
    """All events, in any order and with any number."""
    lines = [line[6:] for line in stream.splitlines() if line.startswith(b"data: {")]
    return sorted(json.dumps(json.loads(line) | {"sequence_number": 0}) for line in lines)


def unordered(answer: Answer) -> tuple[object, ...]:
    calls = sorted(answer.tool_calls, key=lambda call: call.call_id)
    return answer.text, calls, answer.response_id, answer.finish_reason


def _begun(dialect: str, event: Any) -> list[object]:
    """The numbers of what begins with this event."""
    if dialect == "messages":
        return [event["index"]] if event["type"] == "content_block_start" else []
    if dialect == "responses":
        return [event["output_index"]] if event["type"].endswith("item.added") else []
    calls = [call for one in event["choices"] for call in one["delta"].get("tool_calls", ())]
    return [call["index"] for call in calls if call.get("id")]


def check_numbers(dialect: str, stream: bytes) -> None:
    """No gap and nothing twice in what numbers calls, blocks, items and events."""
    lines = [line[6:] for line in stream.splitlines() if line.startswith(b"data: {")]
    events = [json.loads(line) for line in lines]
    if dialect == "responses":
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
    numbers = [number for event in events for number in _begun(dialect, event)]
    assert numbers == list(range(len(numbers)))


@every_dialect
@many
@given(seeds, splits)
def test_with_nothing_guarded_all_passes_as_it_came_and_at_once(
    dialect: str, chance: Random, cuts: list[int]
) -> None:
    """Only the end of reasoning waits, for what it leads to."""
    one = made(dialect, chance)
    hold = held(one, ())
    passed = fed = b""

    for piece in pieces(one.stream, cuts):
        passed += hold.feed(piece)
        fed += piece
        assert not hold.waits
        whole = max(
            (fed.rfind(end) + len(end) for end in (b"\n\n", b"\r\n\r\n") if end in fed), default=0
        )
        assert len(passed) >= whole or one.thinks

    passed += hold.close()
    assert passed == one.stream or (one.thinks and said(passed) == said(one.stream))
    assert hold.end() == b""


@every_dialect
@many
@given(seeds, splits, guarded)
def test_with_all_released_the_answer_is_the_same(
    dialect: str, chance: Random, cuts: list[int], guards: set[str]
) -> None:
    one = made(dialect, chance)
    hold = held(one, guards)

    passed = streamed(hold, pieces(one.stream, cuts)) + hold.end()

    assert not hold.waits
    original, seen = metered(DIALECTS[dialect], one.stream), metered(DIALECTS[dialect], passed)
    if one.ordered:
        assert seen.answer() == original.answer()
    else:
        assert unordered(seen.answer()) == unordered(original.answer())
    assert (seen.usage, seen.ended, seen.malformed) == (original.usage, True, 0)


@every_dialect
@many
@given(seeds, splits, guarded, st.sets(st.integers(0, 5)))
def test_with_some_dropped_the_answer_is_the_same_without_them(
    dialect: str, chance: Random, cuts: list[int], guards: set[str], drops: set[int]
) -> None:
    one = made(dialect, chance)
    hold = held(one, guards)
    dropped = {
        call.call_id for call in one.calls if call.name in guards and int(call.call_id[-1]) in drops
    }

    chunks = pieces(one.stream, cuts)
    passed = streamed(hold, chunks, lambda call: call.call_id not in dropped) + hold.end()

    original, seen = read(DIALECTS[dialect], one.stream), read(DIALECTS[dialect], passed)
    expected = without(original, dropped)
    assert hold.dropped == len(dropped)
    assert unordered(seen) == unordered(expected)
    if one.ordered:
        assert seen.tool_calls == expected.tool_calls
    if one.numbered:
        check_numbers(dialect, passed)


@every_dialect
@many
@given(seeds, splits, guarded, seeds)
def test_late_verdicts_lose_nothing_and_leave_no_gap(
    dialect: str, chance: Random, cuts: list[int], guards: set[str], shell: Random
) -> None:
    """A verdict may come at any time, in any order."""
    one = made(dialect, chance)
    hold = held(one, guards)
    passed = b""
    dropped: set[str] = set()

    def judge_some(*, all_of_them: bool = False) -> bytes:
        out = b""
        while hold.complete and (all_of_them or shell.random() < 0.5):
            call = shell.choice(hold.complete)
            if shell.random() < 0.5:
                out += hold.release(call.call_id)
            else:
                dropped.add(call.call_id)
                out += hold.drop(call.call_id)
        return out

    for piece in pieces(one.stream, cuts):
        passed += hold.feed(piece) + judge_some()
    passed += hold.close() + judge_some(all_of_them=True) + hold.end()

    original, seen = read(DIALECTS[dialect], one.stream), read(DIALECTS[dialect], passed)
    assert not hold.waits
    assert unordered(seen) == unordered(without(original, dropped))
    if one.numbered:
        check_numbers(dialect, passed)


@every_dialect
@many
@given(seeds, splits, splits, guarded, st.booleans())
def test_two_streams_read_like_one(
    dialect: str, chance: Random, cuts: list[int], more: list[int], guards: set[str], keeps: bool
) -> None:
    """What of the first was not guarded, and then the second, with its end; usage of both."""
    one, two = made(dialect, chance, "1"), made(dialect, chance, "2")
    hold = held(one, guards)
    passed = streamed(hold, pieces(one.stream, cuts), nothing)
    if not hold.dropped:
        return

    hold.splice()
    passed += streamed(hold, pieces(two.stream, more), lambda _: keeps) + hold.end()

    first, second = read(DIALECTS[dialect], one.stream), read(DIALECTS[dialect], two.stream)
    left = [call for call in first.tool_calls if call.name not in guards]
    left += [call for call in second.tool_calls if keeps or call.name not in guards]
    meter = metered(DIALECTS[dialect], passed)
    seen = meter.answer()
    assert seen.text == first.text + second.text
    key = ToolCall.__hash__
    assert sorted(seen.tool_calls, key=key) == sorted(left, key=key)
    assert seen.response_id == first.response_id
    expected = second.finish_reason
    if hold.dropped and not left:
        expected = _FOR_CALLS.get(str(expected), expected)
    assert seen.finish_reason == expected
    assert (meter.ended, meter.malformed) == (True, 0)
    check_usage(dialect, one, two, passed)
    if one.numbered and two.numbered:
        check_numbers(dialect, passed)


def check_usage(dialect: str, one: Made, two: Made, passed: bytes) -> None:
    told = [metered(DIALECTS[dialect], stream).usage for stream in (one.stream, two.stream)]
    seen = metered(DIALECTS[dialect], passed).usage
    if told[1] is None:
        return
    assert seen is not None
    first = told[0]
    assert seen.output_tokens == told[1].output_tokens + (first.output_tokens if first else 0)
    both = told[1].total_input_tokens + (first.total_input_tokens if first else 0)
    assert seen.total_input_tokens == (10 if dialect == "messages" else both)


@every_dialect
@many
@given(seeds, splits)
def test_the_turn_says_all_that_the_stream_said(
    dialect: str, chance: Random, cuts: list[int]
) -> None:
    one = made(dialect, chance)
    hold = held(one)
    streamed(hold, pieces(one.stream, cuts), nothing)

    turn = json.loads(hold.turn())
    answer = {"choices": [{"message": turn}]} if dialect == "chat" else turn
    answer = {"output": turn} if dialect == "responses" else answer
    said = DIALECTS[dialect].read_answer(json.dumps(answer).encode()).answer

    original = read(DIALECTS[dialect], one.stream)
    assert said.text == original.text
    parsed = [(call.call_id, call.name, json.loads(call.arguments)) for call in said.tool_calls]
    assert parsed == [(c.call_id, c.name, json.loads(c.arguments)) for c in original.tool_calls]


@every_dialect
@many
@given(seeds, st.binary(max_size=200), splits, st.integers(0, 5_000))
def test_garbage_in_a_stream_passes(
    dialect: str, chance: Random, garbage: bytes, cuts: list[int], at: int
) -> None:
    """Nothing is raised; with nothing guarded nothing is changed, unless a name was lost."""
    one = made(dialect, chance)
    stream = one.stream
    at %= len(stream) + 1
    stream = stream[:at] + garbage + stream[at:]
    free = DIALECTS[dialect].hold_back(nothing, Bounds())
    hold = DIALECTS[dialect].hold_back(everything, Bounds(held_bytes=300))

    passed = b"".join(free.feed(piece) for piece in pieces(stream, cuts)) + free.close()
    streamed(hold, pieces(stream, cuts), nothing)
    hold.turn()
    hold.splice()
    streamed(hold, pieces(stream, cuts))
    hold.end()

    waited = isinstance(free, HeldChat) and any(c.places.touched for c in free._choices.values())
    assert passed == stream or waited or one.thinks
    assert free.complete == []
