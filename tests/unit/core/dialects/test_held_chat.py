"""Guarded tools' calls wait on chat streams, and nothing else does."""

import json
from typing import Any

import pytest

from proxy.core.dialects.base import Bounds
from proxy.core.dialects.held_chat import HeldChat
from proxy.core.usage import ToolCall
from tests.unit.core.dialects.holding import everything, judged, nothing, streamed

Event = dict[str, Any]


def chunk(delta: Event | None = None, finish: str | None = None, **more: object) -> bytes:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    event = {"id": "chatcmpl-1", "created": 7, "model": "m", "choices": [choice], **more}
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def part(
    index: int | None = 0, arguments: str = "", name: str | None = None, call_id: str | None = None
) -> Event:
    function: Event = {"arguments": arguments}
    call: Event = {"index": index} if index is not None else {}
    if call_id is not None:
        call |= {"id": call_id, "type": "function"}
    if name is not None:
        function = {"name": name, **function}
    return {**call, "function": function}


def call(*parts: Event) -> bytes:
    return chunk({"tool_calls": list(parts)})


def usage(prompt: int, completion: int) -> bytes:
    told = {"prompt_tokens": prompt, "completion_tokens": completion, "details": {"a": 1}}
    event = {"id": "chatcmpl-1", "created": 7, "model": "m", "choices": [], "usage": told}
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def events(stream: bytes) -> list[Event]:
    lines = [line[6:] for line in stream.splitlines() if line.startswith(b"data: ")]
    return [json.loads(line) if line != b"[DONE]" else {} for line in lines]


DONE = b"data: [DONE]\n\n"
ROLE = chunk({"role": "assistant", "content": ""})
MAIL = [call(part(0, "", "mail", "c1")), call(part(0, '{"to"')), call(part(0, ':"a"}'))]
LOOK = [call(part(1, "", "look", "c2")), call(part(1, '{"q":1}'))]
CALLS = chunk(finish="tool_calls")
STOP = chunk(finish="stop")


def guarding(*names: str) -> HeldChat:
    return HeldChat(lambda name: name in names, Bounds())


def test_a_guarded_call_waits_until_it_is_whole_and_nothing_else_does() -> None:
    hold = guarding("mail")

    assert hold.feed(ROLE) == ROLE
    assert not hold.waits
    assert [hold.feed(piece) for piece in MAIL] == [b"", b"", b""]
    assert hold.waits
    assert hold.complete == []
    assert hold.feed(CALLS) == b""
    assert hold.complete == [ToolCall("c1", "mail", '{"to":"a"}')]
    assert hold.release("c1") == b"".join(MAIL) + CALLS
    assert not hold.waits
    assert hold.feed(usage(1, 2) + DONE) == usage(1, 2) + DONE
    assert hold.end() == b""


def test_a_released_call_keeps_its_place_before_what_came_with_its_end() -> None:
    hold = guarding("mail")
    stream = [ROLE, *MAIL, *LOOK, CALLS, usage(1, 2), DONE]

    assert streamed(hold, stream) == b"".join(stream)
    assert streamed(guarding("mail"), [b"".join(stream)]) == b"".join(stream)


def test_a_dropped_call_leaves_no_gap() -> None:
    hold = guarding("mail")

    passed = streamed(hold, [ROLE, *MAIL, *LOOK, CALLS, usage(1, 2), DONE], nothing)

    assert passed.startswith(ROLE)
    calls = [event["choices"][0]["delta"].get("tool_calls") for event in events(passed)[1:]]
    assert calls == [[part(0, "", "look", "c2")], [part(0, '{"q":1}')]]
    assert hold.waits
    assert hold.dropped == 1
    assert hold.end() == CALLS + usage(1, 2) + DONE


