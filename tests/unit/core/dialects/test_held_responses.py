"""Guarded tools' calls wait on streams of `/v1/responses`, and nothing else does."""

import json
from typing import Any

import pytest

from proxy.core.dialects.base import Bounds
from proxy.core.dialects.held_responses import HeldResponses
from proxy.core.usage import ToolCall
from tests.unit.core.dialects.holding import everything, nothing, streamed
from tests.unit.core.dialects.metering import frames

Event = dict[str, Any]


class Server:
    """Numbers its events, and says all items again at its end."""

    def __init__(self, response_id: str = "resp_1") -> None:
        self.response: Event = {
            "id": response_id,
            "created_at": 7,
            "previous_response_id": None,
            "status": "in_progress",
            "output": [],
        }
        self.items: list[Event] = []
        self._number = 0

    def event(self, kind: str, **more: object) -> bytes:
        self._number += 1
        return frames([{"type": f"response.{kind}", "sequence_number": self._number - 1, **more}])

    def begin(self) -> bytes:
        return b"".join(
            self.event(kind, response=self.response) for kind in ("created", "in_progress")
        )

    def item(self, begun: Event, whole: Event, *between: tuple[str, Event]) -> bytes:
        at = {"output_index": len(self.items)}
        self.items.append(whole)
        out = self.event("output_item.added", item=begun, **at)
        for kind, more in between:
            out += self.event(kind, item_id=whole["id"], **at, **more)
        return out + self.event("output_item.done", item=whole, **at)

    def text(self, said: str) -> bytes:
        part = {"type": "output_text", "text": ""}
        item = {"type": "message", "id": f"msg_{said}", "role": "assistant", "content": []}
        deltas: tuple[str, Event] = ("output_text.delta", {"content_index": 0, "delta": said})
        added: tuple[str, Event] = ("content_part.added", {"content_index": 0, "part": part})
        return self.item(item, {**item, "content": [{**part, "text": said}]}, added, deltas)

    def call(self, name: str, call_id: str, *written: str) -> bytes:
        item = {"type": "function_call", "id": f"fc_{call_id}", "call_id": call_id, "name": name}
        kind = "function_call_arguments"
        whole = "".join(written)
        deltas: list[tuple[str, Event]] = [(f"{kind}.delta", {"delta": one}) for one in written]
        done: tuple[str, Event] = (f"{kind}.done", {"arguments": whole})
        return self.item({**item, "arguments": ""}, {**item, "arguments": whole}, *deltas, done)

    def reasoning(self, tag: str = "1", *read: str) -> bytes:
        item: Event = {"type": "reasoning", "id": f"rs_{tag}", "encrypted_content": "x"}
        deltas: list[tuple[str, Event]] = [
            ("reasoning_summary_text.delta", {"summary_index": 0, "delta": one}) for one in read
        ]
        return self.item({**item, "summary": []}, {**item, "summary": list(read)}, *deltas)

    def end(self, kind: str = "completed", tokens: int = 5, **more: object) -> bytes:
        usage = {"input_tokens": 10, "output_tokens": tokens}
        told = {"status": kind, "output": self.items, "usage": usage, **more}
        return self.event(kind, response={**self.response, **told})


def events(stream: bytes) -> list[Event]:
    lines = [line[6:] for line in stream.splitlines() if line.startswith(b"data: ")]
    return [json.loads(line) for line in lines]


def check_numbers(passed: list[Event]) -> None:
    """No gap in what numbers events and items."""
    assert [one["sequence_number"] for one in passed] == list(range(len(passed)))
    added = [one["output_index"] for one in passed if one["type"].endswith("item.added")]
    assert added == list(range(len(added)))


def guarding(*names: str) -> HeldResponses:
    return HeldResponses(lambda name: name in names, Bounds())


