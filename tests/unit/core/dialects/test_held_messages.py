"""Guarded tools' calls wait on streams of `/v1/messages`, and nothing else does."""

import json
from typing import Any

import pytest

from proxy.core.dialects.base import Bounds
from proxy.core.dialects.held_messages import HeldMessages
from proxy.core.usage import ToolCall
from tests.unit.core.dialects.holding import everything, judged, nothing, streamed
from tests.unit.core.dialects.metering import frames

Event = dict[str, Any]


def event(kind: str, **more: object) -> bytes:
    return frames([{"type": kind, **more}])


def start(index: int, **block: object) -> bytes:
    return event("content_block_start", index=index, content_block=block)


def delta(index: int, kind: str, **more: object) -> bytes:
    return event("content_block_delta", index=index, delta={"type": kind, **more})


def stop(index: int) -> bytes:
    return event("content_block_stop", index=index)


def text(index: int, *said: str) -> bytes:
    parts = b"".join(delta(index, "text_delta", text=one) for one in said)
    return start(index, type="text", text="") + parts + stop(index)


def tool(index: int, name: str, call_id: str, *written: str) -> bytes:
    parts = b"".join(delta(index, "input_json_delta", partial_json=one) for one in written)
    begin = start(index, type="tool_use", id=call_id, name=name, input={})
    return begin + parts + stop(index)


def begin(input_tokens: int = 10, message_id: str = "msg_1") -> bytes:
    usage = {"input_tokens": input_tokens, "cache_read_input_tokens": 3, "output_tokens": 1}
    message = {"id": message_id, "type": "message", "role": "assistant", "content": []}
    return event("message_start", message={**message, "model": "m", "usage": usage})


def end(reason: str = "tool_use", output_tokens: int = 5, **more: object) -> bytes:
    finish = {"stop_reason": reason, "stop_sequence": None}
    usage = {"output_tokens": output_tokens, **more}
    return event("message_delta", delta=finish, usage=usage) + event("message_stop")


def events(stream: bytes) -> list[Event]:
    lines = stream.splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith(b"data: ")]


def guarding(*names: str) -> HeldMessages:
    return HeldMessages(lambda name: name in names, Bounds())


MAIL = tool(1, "mail", "t1", '{"to"', ':"a"}')
LOOK = tool(2, "look", "t2", "{}")


def test_a_guarded_block_waits_until_it_stops() -> None:
    hold = guarding("mail")
    first = begin() + text(0, "So")

    assert hold.feed(first) == first
    assert hold.feed(MAIL[:-30]) == b""
    assert (hold.waits, hold.complete) == (True, [])
    assert hold.feed(MAIL[-30:] + LOOK + end()) == b""
    assert hold.complete == [ToolCall("t1", "mail", '{"to":"a"}')]
    assert hold.release("t1") == MAIL + LOOK + end()
    assert (hold.waits, hold.end()) == (False, b"")


def test_a_dropped_block_leaves_no_gap() -> None:
    hold = guarding("mail")

    passed = streamed(hold, [begin() + text(0, "So") + MAIL + LOOK + end()], nothing)

    assert passed == begin() + text(0, "So") + tool(1, "look", "t2", "{}")
    assert hold.waits
    assert hold.end() == end()


def test_the_end_says_end_turn_where_no_call_is_left() -> None:
    hold = guarding("mail")
    cut = guarding("mail")

    streamed(hold, [begin() + MAIL + end()], nothing)
    streamed(cut, [begin() + MAIL + end("max_tokens")], nothing)

    assert events(hold.end()) == events(end("end_turn"))
    assert cut.end() == end("max_tokens")


def test_pings_and_text_pass_while_a_block_is_held() -> None:
    hold = guarding("mail")

    hold.feed(begin() + start(0, type="tool_use", id="t1", name="mail", input={}))

    assert hold.feed(event("ping")) == event("ping")
    assert hold.feed(text(1, "a")) == text(0, "a")


def test_a_block_that_is_released_late_waits_until_no_other_is_open() -> None:
    """An SDK takes the last block for the one that stops."""
    hold = guarding("mail")
    hold.feed(begin() + tool(0, "mail", "t1", "{}"))
    hold.feed(b"")
    assert hold.feed(start(1, type="text", text="")) == start(0, type="text", text="")

    assert hold.release("t1") == b""
    assert hold.feed(delta(1, "text_delta", text="a")) == delta(0, "text_delta", text="a")
    assert hold.feed(stop(1)) == stop(0) + tool(1, "mail", "t1", "{}")
    assert hold.feed(end()) == end()


def test_a_block_that_is_released_late_comes_before_the_end() -> None:
    hold = guarding("mail")
    hold.feed(begin() + tool(0, "mail", "t1", "{}") + start(1, type="text", text=""))
    hold.feed(b"")
    hold.release("t1")

    assert hold.feed(end()) == tool(1, "mail", "t1", "{}") + end()


def test_a_call_without_arguments_has_those_of_its_start() -> None:
    hold = guarding("mail")

    hold.feed(start(0, type="tool_use", id="t1", name="mail", input={"a": 1}) + stop(0))
    judged(hold, nothing)
    hold.feed(tool(1, "mail", "t2", ""))

    assert hold.complete == [ToolCall("t2", "mail", "{}")]


def test_a_block_without_a_stop_is_complete_at_the_end() -> None:
    hold = guarding("mail")
    begun = start(0, type="tool_use", id="t1", name="mail", input={})

    assert hold.feed(begun + end()) == b""
    assert hold.release("t1") == begun + end()


