"""Streamed answers, translated: laws over made ones, and what each odd thing becomes."""

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.dialects.base import Bounds, Dialect, Meter
from proxy.core.dialects.chat import CHAT
from proxy.core.dialects.messages import MESSAGES
from proxy.core.translation.base import Translation
from proxy.core.translation.chat_via_messages.translation import CHAT_VIA_MESSAGES
from proxy.core.translation.messages_via_chat.translation import MESSAGES_VIA_CHAT
from tests.unit.core.dialects.made import made
from tests.unit.core.dialects.metering import law, pieces

Json = dict[str, Any]

WAYS: dict[str, tuple[str, Dialect, Dialect, Translation]] = {
    "chat via messages": ("messages", MESSAGES, CHAT, CHAT_VIA_MESSAGES),
    "messages via chat": ("chat", CHAT, MESSAGES, MESSAGES_VIA_CHAT),
}
seeds = st.integers(0, 2**32)
cuts = st.lists(st.integers(0, 10**6), max_size=12)


def run(way: str, *chunks: bytes, close: bool = True) -> bytes:
    stream = WAYS[way][3].stream(b"{}", created=7)
    passed = b"".join([stream.feed(chunk) for chunk in chunks])
    return passed + (stream.close() if close else b"")


def metered(dialect: Dialect, stream: bytes) -> Meter:
    meter = dialect.meter(strip_usage=False, bounds=Bounds())
    meter.feed(stream)
    meter.close()
    return meter


def events(stream: bytes) -> list[Any]:
    """The data of each event; comments as text."""
    found: list[Any] = []
    for event in stream.decode().split("\n\n")[:-1]:
        data = [line[6:] for line in event.split("\n") if line.startswith("data: ")]
        found.append(event if not data or data == ["[DONE]"] else json.loads(data[0]))
    return found


def sse(*told: Json | str) -> bytes:
    written = [one if isinstance(one, str) else json.dumps(one) for one in told]
    return "".join([f"data: {one}\n\n" for one in written]).encode()


def chunk(delta: Json | None = None, finish: str | None = None, **more: Any) -> Json:
    choices = [{"index": 0, "delta": delta or {}, "finish_reason": finish}]
    return {"id": "c1", "model": "m", "choices": choices, **more}


def part(index: int | None, arguments: str = "", name: str | None = None, **more: Any) -> Json:
    function = {"arguments": arguments, **({"name": name} if name is not None else {})}
    numbered = {} if index is None else {"index": index}
    return {"tool_calls": [{**numbered, "function": function, **more}]}


def start(**usage: int) -> Json:
    used = {"input_tokens": 9, "output_tokens": 1, **usage}
    message: Json = {"id": "msg_1", "model": "m", "content": [], "stop_reason": None, "usage": used}
    return {"type": "message_start", "message": message}


def block(index: int, **block: Any) -> Json:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, **delta: Any) -> Json:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def stop(index: int) -> Json:
    return {"type": "content_block_stop", "index": index}


def end(reason: str | None = "end_turn", **usage: Any) -> Json:
    used = usage or {"output_tokens": 5}
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": used}


STOP: Json = {"type": "message_stop"}


@pytest.mark.parametrize("way", WAYS)
@law
@given(seed=seeds, places=cuts)
def test_a_stream_becomes_the_same_bytes_however_it_is_cut(
    way: str, seed: int, places: list[int]
) -> None:
    stream = made(WAYS[way][0], Random(seed)).stream

    assert run(way, *pieces(stream, places)) == run(way, stream)


@pytest.mark.parametrize("way", WAYS)
@law
@given(seed=seeds)
def test_text_calls_and_usage_arrive(way: str, seed: int) -> None:
    name, spoken, client, _ = WAYS[way]
    stream = made(name, Random(seed)).stream
    read, seen = metered(spoken, stream), metered(client, run(way, stream))

    assert seen.answer().text == read.answer().text
    told = [(call.call_id, call.name, call.arguments) for call in read.answer().tool_calls]
    assert [(c.call_id, c.name, c.arguments) for c in seen.answer().tool_calls] == told
    assert seen.usage == read.usage
    assert (seen.ended, seen.finish_seen, seen.failed, seen.malformed) == (True, True, None, 0)