def test_a_guarded_item_waits_until_it_is_done() -> None:
    hold, server = guarding("mail"), Server()
    first = server.begin() + server.text("Now")
    mail = server.call("mail", "c1", '{"to"', ':"a"}')
    rest = server.text("So") + server.end()

    assert hold.feed(first) == first
    assert hold.feed(mail[:-40]) == b""
    assert (hold.waits, hold.complete) == (True, [])
    assert hold.feed(mail[-40:] + rest) == b""
    assert hold.complete == [ToolCall("c1", "mail", '{"to":"a"}')]
    assert hold.release("c1") == mail + rest
    assert (hold.waits, hold.end()) == (False, b"")


def test_a_dropped_item_leaves_no_gap_and_is_not_said_again() -> None:
    hold, server = guarding("mail"), Server()
    stream = server.begin() + server.call("mail", "c1", "{}") + server.call("look", "c2", "{}")
    stream += server.text("So") + server.end()

    passed = streamed(hold, [stream], nothing)
    assert hold.waits
    passed += hold.end()

    said = events(passed)
    check_numbers(said)
    assert said[-1]["response"]["output"] == server.items[1:]
    assert said[-1]["response"]["usage"] == {"input_tokens": 10, "output_tokens": 5}


def test_an_item_that_is_released_late_is_said_again_where_it_passed() -> None:
    hold, server = guarding("mail"), Server()
    hold.feed(server.begin() + server.call("mail", "c1", "{}"))
    passed = hold.feed(server.call("look", "c2", "{}"))
    passed += hold.release("c1") + hold.feed(server.end())

    said = events(passed)
    assert [one["sequence_number"] for one in said] == list(range(2, 2 + len(said)))
    assert [item["call_id"] for item in said[-1]["response"]["output"]] == ["c2", "c1"]


def test_a_custom_tool_is_held_too() -> None:
    hold, server = guarding("shell"), Server()
    item = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c1", "name": "shell"}
    part: tuple[str, Event] = ("custom_tool_call_input.delta", {"delta": "ls"})
    stream = server.item({**item, "input": ""}, {**item, "input": "ls"}, part)

    assert hold.feed(stream) == b""
    assert hold.complete == [ToolCall("c1", "shell", "ls")]


def test_an_item_that_is_not_done_is_complete_at_the_end() -> None:
    hold, server = guarding("mail"), Server()
    mail = server.call("mail", "c1", "{", "}")
    cut = mail[: mail.index(b"event: response.function_call_arguments.done")]
    server.items.clear()
    end = server.end("incomplete")

    assert hold.feed(cut + end) == b""
    assert hold.complete == [ToolCall("c1", "mail", "{}")]
    assert json.loads(hold.turn())[0]["arguments"] == "{}"
    assert hold.release("c1").startswith(cut)


def test_a_call_that_only_the_end_tells_of_is_judged_before_it() -> None:
    """A server that streams no items."""
    kept, lost, server = guarding("mail"), guarding("mail"), Server()
    begun = server.begin()
    server.call("mail", "c1", "{}")
    server.call("look", "c2", "{}")
    end = server.end()

    assert kept.feed(begun + end) == begun
    assert kept.complete == [ToolCall("c1", "mail", "{}")]
    assert events(kept.release("c1"))[0]["response"] == events(end)[0]["response"]
    assert streamed(lost, [begun + end], nothing) == begun
    assert events(lost.end())[0]["response"]["output"] == server.items[1:]


def test_without_numbers_none_are_made() -> None:
    hold = guarding("mail")
    call = {"type": "function_call", "call_id": "c1", "name": "mail", "arguments": "{}"}
    text = frames([{"type": "response.output_text.delta", "output_index": 1, "delta": "a"}])

    done = {"type": "response.output_item.done", "output_index": 0, "item": call}
    streamed(hold, [frames([done])], nothing)

    assert hold.feed(text) == text