def test_the_end_says_stop_where_no_call_is_left() -> None:
    hold = guarding("mail")

    assert streamed(hold, [ROLE, *MAIL, CALLS, usage(1, 2), DONE], nothing) == ROLE
    finish, *rest = events(hold.end())
    assert finish["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    assert rest == events(usage(1, 2) + DONE)
    assert not hold.waits


def test_text_passes_while_a_call_is_held() -> None:
    hold = guarding("mail")

    hold.feed(b"".join(MAIL[:2]))
    text = chunk({"content": "Meanwhile"})
    assert hold.feed(text) == text
    assert hold.feed(b": ping\n\n") == b": ping\n\n"


def test_text_and_call_in_one_chunk_are_parted() -> None:
    hold = guarding("mail")
    both = {"role": "assistant", "content": "Now", "tool_calls": [part(0, "{}", "mail", "c1")]}

    (said,) = events(hold.feed(chunk(both)))
    assert said["choices"][0]["delta"] == {"role": "assistant", "content": "Now"}
    assert hold.feed(CALLS) == b""
    (called, _) = events(hold.release("c1"))
    assert called["choices"][0]["delta"] == {"tool_calls": both["tool_calls"]}


def test_a_whole_call_with_its_finish_and_usage_is_parted() -> None:
    """Mistral's last chunk."""
    hold = guarding("mail")
    delta = {"content": "", "tool_calls": [part(0, "{}", "mail", "c1")]}
    last = chunk(delta, "tool_calls", usage={"prompt_tokens": 1})

    assert hold.feed(last + DONE) == b""
    assert hold.complete == [ToolCall("c1", "mail", "{}")]
    called, finish, _ = events(hold.release("c1"))
    assert "usage" not in called
    assert called["choices"][0]["finish_reason"] is None
    assert finish["choices"][0] == {"index": 0, "delta": {}, "finish_reason": "tool_calls"}
    assert finish["usage"] == {"prompt_tokens": 1}


def test_parallel_calls_in_one_delta_are_judged_one_by_one() -> None:
    hold = guarding("mail", "pay")
    three = [
        part(0, '{"n":1}', "mail", "c1"),
        part(1, "{}", "look", "c2"),
        part(2, "{}", "pay", "c3"),
    ]

    assert hold.feed(chunk({"tool_calls": three}, "tool_calls")) == b""
    assert [one.call_id for one in hold.complete] == ["c1"]
    (look,) = events(hold.drop("c1"))
    assert look["choices"][0]["delta"]["tool_calls"] == [{**three[1], "index": 0}]
    assert [one.call_id for one in hold.complete] == ["c3"]
    (pay,) = events(hold.release("c3"))
    assert pay["choices"][0]["delta"]["tool_calls"] == [{**three[2], "index": 1}]
    (finish,) = events(hold.end())
    assert finish["choices"][0]["finish_reason"] == "tool_calls"


def test_interleaved_calls_are_whole_when_their_json_is() -> None:
    """Where calls take turns, another call's delta does not end one."""
    hold = guarding("mail")

    hold.feed(MAIL[0])
    (begun,) = events(hold.feed(LOOK[0]))
    assert begun["choices"][0]["delta"]["tool_calls"][0]["index"] == 0
    hold.feed(MAIL[1])
    assert hold.complete == []
    hold.feed(MAIL[2])
    assert hold.feed(LOOK[1]) == b""
    assert [one.call_id for one in hold.complete] == ["c1"]
    released = events(hold.release("c1"))
    indexes = [event["choices"][0]["delta"]["tool_calls"][0]["index"] for event in released]
    assert indexes == [1, 1, 1, 0]


def test_a_call_that_is_not_judged_in_time_lets_others_pass() -> None:
    hold = guarding("mail")

    hold.feed(b"".join(MAIL))
    assert hold.feed(LOOK[0]) == b""
    first, second = events(hold.feed(LOOK[1]))
    assert first["choices"][0]["delta"]["tool_calls"][0]["index"] == 0
    assert second["choices"][0]["delta"]["tool_calls"][0]["index"] == 0
    (released, *_) = events(hold.release("c1"))
    assert released["choices"][0]["delta"]["tool_calls"][0]["index"] == 1


def test_without_indexes_a_name_begins_a_call() -> None:
    hold = guarding("mail")
    stream = [
        call(part(None, "{}", "look", "c1")),
        call(part(None, '{"a"', "mail", "c2")),
        call(part(None, ":1}")),
        call(part(None, "{}", "look", "c3")),
        CALLS,
    ]

    passed = events(streamed(hold, stream))

    calls = [event["choices"][0]["delta"].get("tool_calls", [None])[0] for event in passed]
    assert calls[0] == part(None, "{}", "look", "c1")
    assert [one["index"] for one in calls[1:4]] == [1, 1, 2]


def test_one_index_for_all_calls_is_put_right() -> None:
    """Gemini's."""
    hold = guarding("mail")
    one, two = part(0, "{}", "look", "c1"), part(0, "{}", "mail", "c2")

    passed = events(streamed(hold, [call(one), call(two), CALLS]))

    assert passed[0]["choices"][0]["delta"]["tool_calls"] == [one]
    assert passed[1]["choices"][0]["delta"]["tool_calls"] == [{**two, "index": 1}]


def test_a_call_without_a_name_waits_for_it() -> None:
    hold = guarding("mail")

    assert hold.feed(call(part(0, "", None, "c1"))) == b""
    assert hold.feed(call(part(0, "", "mail"))) == b""
    assert hold.complete == []
    free = guarding("mail")
    assert free.feed(call(part(0, "", None, "c1"))) == b""
    assert len(events(free.feed(call(part(0, "", "look"))))) == 2
    nameless = guarding("mail")
    assert nameless.feed(call(part(0, "{}", None, "c1"))) == b""
    assert nameless.feed(CALLS + DONE) == call(part(0, "{}", None, "c1")) + CALLS + DONE


def test_calls_without_ids_are_judged_in_order() -> None:
    hold = guarding("mail")
    one, two = part(0, '{"n":1}', "mail"), part(1, '{"n":2}', "mail")

    passed = streamed(hold, [call(one), call(two), CALLS], lambda made: "2" in made.arguments)

    (left,) = events(passed)
    assert left["choices"][0]["delta"]["tool_calls"] == [{**two, "index": 0}]


def test_the_function_call_of_old_is_held_too() -> None:
    hold = guarding("mail")
    legacy = chunk({"function_call": {"name": "mail", "arguments": "{}"}}, "function_call")

    assert hold.feed(legacy) == b""
    assert hold.complete == [ToolCall("", "mail", "{}")]
    assert json.loads(hold.turn())["function_call"] == {"name": "mail", "arguments": "{}"}
    assert hold.drop("") == b""
    (end,) = events(hold.end())
    assert end["choices"][0]["finish_reason"] == "stop"


def test_arguments_that_are_no_object_are_whole_at_the_end() -> None:
    hold = guarding("mail")

    hold.feed(call(part(0, "", "mail", "c1")))
    hold.feed(LOOK[0])
    assert hold.complete == []
    hold.feed(CALLS)
    assert hold.complete == [ToolCall("c1", "mail", "")]


def test_done_ends_calls_where_no_finish_reason_came() -> None:
    hold = guarding("mail")

    assert hold.feed(b"".join(MAIL) + DONE) == b""
    assert hold.release("c1") == b"".join(MAIL) + DONE


def test_choices_are_each_for_themselves() -> None:
    hold = guarding("mail")

    def of(index: int, delta: Event, finish: str | None = None) -> Event:
        return {"index": index, "delta": delta, "finish_reason": finish}

    def both(one: Event, two: Event) -> bytes:
        return b"data: " + json.dumps({"choices": [one, two]}).encode() + b"\n\n"

    started = both(
        of(0, {"tool_calls": [part(0, "{}", "mail", "c1")]}),
        of(1, {"tool_calls": [part(0, "{}", "look", "c2")]}),
    )
    (look,) = events(hold.feed(started))
    assert look["choices"] == [of(1, {"tool_calls": [part(0, "{}", "look", "c2")]})]
    text = both(of(0, {}), of(1, {"content": "a"}))
    hold.feed(text)
    judged(hold, nothing)
    hold.feed(both(of(0, {}, "tool_calls"), of(1, {}, "tool_calls")))
    ends = [event["choices"][0] for event in events(hold.end())]
    assert ends == [of(0, {}, "stop"), of(1, {}, "tool_calls")]


@pytest.mark.parametrize(
    "odd",
    [
        b"data: {\n\n",
        b"data: \xff\n\n",
        b'data: {"choices": 3}\n\n',
        b'data: {"choices": [{"delta": {"tool_calls": 3}}]}\n\n',
        b'data: {"error": {"message": "no"}}\n\n',
        b"event: x\n\n",
    ],
)
def test_what_cannot_be_read_passes(odd: bytes) -> None:
    hold = guarding("mail")

    hold.feed(b"".join(MAIL))

    assert hold.feed(odd) == odd


def test_a_call_beyond_the_bound_is_handed_over_and_its_rest_follows_the_verdict() -> None:
    bounds = Bounds(held_bytes=sum(map(len, MAIL[:2])) - 1)
    more = call(part(0, ':"a"}'))
    kept = HeldChat(everything, bounds)

    assert kept.feed(MAIL[0]) == b""
    kept.feed(MAIL[1])
    assert kept.complete == [ToolCall("c1", "mail", '{"to"')]
    assert kept.too_long == {"c1"}
    assert kept.release("c1") == MAIL[0] + MAIL[1]
    assert kept.feed(more + CALLS) == more + CALLS

    late = HeldChat(everything, bounds)
    late.feed(MAIL[0] + MAIL[1])
    assert late.feed(more) == b""
    assert (late.complete, late.too_long, late.dropped) == ([], set(), 1)
    assert late.feed(CALLS) == b""


def test_there_is_no_verdict_on_what_is_not_complete() -> None:
    hold = guarding("mail")
    hold.feed(MAIL[0])

    with pytest.raises(LookupError):
        hold.release("c1")
    with pytest.raises(LookupError):
        hold.drop("c2")


def test_an_event_cut_off_at_the_end_is_taken() -> None:
    hold = guarding("mail")

    hold.feed(b"".join(MAIL) + CALLS[:-2])
    assert hold.close() == b""
    assert hold.release("c1") == b"".join(MAIL) + CALLS
    whole = guarding("mail")
    assert whole.feed(ROLE[:-1]) + whole.close() == ROLE[:-1]


def test_the_turn_is_what_the_model_said() -> None:
    hold = guarding("mail")
    extra = {"extra_content": {"google": {"thought_signature": "abc"}}}
    stream = [
        chunk({"role": "assistant", "reasoning_content": "Hm"}),
        chunk({"reasoning_content": "m."}),
        chunk({"role": "assistant", "content": "I "}),
        chunk({"content": "mail."}),
        call({**part(0, "", "mail", "c1"), **extra}),
        call(part(0, "{}")),
        *LOOK,
        CALLS,
    ]

    streamed(hold, stream, nothing)

    assert json.loads(hold.turn()) == {
        "role": "assistant",
        "content": "I mail.",
        "reasoning_content": "Hmm.",
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "mail", "arguments": "{}"}}
            | extra,
            {"id": "c2", "type": "function", "function": {"name": "look", "arguments": '{"q":1}'}},
        ],
    }