@law
@given(seed=seeds)
def test_the_blocks_of_a_message_follow_each_other(seed: int) -> None:
    """Each begins, is told and ends before the next, whatever chat mixes up: SDKs count on it."""
    open_block, blocks = None, 0
    for event in events(run("messages via chat", made("chat", Random(seed)).stream)):
        kind = event["type"] if isinstance(event, dict) else ""
        if kind == "content_block_start":
            assert (open_block, event["index"]) == (None, blocks)
            open_block, blocks = blocks, blocks + 1
        elif kind == "content_block_delta":
            assert event["index"] == open_block
        elif kind == "content_block_stop":
            assert event["index"] == open_block
            open_block = None
        elif kind in ("message_delta", "message_stop"):
            assert open_block is None


@pytest.mark.parametrize("way", WAYS)
@law
@given(seed=seeds, place=st.integers(0, 10**6))
def test_a_stream_that_breaks_off_stays_broken_off(way: str, seed: int, place: int) -> None:
    """Its end is never made up, and what had come of it is shown."""
    name, spoken, client, _ = WAYS[way]
    stream = made(name, Random(seed)).stream
    cut = stream[: place % len(stream)]
    read, seen = metered(spoken, cut), metered(client, run(way, cut))

    whole = read.ended or read.finish_seen
    assert (seen.ended or seen.finish_seen) is whole
    assert seen.failed is None  # nor is it told as an error of the provider's
    assert read.answer().text.startswith(seen.answer().text)
    if way == "chat via messages":
        assert seen.answer().text == read.answer().text
        assert whole or seen.usage == read.usage


@pytest.mark.parametrize("way", WAYS)
def test_nothing_follows_the_end(way: str) -> None:
    """Not what a provider sends behind it, and not the end once more."""
    stream = made(WAYS[way][0], Random(3)).stream

    assert run(way, stream, stream) == run(way, stream)


@pytest.mark.parametrize("way", WAYS)
@given(junk=st.binary(max_size=200), places=cuts)
@law
def test_anything_at_all_is_taken_without_raising(way: str, junk: bytes, places: list[int]) -> None:
    stream = b"data: " + junk + b"\n\n" + junk

    assert run(way, *pieces(stream, places)) == run(way, stream)


@pytest.mark.parametrize("way", WAYS)
@law
@given(seed=seeds)
def test_one_line_that_cannot_be_read_is_left_out_but_within_a_call(way: str, seed: int) -> None:
    """There, what is left of the arguments may parse, and be run: `rm -r /a` of `rm -r /a/b`."""
    whole = made(WAYS[way][0], Random(seed))
    place = Random(seed).randrange(len(whole.events))
    marred = [*whole.events[:place], b'data: {"id": \n\n', *whole.events[place:]]
    told = run(way, b"".join(marred))

    meter = metered(WAYS[way][2], told)
    if meter.failed is None:
        assert told == run(way, whole.stream)
    else:
        assert (meter.failed, bool(whole.calls)) == ("A part of a tool call cannot be read.", True)
        assert not meter.finish_seen