@pytest.mark.parametrize(
    "odd",
    [
        b"data: {\n\n",
        b"data: [1]\n\n",
        b'data: {"type":"error","message":"no"}\n\n',
        b'data: {"type":"response.output_item.added","output_index":0,"item":3}\n\n',
        b'data: {"type":"response.output_item.added","output_index":"a"}\n\n',
        b'data: {"type":"response.completed","response":{"output":3}}\n\n',
        b'data: {"type":"response.completed","response":3}\n\n',
        b'data: {"type":"response.completed"}\n\n',
        b'data: {"type":"response.function_call_arguments.delta","output_index":9}\n\n',
        b": comment\n\n",
        b"data: [DONE]\n\n",
    ],
)
def test_what_cannot_be_read_passes(odd: bytes) -> None:
    assert HeldResponses(everything, Bounds()).feed(odd) == odd


def test_the_turn_is_what_the_model_said() -> None:
    hold, server = guarding("mail"), Server()
    server.begin()
    items = server.reasoning() + server.text("So") + server.call("mail", "c1", "{}")
    items += server.reasoning("2") + server.call("mail", "c2", "{}")

    streamed(hold, [items], nothing)
    assert json.loads(hold.turn()) == server.items
    streamed(hold, [server.end()], nothing)
    assert json.loads(hold.turn()) == server.items


def test_another_stream_goes_on_from_here() -> None:
    hold, one, two = guarding("mail"), Server(), Server("resp_2")
    first = one.begin() + one.text("So") + one.call("mail", "c1", "{}") + one.end()
    passed = streamed(hold, [first], nothing)

    hold.splice()
    later = two.begin() + two.reasoning() + two.text("sent") + two.call("look", "c2", "{}")
    later += two.end(tokens=7, previous_response_id="resp_1")
    passed += streamed(hold, [later], nothing) + hold.end()

    said = events(passed)
    check_numbers(said)
    assert [one["type"] for one in said].count("response.created") == 1
    last = said[-1]["response"]
    assert (last["id"], last["previous_response_id"]) == ("resp_1", None)
    assert last["output"] == [one.items[0], *two.items]
    assert last["usage"] == {"input_tokens": 20, "output_tokens": 12}
    assert json.loads(hold.turn()) == two.items


def test_three_streams_are_one() -> None:
    hold = guarding("mail")
    passed = b""
    for n in range(3):
        server = Server(f"resp_{n}")
        stream = server.begin() + server.text(str(n)) + server.call("mail", "c1", "{}")
        passed += streamed(hold, [stream + server.end()], nothing)
        if n < 2:
            hold.splice()

    said = events(passed + hold.end())
    check_numbers(said)
    last = said[-1]["response"]
    assert [item["id"] for item in last["output"]] == ["msg_0", "msg_1", "msg_2"]
    assert last["usage"] == {"input_tokens": 30, "output_tokens": 15}


def test_a_dropped_call_that_is_too_long_leaves_nothing_behind() -> None:
    hold, server = HeldResponses("mail".__eq__, Bounds(held_bytes=900)), Server()
    mail = server.call("mail", "c1", '{"a":"', "x" * 900, '"}')
    text = server.text("So")

    streamed(hold, [mail[:1_400], mail[1_400:]], nothing)
    passed = events(streamed(hold, [text], nothing))

    assert hold.dropped == 1
    assert [one["output_index"] for one in passed] == [0] * len(passed)


def test_items_that_the_end_says_more_of_stand_where_they_stood() -> None:
    """What was never streamed, and what cannot be read."""
    hold, server = guarding("mail"), Server()
    begun = server.call("mail", "c1", "{}") + server.call("look", "c2", "{}")
    more: list[Any] = [{"type": "message", "id": "m", "content": []}, 3, {"type": 7}]
    server.items += more

    passed = streamed(hold, [begun + server.end()], nothing) + hold.end()

    assert events(passed)[-1]["response"]["output"] == [server.items[1], *more]