def second(stream: bytes) -> bytes:
    return stream.replace(b"chatcmpl-1", b"chatcmpl-2").replace(b'"created": 7', b'"created": 8')


def test_another_stream_goes_on_from_here() -> None:
    hold = guarding("mail")
    first = [ROLE, chunk({"content": "So: "}), *MAIL, CALLS, usage(10, 5), DONE]
    passed = streamed(hold, first, nothing)
    turn = hold.turn()

    hold.splice()
    later = [ROLE, chunk({"role": "assistant", "content": "sent."}), STOP, usage(20, 7), DONE]
    passed += streamed(hold, [second(one) for one in later], nothing) + hold.end()

    said = events(passed)
    assert {(one["id"], one["created"]) for one in said[:-1]} == {("chatcmpl-1", 7)}
    deltas = [one["choices"][0]["delta"] for one in said if one.get("choices")]
    assert deltas == [
        {"role": "assistant", "content": ""},
        {"content": "So: "},
        {"content": "sent."},
        {},
    ]
    told = {"prompt_tokens": 30, "completion_tokens": 12, "details": {"a": 2}}
    assert said[-2]["usage"] == told
    assert passed.endswith(DONE)
    assert json.loads(turn)["tool_calls"][0]["id"] == "c1"
    assert json.loads(hold.turn()) == {"role": "assistant", "content": "sent."}


