"""What a request brings and what an answer asks for."""

import json

import pytest

from proxy.core.dialects.base import Bounds
from proxy.core.dialects.registry import DIALECTS
from proxy.core.loops.policy import Loops
from proxy.core.loops.rounds import Flag, asked_in
from proxy.core.loops.turns import Tail, asked_by, id_digest, is_polling, tail_of
from proxy.core.request import DialectName
from proxy.core.usage import Answer, ToolCall
from tests.unit.core.loops.kit import call, message, request_of

LOOPS = Loops()
BOUNDS = Bounds(64, 1 << 20)
CALLS = [call("fetch", "{}", "c1"), call("search", "{}", "c2")]
PNG = "data:image/png;base64,AAAA"
BODIES: dict[DialectName, dict[str, object]] = {
    "chat": {"messages": [
        {"role": "user", "content": "go"},
        {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function",
            "function": {"name": "fetch", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "404"}]},
    ]},
    "responses": {"input": [
        {"role": "user", "content": "go"},
        {"type": "function_call", "call_id": "c1", "name": "fetch", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "404"},
    ]},
    "messages": {"max_tokens": 9, "messages": [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": [
            {"type": "tool_use", "id": "c1", "name": "fetch", "input": {}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "c1", "content": "404"},
            {"type": "text", "text": "<system-reminder>Be brief.</system-reminder>"}]},
    ]},
}  # fmt: skip


def read(name: DialectName, **more: object) -> Tail:
    body = json.dumps({"model": "m", **BODIES[name], **more}).encode()
    return tail_of(DIALECTS[name].parse(body, BOUNDS))


@pytest.mark.parametrize("name", list(BODIES))
def test_a_result_is_read_alike_in_every_dialect(name: DialectName) -> None:
    tail = read(name)

    (result,) = tail.results
    assert result.call_id == id_digest("c1")
    assert result.result == read("chat").results[0].result
    assert [one.name for one in tail.calls] == ["fetch"]
    assert (tail.users, tail.said, tail.continues) == (b"", b"", False)


def test_pictures_tell_results_apart() -> None:
    """A screenshot that changed is news, though its text is always the same."""

    def shot(data: str) -> Tail:
        result = {"type": "tool_result", "tool_use_id": "c1", "content": [
            {"type": "text", "text": "Done."},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png",
                                         "data": data}}]}  # fmt: skip
        history = [*BODIES["messages"]["messages"][:2], {"role": "user", "content": [result]}]  # type: ignore[index]
        return read("messages", messages=history)

    assert shot("AAAA").results[0].result == shot("AAAA").results[0].result
    assert shot("AAAA").results[0].result != shot("AAAB").results[0].result
    assert shot("AAAA").results[0].flags == Flag.NONE


def test_the_tail_is_what_stands_after_the_models_last_message() -> None:
    history = [message("user", "a"), message("assistant", "", CALLS[:1]),
               message("tool", "1", (), "c1"), message("assistant", "so"), message("user", "b"),
               message("system", "remember"), message("user", "c")]  # fmt: skip

    tail = tail_of(request_of(history))

    assert (tail.results, len(tail.users), len(tail.said)) == ((), 16, 8)


def test_words_put_into_the_models_mouth_are_no_answer() -> None:
    """A client may begin the answer itself: the results before it are new all the same."""
    history = [message("user", "a"), message("assistant", "", CALLS[:1]),
               message("tool", "1", (), "c1"), message("assistant", "Therefore")]  # fmt: skip

    assert len(tail_of(request_of(history)).results) == 1


def test_a_history_that_begins_has_nothing_but_its_user() -> None:
    tail = tail_of(request_of([message("system", "s"), message("user", "a")]))

    assert (tail.results, len(tail.users), tail.calls, tail.said) == ((), 8, (), b"")


def test_an_endless_tail_is_read_in_part() -> None:
    history = [message("user", f"{at}") for at in range(1_000)]

    assert len(tail_of(request_of(history)).users) == 8 * 256


def test_an_answer_leaves_its_calls_or_its_text() -> None:
    asked = list(asked_in(asked_by(Answer("", tuple(CALLS)), LOOPS)))
    (said,) = asked_in(asked_by(Answer("Here it is."), LOOPS))

    assert [one.call_id for one in asked] == [id_digest("c1"), id_digest("c2")]
    assert said.flags == Flag.TEXT
    assert asked_by(Answer(""), LOOPS) == b""


@pytest.mark.parametrize(
    ("tool", "arguments", "polls"),
    [
        ("get_job_status", "{}", True),
        ("BashOutput", "{}", True),
        ("wait_for_build", "{}", True),
        ("bash", '{"command": "sleep 30 && cat log"}', True),
        ("bash", '{"command": "cat log; sleep 5"}', True),
        ("bash", '{"command": "cat sleep.log"}', False),
        ("write", '{"text": "to sleep 8 hours"}', False),
        ("fetch", "{}", False),
    ],
)
def test_what_waits_or_is_named_is_polling(tool: str, arguments: str, polls: bool) -> None:
    assert is_polling(ToolCall("", tool, arguments), LOOPS) == polls


def test_a_history_with_a_hundred_thousand_calls_costs_no_more_than_a_turn() -> None:
    """A client writes what it likes into the model's last message."""
    calls = [call("read", f'{{"p": {n}}}', f"c{n}") for n in range(1_000)]
    results = [message("tool", "x", (), f"c{n}") for n in range(1_000)]

    tail = tail_of(request_of([message("assistant", "", calls), *results]))

    assert len(tail.calls) == len(tail.results) == 64
