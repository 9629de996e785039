"""What hostile, odd and unlucky providers and clients send: translated without harm."""

import json
from itertools import pairwise
from typing import Any

import pytest

from proxy.core.dialects.chat import CHAT
from proxy.core.dialects.messages import MESSAGES
from proxy.core.dialects.responses import RESPONSES
from proxy.core.translation.base import Translation, Untranslatable
from proxy.core.translation.chat_via_messages.translation import CHAT_VIA_MESSAGES
from proxy.core.translation.messages_via_chat.translation import MESSAGES_VIA_CHAT
from proxy.core.translation.registry import translation
from proxy.core.translation.responses_via_chat.custom_input import CustomInput
from proxy.core.translation.responses_via_chat.translation import RESPONSES_VIA_CHAT
from tests.unit.core.translation.carrying import Json, request
from tests.unit.core.translation.test_streams import (
    STOP,
    block,
    chunk,
    delta,
    end,
    events,
    metered,
    part,
    run,
    sse,
    start,
    stop,
)

RESPONSE = json.dumps({"model": "m", "input": "hi"}).encode()


def streamed(way: Translation, stream: bytes) -> bytes:
    told = way.stream(RESPONSE, created=7)
    return told.feed(stream) + told.close()


def text(**members: Any) -> bytes:
    return json.dumps(members).encode()


class TestChatViaMessages:
    WAY = "chat via messages"

    def test_blocks_may_all_have_one_number(self) -> None:
        """Imitators number none. A call without its arguments would be run with none."""
        for ends in ([stop(0)], []):
            stream = sse(
                start(),
                block(0, type="text", text="So"),
                *ends,
                block(0, type="tool_use", id="t1", name="look", input={}),
                delta(0, type="input_json_delta", partial_json='{"q":1}'),
                *ends,
                block(0, type="tool_use", id="t2", name="pay", input={"q": 2}),
                *ends,
                block(0, type="tool_use", id="t3", name="pay", input={}),
                delta(0, type="input_json_delta", partial_json='{"q":3}'),
                end("tool_use"),
                STOP,
            )
            answer = metered(CHAT, run(self.WAY, stream)).answer()

            written = [call.arguments.replace(" ", "") for call in answer.tool_calls]
            assert written == ['{"q":1}', '{"q":2}', '{"q":3}']

    @pytest.mark.parametrize("told", [[], [{"type": "message_delta", "usage": {}}]])
    def test_an_end_without_its_reason_is_one(self, told: list[Json]) -> None:
        """Else an agent takes the call for nothing, and its arguments are missing."""
        called = block(0, type="tool_use", id="t1", name="look", input={"q": 1})
        answer = metered(CHAT, run(self.WAY, sse(start(), called, *told, STOP))).answer()

        assert answer.finish_reason == "tool_calls"
        assert [call.arguments for call in answer.tool_calls] == ['{"q": 1}']

    def test_figures_are_told_once_where_the_end_has_no_reason(self) -> None:
        late = {"type": "message_delta", "delta": {"stop_reason": None}, "usage": {}}
        late["usage"] = {"output_tokens": 6}
        passed = events(run(self.WAY, sse(start(), late, STOP)))

        assert [one["usage"]["completion_tokens"] for one in passed[:-1] if one.get("usage")] == [6]

    def test_what_is_over_before_it_began_is_no_answer(self) -> None:
        assert run(self.WAY, sse(STOP)) == b""
        both = translation("responses", "messages")
        assert both is not None
        assert streamed(both, sse(STOP)) == b""

    def test_an_end_is_told_once(self) -> None:
        passed = events(run(self.WAY, sse(start(), end(), end("max_tokens"), STOP)))
        ends = [one["choices"][0]["finish_reason"] for one in passed[:-1] if one.get("choices")]

        assert ends == [None, "stop"]

    @pytest.mark.parametrize("ends", [[stop(0)], []])
    def test_a_call_that_is_cut_before_its_arguments_has_none(self, ends: list[Json]) -> None:
        """`{}` could be run."""
        called = block(0, type="tool_use", id="t1", name="wipe", input={})
        answer = metered(
            CHAT, run(self.WAY, sse(start(), called, *ends, end("max_tokens"), STOP))
        ).answer()

        assert [call.arguments for call in answer.tool_calls] == [""]
        assert answer.finish_reason == "length"

    def test_a_call_that_begins_twice_is_one(self) -> None:
        """Another one without arguments would be run."""
        called = block(0, type="tool_use", id="t1", name="wipe", input={})
        wrote = delta(0, type="input_json_delta", partial_json='{"q":1}')
        told = sse(start(), called, called, wrote, stop(0), end("tool_use"), STOP)
        answer = metered(CHAT, run(self.WAY, told)).answer()

        assert [call.arguments for call in answer.tool_calls] == ['{"q":1}']

    def test_a_call_that_cannot_be_read_is_not_left_out(self) -> None:
        """Its answer would end like one that is done."""
        called = block(0, type="tool_use", id=5, name="look", input={})
        meter = metered(CHAT, run(self.WAY, sse(start(), called, stop(0), end("tool_use"), STOP)))

        assert (meter.failed is not None, meter.ended) == (True, False)

    @pytest.mark.timeout(10)
    @pytest.mark.parametrize("call_id", ["c", "", "é"])
    def test_ids_that_all_are_the_same_take_no_longer(self, call_id: str) -> None:
        call = {"id": call_id, "type": "function", "function": {"name": "f", "arguments": "{}"}}
        asks = {"role": "assistant", "tool_calls": [call]}
        result = {"role": "tool", "tool_call_id": call_id, "content": "x"}
        for messages in ([asks, result] * 12_000, [asks] * 12_000 + [result] * 12_000):
            told = request(CHAT_VIA_MESSAGES, {"model": "m", "messages": messages})
            blocks = [one for turn in told["messages"] for one in turn["content"]]
            asked = [one["id"] for one in blocks if one["type"] == "tool_use"]
            assert [one["tool_use_id"] for one in blocks if "tool_use_id" in one] == asked
            assert len(set(asked)) == 12_000