def test_calls_of_another_stream_are_numbered_on() -> None:
    hold = guarding("mail")
    streamed(hold, [*MAIL, *LOOK, CALLS], nothing)

    hold.splice()
    again = [ROLE, call(part(0, "{}", "look", "c3")), call(part(1, "{}", "mail", "c4")), CALLS]
    passed = events(streamed(hold, map(second, again)) + hold.end())

    calls = [one["choices"][0]["delta"].get("tool_calls") for one in passed]
    assert calls[1:3] == [[part(1, "{}", "look", "c3")], [part(2, "{}", "mail", "c4")]]


def test_usage_of_three_streams_is_added_up() -> None:
    hold = guarding("mail")
    for _ in range(2):
        streamed(hold, [*MAIL, CALLS, usage(10, 5), DONE], nothing)
        hold.splice()
    last = chunk(finish="stop", usage={"prompt_tokens": 1}, x_groq={"usage": {"prompt_tokens": 2}})

    (end,) = events(streamed(hold, [last]) + hold.end())

    assert end["usage"]["prompt_tokens"] == 21
    assert end["x_groq"]["usage"]["prompt_tokens"] == 22


def test_audio_is_sent_back_by_its_id() -> None:
    hold = guarding("mail")

    streamed(hold, [chunk({"audio": {"id": "audio_1", "data": "x"}}), STOP])

    assert json.loads(hold.turn())["audio"] == {"id": "audio_1"}