class TestChatViaMessages:
    WAY = "chat via messages"

    def test_the_events_become_chunks(self) -> None:
        told = events(
            run(
                self.WAY,
                sse(
                    start(cache_read_input_tokens=4),
                    block(0, type="thinking", thinking=""),
                    delta(0, type="thinking_delta", thinking="hm"),
                    delta(0, type="signature_delta", signature="s"),
                    stop(0),
                    block(1, type="text", text="So"),
                    delta(1, type="text_delta", text=", yes"),
                    stop(1),
                    block(2, type="tool_use", id="t1", name="look", input={}),
                    delta(2, type="input_json_delta", partial_json=""),
                    delta(2, type="input_json_delta", partial_json='{"q":1}'),
                    stop(2),
                    block(3, type="tool_use", id="t2", name="pay", input={}),
                    stop(3),
                    {"type": "ping"},
                    end("tool_use", output_tokens=50),
                    STOP,
                ),
            )
        )
        head = {"id": "msg_1", "object": "chat.completion.chunk", "created": 7, "model": "m"}

        def told_chunk(delta: Json, finish: str | None = None) -> Json:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
            return {**head, "choices": [choice]}

        def begun(index: int, call_id: str, name: str) -> Json:
            function = {"name": name, "arguments": ""}
            call = {"index": index, "id": call_id, "type": "function", "function": function}
            return {"tool_calls": [call]}

        usage = {
            "prompt_tokens": 13,
            "completion_tokens": 50,
            "total_tokens": 63,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {},
        }
        assert told == [
            told_chunk({"role": "assistant", "content": ""}),
            told_chunk({"reasoning_content": "hm"}),
            told_chunk({"content": "So"}),
            told_chunk({"content": ", yes"}),
            told_chunk(begun(0, "t1", "look")),
            told_chunk(part(0, '{"q":1}')),
            told_chunk(begun(1, "t2", "pay")),
            ": keep-alive",
            told_chunk(part(1, "{}")),
            told_chunk({}, "tool_calls"),
            {**head, "choices": [], "usage": usage},
            "data: [DONE]",
        ]

    def test_an_input_may_stand_in_the_beginning_of_its_call(self) -> None:
        stream = sse(start(), block(0, type="tool_use", id="t", name="f", input={"q": 1}), end())
        meter = metered(CHAT, run(self.WAY, stream))

        assert [call.arguments for call in meter.answer().tool_calls] == ['{"q": 1}']
        assert meter.answer().finish_reason == "tool_calls"

    def test_deltas_of_the_providers_own_tools_are_not_arguments(self) -> None:
        stream = sse(
            start(),
            block(0, type="tool_use", id="t", name="f", input={}),
            delta(0, type="input_json_delta", partial_json="{}"),
            stop(0),
            block(1, type="server_tool_use", id="s", name="web_search", input={}),
            delta(1, type="input_json_delta", partial_json='{"query":1}'),
            stop(1),
            end(),
            STOP,
        )

        meter = metered(CHAT, run(self.WAY, stream))
        assert [call.arguments for call in meter.answer().tool_calls] == ["{}"]
        assert meter.ended

    def test_an_error_event_ends_it_with_one_and_nothing_follows(self) -> None:
        error = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
        told = events(run(self.WAY, sse(start(), error, end(), STOP)))

        assert told[-1] == {
            "type": "error",
            "error": {
                "message": "busy",
                "type": "server_error",
                "param": None,
                "code": "overloaded",
            },
        }
        assert told[-2]["usage"]["prompt_tokens"] == 9  # what it began with is billed

    def test_an_error_may_have_no_type(self) -> None:
        meter = metered(CHAT, run(self.WAY, sse({"error": "odd"})))

        assert (meter.failed, meter.ended, meter.usage) == ("odd", False, None)

    def test_a_name_stands_for_a_type_that_is_left_out(self) -> None:
        stream = sse(start(), end()) + b"event: message_stop\ndata: {}\n\n"

        assert run(self.WAY, stream).endswith(b"}\n\ndata: [DONE]\n\n")

    def test_what_an_end_does_not_tell_of_its_output_is_not_made_up(self) -> None:
        """The figure that a message begins with would bill an answer of thousands as one token."""
        told = run(self.WAY, sse(start(), end("end_turn", input_tokens=9), STOP))

        assert metered(CHAT, told).usage is None

    def test_figures_are_told_once(self) -> None:
        """Clients add them up."""
        told = run(self.WAY, sse(start(), end()))

        assert told.count(b'"usage"') == 1
        assert metered(CHAT, told).finish_seen

    def test_figures_on_the_way_wait_for_the_end(self) -> None:
        told = run(self.WAY, sse(start(), end(None, output_tokens=3), end(), STOP))
        usage = metered(CHAT, told).usage

        assert told.count(b'"usage"') == 1
        assert usage is not None
        assert usage.output_tokens == 5

    def test_figures_on_the_way_are_told_where_there_is_no_end(self) -> None:
        usage = metered(CHAT, run(self.WAY, sse(start(), end(None, output_tokens=3)))).usage

        assert usage is not None
        assert (usage.input_tokens, usage.output_tokens) == (9, 3)

    def test_figures_may_follow_the_reason(self) -> None:
        later = {"type": "message_delta", "usage": {"output_tokens": 6}}
        usage = metered(CHAT, run(self.WAY, sse(start(), end(), later, STOP))).usage

        assert usage is not None
        assert usage.output_tokens == 6

    def test_figures_of_nothing_but_noughts_are_none(self) -> None:
        stream = sse(start(input_tokens=0, output_tokens=0), end("end_turn", output_tokens=0), STOP)
        meter = metered(CHAT, run(self.WAY, stream))

        assert (meter.usage, meter.ended) == (None, True)

    def test_an_event_that_is_too_long_is_an_error(self) -> None:
        """It is lost, and an answer without it would look whole."""
        told = run(self.WAY, sse(start()), b"data: " + b"x" * (Bounds().sse_line_bytes + 1))

        assert metered(CHAT, told).failed == "An event of the provider is too long."

    @pytest.mark.parametrize(
        "odd",
        [
            {"type": "message_start", "message": 7},
            block(0),
            {"type": "content_block_start", "index": 0},
            {"type": "content_block_delta", "index": 0},
            delta(0, type="text_delta", text=7),
            {"type": "news"},
            stop(9),
        ],
    )
    def test_what_is_odd_is_passed_over(self, odd: Json) -> None:
        assert run(self.WAY, sse(odd)) == b""

    @pytest.mark.parametrize(
        "odd",
        [
            sse(delta(1, type="input_json_delta", partial_json="{}")),
            sse(delta(0, type="input_json_delta", partial_json=["{"])),
            b"data: {\n\n",
        ],
    )
    def test_a_part_of_a_call_that_is_lost_is_an_error(self, odd: bytes) -> None:
        """Of one whose beginning could not be read, too."""
        begun = sse(start(), block(0, type="tool_use", id="t", name="f", input={}))
        meter = metered(CHAT, run(self.WAY, begun, odd, sse(stop(0), end(), STOP)))

        assert meter.failed == "A part of a tool call cannot be read."

    @pytest.mark.parametrize("before", [[], [block(0, type="text", text="a"), stop(0)]])
    def test_a_line_that_is_lost_outside_of_calls_is_not(self, before: list[Json]) -> None:
        meter = metered(
            CHAT, run(self.WAY, sse(start(), *before), b"data: {\n\n", sse(end(), STOP))
        )

        assert (meter.failed, meter.ended) == (None, True)

    def test_content_without_a_beginning_is_shown(self) -> None:
        told = run(self.WAY, sse(delta(0, type="text_delta", text="a")))

        assert metered(CHAT, told).answer().text == "a"

    def test_comments_keep_the_client_waiting(self) -> None:
        assert run(self.WAY, b": hello\n\nevent: x\n\n") == b": keep-alive\n\n"