class TestMessagesViaChat:
    WAY = "messages via chat"

    def test_what_ends_in_an_error_does_not_look_finished(self) -> None:
        """OpenRouter ends so, at times without an error beside."""
        stream = run(self.WAY, sse(chunk({"content": "So"}), chunk({}, "error"), "[DONE]"))
        meter = metered(MESSAGES, stream)

        assert (meter.failed, meter.finish_seen) == (
            "The provider ended the answer with an error.",
            False,
        )
        assert b"message_stop" not in stream
        choice = {"index": 0, "message": {"content": "So"}, "finish_reason": "error"}
        body = text(id="c", choices=[choice])
        whole = MESSAGES_VIA_CHAT.answer(body, asked=b"", created=7)
        assert MESSAGES.read_answer(whole).malformed is not None

    def test_an_id_that_is_none_is_not_shown(self) -> None:
        deep = "[" * 900 + "]" * 900
        odd = json.dumps(chunk({"content": "x"})).replace('"c1"', deep)
        (told, *_) = events(run(self.WAY, sse(odd)))

        assert told["message"]["id"] == ""

    def test_a_schema_may_require_what_is_no_name(self) -> None:
        schema = {"properties": {}, "additionalProperties": False, "required": [[1], {}, None]}
        body = {
            "model": "m",
            "messages": [],
            "tools": [{"name": "f", "strict": True, "input_schema": schema}],
        }
        assert request(MESSAGES_VIA_CHAT, body)["tools"][0]["function"]["parameters"] == schema

    @pytest.mark.timeout(10)
    def test_messages_without_end_of_one_user_take_no_longer(self) -> None:
        content = "x" * 400
        shown = {"type": "image", "source": {"type": "url", "url": "https://x"}}
        for last in (content, [shown]):
            turns = [{"role": "user", "content": content}] * 60_000
            told = request(
                MESSAGES_VIA_CHAT,
                {"model": "m", "messages": [*turns, {"role": "user", "content": last}]},
            )
            assert len(told["messages"]) == 1

    @pytest.mark.timeout(10)
    def test_what_waits_behind_a_call_without_end_takes_no_longer(self) -> None:
        stream = MESSAGES_VIA_CHAT.stream(b"{}", created=7)
        stream.feed(sse(chunk(part(0, '{"q":"', "f")), chunk({"content": "x"})))
        stream.feed(sse(chunk(part(0, "a" * 4_000_000))))
        for _ in range(40):
            stream.feed(sse(chunk({"content": "x"})) * 2_000)
        passed = stream.feed(sse(chunk(part(0, '"}')), "[DONE]"))

        assert metered(MESSAGES, passed).ended