def test_what_is_not_judged_at_the_end_of_a_stream_is_gone() -> None:
    hold = guarding("mail")
    hold.feed(b"".join(MAIL) + CALLS)

    hold.splice()

    assert (hold.complete, hold.waits, hold.dropped) == ([], False, 0)
    passed = events(streamed(hold, [call(part(0, "{}", "look", "c2")), CALLS]) + hold.end())
    assert passed[0]["choices"][0]["delta"]["tool_calls"][0]["index"] == 0


def test_an_end_without_end_is_not_kept_whole() -> None:
    hold = HeldChat(everything, Bounds(held_bytes=2 * len(usage(1, 2))))
    hold.feed(MAIL[0])
    hold.feed(CALLS)
    hold.drop("c1")

    for _ in range(9):
        assert hold.feed(usage(1, 2)) == b""
    assert len(events(hold.end())) < 5


def test_data_of_several_lines_is_numbered_too() -> None:
    hold = guarding("mail")
    lines = b'event: a\ndata: {"choices":[{"delta":\ndata: {"tool_calls":[{"index":1,"id":"c2",'
    lines += b'"function":{"name":"look","arguments":"{}"}}]}}]}\n\n'

    passed = streamed(hold, [*MAIL, lines], nothing)

    name, data = passed.splitlines()[:2]
    assert name == b"event: a"
    assert json.loads(data[6:])["choices"][0]["delta"]["tool_calls"][0]["index"] == 0


def test_a_later_stream_that_cannot_be_read_passes() -> None:
    hold = guarding("mail")
    streamed(hold, [*MAIL, CALLS], nothing)
    hold.splice()

    for odd in (b"data: {\n\n", b'data: {"error":{"message":"no"}}\n\n', b": ping\n\n"):
        assert hold.feed(odd) == odd


def test_usage_that_groq_has_elsewhere_is_seen() -> None:
    hold = guarding("mail")
    groq = chunk(finish="tool_calls", x_groq={"id": "req_1", "usage": {"prompt_tokens": 9}})
    streamed(hold, [*MAIL, groq, DONE], nothing)
    hold.splice()

    said, end = events(hold.feed(second(chunk({"content": "a"}, x_groq={"id": "req_2"}) + groq)))
    assert said["x_groq"] == {"id": "req_2"}
    assert end["x_groq"]["usage"]["prompt_tokens"] == 18


def test_nothing_was_said_yet() -> None:
    hold = guarding("mail")

    assert json.loads(hold.turn()) == {"role": "assistant", "content": None}
    hold.feed(chunk({"content": ""}))
    assert json.loads(hold.turn()) == {"role": "assistant", "content": None}


def test_choices_that_finish_together_are_told_apart() -> None:
    hold = guarding("mail")

    def of(index: int, delta: Event | None, finish: str | None) -> Event:
        return {"index": index, "delta": delta, "finish_reason": finish}

    def both(one: Event, two: Event) -> bytes:
        return b"data: " + json.dumps({"choices": [one, two]}).encode() + b"\n\n"

    hold.feed(both(of(0, {"tool_calls": [part(0, "{}", "mail", "c1")]}, None), of(1, {}, None)))
    end = both(of(0, None, "tool_calls"), of(1, {"content": "a"}, "length"))
    said = events(streamed(hold, [end], nothing))
    said += events(hold.end())

    told = [(one["choices"][0]["delta"], one["choices"][0]["finish_reason"]) for one in said]
    assert told == [({"content": "a"}, None), ({}, "stop"), ({}, "length")]


def test_calls_that_are_not_guarded_pass_together() -> None:
    """As they came, while none was held."""
    hold = guarding("mail")
    two = chunk({"tool_calls": [part(0, "{}", "look", "c1"), part(1, "{}", "look", "c2")]})

    assert hold.feed(two) == two
    mail = call(part(2, "{}", "mail", "c3"))
    assert streamed(hold, [mail, CALLS]) == mail + CALLS


def test_choices_of_a_later_stream_end_each_as_it_has_calls() -> None:
    hold = guarding("mail")
    streamed(hold, [*MAIL, CALLS], nothing)
    hold.splice()
    one = {"index": 0, "delta": {}, "finish_reason": "tool_calls"}
    two = {"index": 1, "delta": {"tool_calls": [part(0, "{}", "look", "c2")]}}

    started = {"choices": [{"index": 0, "delta": None}, two]}
    hold.feed(b"data: " + json.dumps(started).encode() + b"\n\n")
    ended = {"choices": [one, {**one, "index": 1}]}
    (end,) = events(hold.feed(b"data: " + json.dumps(ended).encode() + b"\n\n"))

    assert [choice["finish_reason"] for choice in end["choices"]] == ["stop", "tool_calls"]