class TestMessagesViaChat:
    WAY = "messages via chat"

    def test_the_chunks_become_events(self) -> None:
        told = events(
            run(
                self.WAY,
                b": PROCESSING\n\n",
                sse(
                    {"id": "", "choices": [], "prompt_filter_results": []},
                    chunk({"role": "assistant", "content": ""}),
                    chunk({"reasoning_content": "hm"}),
                    chunk({"content": "So"}),
                    chunk(part(0, "", "look", id="c1", type="function")),
                    chunk(part(0, '{"q":1}')),
                    chunk({}, "tool_calls"),
                    {
                        "choices": [],
                        "usage": {
                            "prompt_tokens": 13,
                            "completion_tokens": 50,
                            "prompt_tokens_details": {"cached_tokens": 4},
                        },
                    },
                    "[DONE]",
                ),
            )
        )
        nothing = {
            "input_tokens": 0,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 0,
        }
        message: Json = {"id": "c1", "type": "message", "role": "assistant", "model": "m"}
        message |= {"content": [], "stop_reason": None, "stop_sequence": None, "usage": nothing}
        used = {**nothing, "input_tokens": 9, "cache_read_input_tokens": 4, "output_tokens": 50}
        last = {"stop_reason": "tool_use", "stop_sequence": None}
        assert told == [
            ": keep-alive",
            {"type": "message_start", "message": message},
            {"type": "ping"},
            {"type": "ping"},
            block(0, type="text", text=""),
            delta(0, type="text_delta", text="So"),
            stop(0),
            block(1, type="tool_use", id="c1", name="look", input={}),
            delta(1, type="input_json_delta", partial_json='{"q":1}'),
            stop(1),
            {"type": "message_delta", "delta": last, "usage": used},
            {"type": "message_stop"},
        ]

    def test_calls_that_come_in_turn_follow_each_other(self) -> None:
        stream = sse(
            chunk(part(0, '{"a"', "f", id="c0")),
            chunk(part(1, '{"b"', "g", id="c1")),
            chunk({"content": "x"}),
            chunk(part(0, ":1}")),
            chunk(part(1, ":2}")),
            chunk({}, "tool_calls"),
        )
        told = [event for event in events(run(self.WAY, stream)) if event["type"] != "ping"]

        assert [event.get("index") for event in told] == [
            *(None, 0, 0, 0, 0),
            *(1, 1, 1, 1),
            *(2, 2, 2),
            *(None, None),
        ]

    def test_a_call_that_is_whole_does_not_wait(self) -> None:
        """The next begins: the first was all, and its end is shown at once."""
        told = run(
            self.WAY,
            sse(chunk(part(0, '{"a":1}', "f", id="c0")), chunk(part(1, "", "g", id="c1"))),
            close=False,
        )

        assert [event["type"] for event in events(told)][-2:] == [
            "content_block_stop",
            "content_block_start",
        ]

    def test_arguments_that_are_never_whole_wait_for_the_end(self) -> None:
        stream = [
            chunk(part(0, '{"a":}', "f", id="c0")),
            chunk(part(1, "{}", "g", id="c1")),
        ]
        assert b'"g"' not in run(self.WAY, sse(*stream), close=False)
        meter = metered(MESSAGES, run(self.WAY, sse(*stream, "[DONE]")))

        assert [call.arguments for call in meter.answer().tool_calls] == ['{"a":}', "{}"]

    def test_a_call_is_not_read_again_and_again(self) -> None:
        """Broken arguments of many pieces must not cost their square: then all wait for the end."""
        broken = [
            chunk(part(0, '{"a":"', "f", id="c0")),
            chunk(part(1, "{}", "g", id="c1")),
            *[chunk(part(0, "}")) for _ in range(100)],
            chunk(part(0, '"}')),
        ]
        assert b'"g"' not in run(self.WAY, sse(*broken), close=False)

        answer = metered(MESSAGES, run(self.WAY, sse(*broken, "[DONE]"))).answer()
        assert [len(call.arguments) for call in answer.tool_calls] == [108, 2]

    def test_without_numbers_an_id_begins_a_call(self) -> None:
        """As the meter of chat reads it."""
        stream = sse(
            chunk(part(None, "{}", "f", id="a")),
            chunk(part(None, "{", None, id="b")),
            chunk(part(None, "}")),
            "[DONE]",
        )
        read, seen = metered(CHAT, stream), metered(MESSAGES, run(self.WAY, stream))

        assert seen.answer().tool_calls == read.answer().tool_calls
        assert len(seen.answer().tool_calls) == 2

    def test_a_name_may_come_late(self) -> None:
        stream = sse(
            chunk(part(0, "", id="c0")), chunk(part(0, "{}", "f")), chunk({}, "tool_calls")
        )
        told = metered(MESSAGES, run(self.WAY, stream)).answer().tool_calls

        assert [(call.call_id, call.name, call.arguments) for call in told] == [("c0", "f", "{}")]

    def test_gemini_numbers_all_calls_alike(self) -> None:
        stream = sse(
            chunk(part(0, "{}", "f", id="a")),
            chunk(part(0, '{"x":1}', "g", id="b")),
            chunk({}, "stop"),
        )
        answer = metered(MESSAGES, run(self.WAY, stream)).answer()

        assert [(c.call_id, c.arguments) for c in answer.tool_calls] == [
            ("a", "{}"),
            ("b", '{"x":1}'),
        ]
        assert answer.finish_reason == "tool_use"

    def test_ids_that_anthropic_refuses_are_made_anew(self) -> None:
        """The client's next request may go there. Each is one of its own, the same every time."""
        stream = sse(
            chunk(part(0, "{}", "f", id="functions.f:0")),
            chunk(part(1, "{}", "f")),
            chunk(part(2, "{}", "f")),
            chunk(part(3, "{}", "f", id="fine_1")),
            "[DONE]",
        )
        told = metered(MESSAGES, run(self.WAY, stream)).answer().tool_calls
        ids = [call.call_id for call in told]

        assert ids == [
            c.call_id for c in metered(MESSAGES, run(self.WAY, stream)).answer().tool_calls
        ]
        assert len(set(ids)) == 4
        assert ids[3] == "fine_1"
        assert all(one.replace("_", "").isalnum() for one in ids)

    def test_another_answer_has_other_ids(self) -> None:
        call = part(0, "{}", "f")
        ids = [
            metered(MESSAGES, run(self.WAY, sse({**chunk(call), "id": answer}, "[DONE]")))
            .answer()
            .tool_calls[0]
            .call_id
            for answer in ("a", "b")
        ]

        assert ids[0] != ids[1]

    def test_answers_without_an_id_are_told_apart_by_their_time(self) -> None:
        stream = sse({**chunk(part(0, "{}", "f")), "id": ""}, "[DONE]")
        told = [MESSAGES_VIA_CHAT.stream(b"{}", created=at).feed(stream) for at in (7, 8)]
        ids = [metered(MESSAGES, one).answer().tool_calls[0].call_id for one in told]

        assert ids[0] != ids[1]

    def test_an_error_ends_it_with_one_and_nothing_follows(self) -> None:
        usage = {"prompt_tokens": 9, "completion_tokens": 2}
        error = {**chunk({}), "error": {"message": "busy", "code": 503}, "usage": usage}
        told = events(
            run(self.WAY, sse(chunk({"content": "a"}), error, chunk({}, "stop"), "[DONE]"))
        )

        assert told[-1] == {
            "type": "error",
            "error": {"type": "overloaded_error", "message": "busy"},
        }
        assert told[-2]["delta"]["stop_reason"] is None
        assert told[-2]["usage"]["input_tokens"] == 9

    @pytest.mark.parametrize(
        "error",
        [
            sse({"error": {"message": "busy"}}),
            sse({"error": "busy", "choices": 7}),
            sse({"choices": [], "x_groq": {"error": "busy"}}),
            b'event: error\ndata: {"message": "busy"}\n\n',
            b'event: error\ndata: {"type": "error", "error": {"message": "busy"}}\n\n',
        ],
    )
    def test_an_error_is_found_wherever_providers_put_it(self, error: bytes) -> None:
        assert metered(MESSAGES, run(self.WAY, error, sse("[DONE]"))).failed == "busy"

    def test_usage_beside_choices_that_cannot_be_read_is_read(self) -> None:
        odd = {"choices": 7, "usage": {"prompt_tokens": 9, "completion_tokens": 2}}
        usage = metered(MESSAGES, run(self.WAY, sse(chunk({"content": "a"}, "stop"), odd))).usage

        assert usage is not None
        assert (usage.input_tokens, usage.output_tokens) == (9, 2)

    def test_groq_tells_usage_in_a_place_of_its_own(self) -> None:
        x_groq = {"usage": {"prompt_tokens": 9, "completion_tokens": 2}}
        stream = sse(chunk({"content": "a"}), chunk({}, "stop", x_groq=x_groq), "[DONE]")
        usage = metered(MESSAGES, run(self.WAY, stream)).usage

        assert usage is not None
        assert usage.total_tokens == 11

    def test_usage_stands_where_nothing_later_is_told(self) -> None:
        usage = {"prompt_tokens": 9, "completion_tokens": 2}
        stream = sse(chunk({"content": "a"}, "stop", usage=usage), chunk({}, usage=None), "[DONE]")
        told = metered(MESSAGES, run(self.WAY, stream)).usage

        assert told is not None
        assert told.total_tokens == 11

    def test_usage_that_is_not_told_is_unknown(self) -> None:
        """Not nought: then all that is held is billed by count."""
        stream = sse(chunk({"content": "a"}, "stop"), "[DONE]")
        meter = metered(MESSAGES, run(self.WAY, stream))

        assert (meter.usage, meter.ended) == (None, True)

    def test_figures_of_a_stream_that_breaks_off_are_told(self) -> None:
        """Some providers tell them in every chunk."""
        usage = {"prompt_tokens": 9, "completion_tokens": 2}
        meter = metered(MESSAGES, run(self.WAY, sse(chunk({"content": "a"}, usage=usage))))

        assert meter.usage is not None
        assert (meter.usage.input_tokens, meter.finish_seen) == (9, False)

    @pytest.mark.parametrize(
        "odd", [b"data: {\n\n", sse({"choices": [{"delta": {"tool_calls": 7}}]}), sse("7")]
    )
    def test_a_part_of_a_call_that_is_lost_is_an_error(self, odd: bytes) -> None:
        call = sse(chunk({"content": "a"}), chunk(part(0, '{"a":', "f", id="c")))
        end_of_it = sse(chunk(part(0, "1}")), chunk({}, "tool_calls"), "[DONE]")
        meter = metered(MESSAGES, run(self.WAY, call, odd, end_of_it))

        assert meter.failed == "A part of a tool call cannot be read."

    @pytest.mark.parametrize(
        "before",
        [
            [chunk({"content": "a"})],
            [chunk(part(0, "{}", "f"), "stop")],
            [chunk(part(0, "{}", "f")), chunk({"content": "a"})],
        ],
    )
    def test_a_line_that_is_lost_outside_of_calls_is_not(self, before: list[Json]) -> None:
        """At the end, all of a call has come, or when another block has begun."""
        meter = metered(MESSAGES, run(self.WAY, sse(*before), b"data: {\n\n", sse("[DONE]")))

        assert (meter.failed, meter.ended) == (None, True)

    def test_usage_alone_in_the_middle_of_a_call_is_none_of_it(self) -> None:
        """Some tell it on the way, without choices."""
        usage = {"usage": {"prompt_tokens": 9, "completion_tokens": 2}}
        call = chunk(part(0, '{"a":', "f", id="c"))
        stream = sse(call, usage, chunk(part(0, "1}")), chunk({}, "tool_calls"), "[DONE]")

        assert metered(MESSAGES, run(self.WAY, stream)).failed is None

    def test_a_refusal_is_text_and_a_reason(self) -> None:
        stream = sse(chunk({"refusal": "no"}), chunk({}, "content_filter"))
        answer = metered(MESSAGES, run(self.WAY, stream)).answer()

        assert (answer.text, answer.finish_reason) == ("no", "refusal")

    def test_a_stream_of_no_answer_is_none(self) -> None:
        assert run(self.WAY, sse({"choices": []}, "[DONE]")) == b""

    def test_other_choices_are_left_out(self) -> None:
        second = {"choices": [{"index": 1, "delta": {"content": "b"}}]}
        told = metered(MESSAGES, run(self.WAY, sse(chunk({"content": "a"}), second, "[DONE]")))

        assert told.answer().text == "a"

    def test_an_event_that_is_too_long_is_an_error(self) -> None:
        told = run(self.WAY, b"data: " + b"x" * (Bounds().sse_line_bytes + 1))

        assert metered(MESSAGES, told).failed == "An event of the provider is too long."