class TestResponsesViaChat:
    def test_nothing_but_an_end_is_no_answer(self) -> None:
        assert streamed(RESPONSES_VIA_CHAT, sse("[DONE]")) == b""

    def test_parts_that_cannot_be_read_are_no_answer(self) -> None:
        content = [{"type": "thinking", "thinking": [5]}]
        choice = {"index": 0, "message": {"content": content}, "finish_reason": "stop"}
        told = RESPONSES_VIA_CHAT.answer(text(id="c", choices=[choice]), asked=RESPONSE, created=7)

        assert RESPONSES.read_answer(told).malformed is not None

    def test_a_thought_that_is_none_hides_no_text(self) -> None:
        content = [
            {"type": "thinking", "thinking": [{"type": "text", "text": None}]},
            {"type": "text", "text": "So"},
        ]
        told = streamed(RESPONSES_VIA_CHAT, sse(chunk({"content": content}), chunk({}, "stop")))

        assert metered(RESPONSES, told).answer().text == "So"

    @pytest.mark.timeout(10)
    def test_arguments_of_nothing_but_spaces_take_no_longer(self) -> None:
        for begin in ("", '{"input": "\\d', "{ "):
            growing = CustomInput()
            growing.feed(begin)
            for _ in range(200_000):
                growing.feed(" " * 20)
            growing.close()

    def test_a_text_that_begins_late_is_read_at_its_end(self) -> None:
        written = "{" + " " * 500 + '"input": "ab"}'
        growing = CustomInput()
        new = [growing.feed(written[a:b]) for a, b in pairwise([0, 300, 400, len(written)])]

        assert "".join([*new, growing.close()]) == growing.text == "ab"

    @pytest.mark.timeout(10)
    def test_names_that_come_to_the_same_take_no_longer(self) -> None:
        """And all are told apart."""
        tools = [{"type": "function", "name": chr(0x4E00 + number)} for number in range(10_000)]
        calls = [{"type": "function_call", "call_id": "c", "name": "zz", "arguments": "{}"}]
        body = {"model": "m", "input": calls * 10_000, "tools": tools}
        told = request(RESPONSES_VIA_CHAT, body)

        assert len({tool["function"]["name"] for tool in told["tools"]}) == 10_000

    @pytest.mark.timeout(10)
    def test_calls_of_one_id_have_a_result_each(self) -> None:
        """All results for each would be a body of gigabytes."""
        call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
        results = [
            {"type": "function_call_output", "call_id": "c", "output": f"r{number}"}
            for number in range(5_000)
        ]
        more = {"type": "function_call_output", "call_id": "c", "output": "!"}
        told = request(
            RESPONSES_VIA_CHAT, {"model": "m", "input": [*[call] * 5_000, *results, more]}
        )

        found = [one["content"] for one in told["messages"] if one["role"] == "tool"]
        assert found == [*[f"r{number}" for number in range(4_999)], "r4999!"]


def test_a_request_that_cannot_be_read_is_only_untranslatable() -> None:
    for way in (CHAT_VIA_MESSAGES, MESSAGES_VIA_CHAT, RESPONSES_VIA_CHAT):
        for body in (b"", b"[]", b"{}" * 2, b'{"messages":' + b"[" * 2_000):
            with pytest.raises(Untranslatable):
                way.request(body, output_bound=9)


@pytest.mark.timeout(10)
def test_a_request_is_not_translated_again_for_its_answer() -> None:
    """That takes 0.3 s a megabyte, while all other calls wait."""
    item = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    asked = text(model="m", input=[item] * 20_000)
    both = translation("responses", "messages")
    assert both is not None
    for _ in range(60):
        told = both.stream(asked, created=7).feed(sse(start()))
        assert told.startswith(b"event: response.created")