def test_what_the_provider_runs_by_itself_is_not_held() -> None:
    block = start(0, type="server_tool_use", id="s1", name="mail", input={}) + stop(0)

    assert HeldMessages(everything, Bounds()).feed(block) == block


@pytest.mark.parametrize(
    "odd",
    [
        b"data: {\n\n",
        b"event: error\ndata: {}\n\n",
        event("content_block_delta", index="a", delta={}),
        event("content_block_delta", index=7, delta={"text": 3}),
        event("content_block_start", index=7, content_block=3),
        event("content_block_stop", index=9),
        b": comment\n\n",
    ],
)
def test_what_cannot_be_read_passes(odd: bytes) -> None:
    assert HeldMessages(everything, Bounds()).feed(odd) == odd


def test_a_call_beyond_the_bound_is_handed_over_and_its_rest_follows_the_verdict() -> None:
    bounds = Bounds(held_bytes=200)
    kept = HeldMessages(everything, bounds)
    begun = start(0, type="tool_use", id="t1", name="mail", input={})
    first = delta(0, "input_json_delta", partial_json='{"a"')
    rest = delta(0, "input_json_delta", partial_json=":1}") + stop(0)

    assert kept.feed(begun + first + rest) == b""
    assert kept.complete == [ToolCall("t1", "mail", '{"a"')]
    assert kept.too_long == {"t1"}
    assert kept.release("t1") == begun + first + rest


def test_the_turn_is_what_the_model_said() -> None:
    hold = guarding("mail")
    thought = (
        start(0, type="thinking", thinking="", signature="")
        + delta(0, "thinking_delta", thinking="Hm")
        + delta(0, "thinking_delta", thinking="m.")
        + delta(0, "signature_delta", signature="abc")
        + stop(0)
    )
    cited = (
        start(1, type="text", text="")
        + delta(1, "text_delta", text="So")
        + delta(1, "citations_delta", citation={"url": "a"})
        + delta(1, "citations_delta", citation={"url": "b"})
        + stop(1)
    )
    mail, cut = tool(3, "mail", "t1", '{"to"', ':"a"}'), tool(4, "look", "t2", '{"q')

    streamed(hold, [begin() + thought + cited + text(2, "") + mail + cut + end()], nothing)

    assert json.loads(hold.turn()) == {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "Hmm.", "signature": "abc"},
            {"type": "text", "text": "So", "citations": [{"url": "a"}, {"url": "b"}]},
            {"type": "tool_use", "id": "t1", "name": "mail", "input": {"to": "a"}},
            {"type": "tool_use", "id": "t2", "name": "look", "input": {}},
        ],
    }


def test_another_stream_goes_on_from_here() -> None:
    """Input is what the first one's start said; what was generated is added up."""
    hold = guarding("mail")
    first = begin(10) + text(0, "So: ") + MAIL + end(output_tokens=5)
    passed = streamed(hold, [first], nothing)
    turn = json.loads(hold.turn())

    hold.splice()
    later = begin(99, "msg_2") + event("ping") + text(0, "sent.")
    later += end("end_turn", 7, input_tokens=99, server_tool_use=None)
    passed += streamed(hold, [later], nothing) + hold.end()

    told = {"input_tokens": 10, "server_tool_use": None}
    expected = begin(10) + text(0, "So: ") + event("ping") + text(1, "sent.")
    assert events(passed) == events(expected + end("end_turn", 12, **told))
    assert turn["content"][1]["name"] == "mail"
    assert json.loads(hold.turn())["content"] == [{"type": "text", "text": "sent."}]


def test_blocks_of_three_streams_are_numbered_on_and_added_up() -> None:
    hold = guarding("mail")
    passed = b""
    for n in range(3):
        passed += streamed(hold, [begin() + text(0, str(n)) + MAIL + end()], nothing)
        if n < 2:
            hold.splice()

    assert passed == begin() + text(0, "0") + text(1, "1") + text(2, "2")
    assert events(hold.end()) == events(end("end_turn", 15))


def test_a_call_that_is_too_long_goes_on_after_its_turn() -> None:
    """Released while another block is open, with more of it to come."""
    hold = HeldMessages("mail".__eq__, Bounds(held_bytes=200))
    begun = start(0, type="tool_use", id="t1", name="mail", input={})
    first = delta(0, "input_json_delta", partial_json='{"a"' + " " * 200)
    rest = delta(0, "input_json_delta", partial_json=":1}")
    other = start(1, type="text", text="")

    hold.feed(other + begun + first)
    assert hold.too_long == {"t1"}
    assert hold.release("t1") == b""
    assert hold.feed(rest) == b""
    passed = hold.feed(stop(1) + stop(0))

    assert [one["index"] for one in events(passed)] == [1, 2, 2, 2, 2]
    assert events(passed)[-1]["type"] == "content_block_stop"


def test_a_dropped_call_that_is_too_long_leaves_nothing_behind() -> None:
    hold = HeldMessages("mail".__eq__, Bounds(held_bytes=200))
    mail = tool(0, "mail", "t1", '{"a":"' + "x" * 200, '"}')

    assert streamed(hold, [mail[:400], mail[400:], text(1, "a")], nothing) == text(0, "a")


def test_done_is_an_end_here_too() -> None:
    hold = guarding("mail")

    assert streamed(hold, [tool(0, "mail", "t1", "{}") + b"data: [DONE]\n\n"], nothing) == b""
    assert hold.end() == b"data: [DONE]\n\n"