def test_a_response_that_failed_is_an_end() -> None:
    hold, server = guarding("mail"), Server()
    mail = server.call("mail", "c1", "{}")

    assert streamed(hold, [mail + server.event("failed", response=7)], nothing) == b""
    assert events(hold.end())[0]["response"] == 7


def test_usage_that_is_not_told_is_not_made_up() -> None:
    hold, one, two = guarding("mail"), Server(), Server("resp_2")
    streamed(hold, [one.begin() + one.call("mail", "c1", "{}") + one.end()], nothing)
    hold.splice()

    (end,) = events(hold.feed(two.end("failed", usage=None)))

    assert (end["response"]["id"], end["response"]["usage"]) == ("resp_1", None)


def test_reasoning_goes_with_the_call_that_it_led_to() -> None:
    """Sent back alone, a provider refuses it; and a call without it as well."""
    kept, lost, server = guarding("mail"), guarding("mail"), Server()
    stream = server.begin() + server.reasoning() + server.call("mail", "c1", "{}")
    stream += server.reasoning("2") + server.text("So") + server.end()

    assert streamed(kept, [stream]) == stream
    said = events(streamed(lost, [stream], nothing) + lost.end())

    check_numbers(said)
    assert said[-1]["response"]["output"] == server.items[2:]
    assert b"rs_1" not in json.dumps(said[:-1]).encode()


def test_reasoning_stays_where_any_call_of_it_passes() -> None:
    hold, server = guarding("mail"), Server()
    stream = server.begin() + server.reasoning() + server.call("mail", "c1", "{}")
    stream += server.call("look", "c2", "{}") + server.end()

    said = events(streamed(hold, [stream], nothing) + hold.end())

    check_numbers(said)
    assert said[-1]["response"]["output"] == [server.items[0], server.items[2]]


def test_reasoning_that_can_be_read_passes_at_once() -> None:
    """And is ended, though its call is dropped: openai-python refuses an item that is not."""
    hold, server = guarding("mail"), Server()
    begun = server.begin() + server.reasoning() + server.reasoning("2", "Hm", "m")

    assert hold.feed(begun) == begun
    streamed(hold, [server.call("mail", "c1", "{}") + server.end()], nothing)
    assert events(hold.end())[0]["response"]["output"] == server.items[:2]


def test_reasoning_that_led_to_nothing_passes_before_the_end() -> None:
    hold, server = guarding("mail"), Server()
    stream = server.begin() + server.reasoning() + server.reasoning("2") + server.end("incomplete")

    assert hold.feed(stream) == stream


def test_reasoning_beyond_the_bound_does_not_wait() -> None:
    hold, server = HeldResponses(everything, Bounds(held_bytes=300)), Server()
    thought = server.reasoning()

    assert hold.feed(thought) == thought
    assert hold.feed(server.call("mail", "c1", "{}")) == b""


def test_what_was_cut_off_is_as_far_as_it_came() -> None:
    hold, server = guarding("mail"), Server()
    text, mail = server.text("So"), server.call("mail", "c1", "{", "}")
    cut = text.index(b"event: response.output_item.done")

    hold.feed(text[:cut] + mail[: mail.index(b"event: response.function_call_arguments.done")])

    begun, called = json.loads(hold.turn())
    assert (begun["type"], begun["content"]) == ("message", [])
    assert called == {**server.items[1], "arguments": "{}"}


def test_the_turn_of_a_whole_call_is_its_end_whatever_came_before() -> None:
    hold, server = guarding("mail"), Server()
    mail = server.call("mail", "c1", "{", "}").replace(b'"delta": "{"', b'"delta": "["')

    hold.feed(mail)

    assert json.loads(hold.turn()) == server.items
    assert hold.complete == [ToolCall("c1", "mail", "{}")]


def test_reasoning_that_was_cut_off_is_an_end_too() -> None:
    hold, server = guarding("mail"), Server()
    stream = server.begin() + server.reasoning("1", "Hm") + server.end("incomplete")

    assert hold.feed(stream) == stream
