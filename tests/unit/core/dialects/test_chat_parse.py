"""What a chat request says, in one view; what it must not say, refused by name."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.canonical import message_digest
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.chat_parse import parse
from proxy.core.request import Request
from proxy.core.usage import Answer, ToolCall
from proxy.errors import MalformedRequest
from tests.unit.core.dialects.metering import Json, json_values, law

USER: Json = {"role": "user", "content": "Hi"}
FUNCTION: Json = {"type": "function", "function": {"name": "look"}}


def read(**fields: object) -> Request:
    body: Json = {"model": "m", "messages": [USER], **fields}
    return parse(json.dumps(body).encode(), Bounds())


def digests(*messages: Json) -> list[bytes]:
    return [message.content_digest for message in read(messages=list(messages)).messages]


def attempt(**fields: object) -> Request | MalformedRequest:
    try:
        return read(**fields)
    except MalformedRequest as error:
        return error


def refused(**fields: object) -> MalformedRequest:
    with pytest.raises(MalformedRequest) as caught:
        read(**fields)
    return caught.value


def test_a_whole_request_is_read() -> None:
    """Everything that decisions are made on, in one view."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA"}}
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Loo"}, image, sound, "k!"]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}},
                {"id": "c2", "type": "custom", "custom": {"name": "sh", "input": "ls"}},
                {"id": "c3", "type": "other"},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "seen"},
    ]

    request = read(
        messages=messages,
        stream=True,
        stream_options={"include_usage": True},
        max_tokens=10,
        n=2,
        tools=[FUNCTION, {"type": "custom", "custom": {"name": "sh"}}, {"type": "web_search"}],
        tool_choice="required",
        response_format={"type": "json_object"},
        user="u",
    )

    assert (request.dialect, request.model, request.stream) == ("chat", "m", True)
    assert [message.role for message in request.messages] == [
        *("system", "user", "assistant", "tool")
    ]
    assert request.messages[1].text == "Look!"
    assert request.messages[2].tool_calls == (
        ToolCall("c1", "look", "{}"),
        ToolCall("c2", "sh", "ls"),
        ToolCall("c3", "", ""),
    )
    assert request.messages[3].tool_result_id == "c1"
    assert (request.output_bound, request.choices) == (10, 2)
    assert (request.image_count, request.file_count) == (1, 1)
    assert request.offered_tools == ("look", "sh", "web_search")
    assert (request.tools_disabled, request.forces_tool, request.forces_format) == (
        *(False, True, True),
    )
    assert request.include_usage
    assert request.hints == {"user": "u"}
    attached = len(json.dumps(image)) + len(json.dumps(sound))
    assert len(json.dumps(messages)) - attached < request.text_bytes < 1000


def test_defaults_are_those_of_a_bare_request() -> None:
    """Absent and null mean the same, and nothing is made up."""
    bare = read()
    nulls = read(n=None, max_tokens=None, stream=None, stream_options=None, tools=None, user=None)

    for request in (bare, nulls):
        assert (request.output_bound, request.choices, request.stream) == (None, 1, False)
        assert (request.tools_disabled, request.forces_tool, request.forces_format) == (
            *(True, False, False),
        )
        assert not request.include_usage


def test_of_two_bounds_the_larger_counts() -> None:
    """Which of them a provider takes is unknown: the hold must cover either."""
    assert read(max_tokens=5, max_completion_tokens=500).output_bound == 500
    assert read(max_tokens=500, max_completion_tokens=5).output_bound == 500


@pytest.mark.parametrize(
    ("fields", "disabled", "forced"),
    [
        ({"tool_choice": "none"}, True, False),
        ({"tool_choice": "auto"}, False, False),
        ({"tool_choice": "any"}, False, True),
        ({"tool_choice": FUNCTION}, False, True),
        ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}, False, False),
        (
            {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required"}}},
            *(False, True),
        ),
        ({"function_call": "none"}, True, False),
        ({"function_call": "auto"}, False, False),
        ({"function_call": {"name": "look"}}, False, True),
    ],
)
def test_the_choice_of_tools_is_read(fields: Json, disabled: bool, forced: bool) -> None:
    """A hand-over text breaks clients that force a tool; they get an error instead."""
    request = read(functions=[{"name": "look"}], **fields)

    assert request.offered_tools == ("look",)
    assert (request.tools_disabled, request.forces_tool) == (disabled, forced)


def test_the_legacy_function_protocol_has_no_ids() -> None:
    """An empty id links the call to its result and proves nothing about the session."""
    call = {"role": "assistant", "function_call": {"name": "look", "arguments": '{"q":1}'}}
    result = {"role": "function", "name": "look", "content": "seen"}

    messages = read(messages=[call, result]).messages

    assert messages[0].tool_calls == (ToolCall("", "look", '{"q":1}'),)
    assert (messages[1].role, messages[1].tool_result_id) == ("tool", "")


@pytest.mark.parametrize(
    "echo",
    [
        {"content": "Sure."},
        {"content": "Sure.\n", "refusal": None, "annotations": [], "audio": None},
        {"content": [{"type": "text", "text": "Sure.", "cache_control": {"type": "ephemeral"}}]},
        {"content": "Sure.", "provider_specific_fields": {}, "reasoning_content": "hm"},
        {"content": None, "refusal": "Sure."},
        {"content": [{"type": "refusal", "refusal": "Sure."}]},
    ],
)
def test_an_echo_has_the_digest_of_the_answer(echo: Json) -> None:
    """Clients dress an answer up before they send it back; inference must see through it."""
    calls = [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"q":"a"}'}},
    ]
    answer = Answer("Sure.", (ToolCall("c1", "f", '{"q": "a"}'),), "chatcmpl-1", "tool_calls")

    (digest,) = digests({"role": "assistant", **echo, "tool_calls": calls})

    assert digest == message_digest("assistant", answer.text, answer.tool_calls)


def test_empty_null_and_absent_content_are_one() -> None:
    """Beside tool calls, clients differ in nothing more than in this."""
    call = {"id": "c1", "function": {"name": "f", "arguments": {"q": "a"}}, "index": 0}
    base: Json = {"role": "assistant", "tool_calls": [call]}

    assert len(set(digests(base, {**base, "content": None}, {**base, "content": ""}))) == 1


def test_images_count_and_differ() -> None:
    """Two users who ask the same of two pictures are two sessions."""

    def image(url: str) -> Json:
        return {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}

    assert len(set(digests(image("a"), image("b"), {"role": "user", "content": ""}))) == 3


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"messages": 5}, "messages", "messages: expected a list"),
        ({"messages": None}, "messages", "messages: expected a list"),
        ({"messages": []}, "messages", "messages: expected at least one message"),
        ({"messages": [5]}, "messages[0]", "messages[0]: expected `object`, got `int`"),
        (
            {"messages": [USER, {"role": "owner"}]},
            "messages[1].role",
            "messages[1].role: expected one of system, developer, user, assistant, tool, function",
        ),
        (
            {"messages": [{"role": "user", "content": [5]}]},
            "messages[0].content",
            "messages[0].content: expected text or a list of parts",
        ),
        ({"stream": 1}, "stream", "stream: expected true or false"),
        ({"n": 129}, "n", "n: expected an integer from 1 to 128"),
        ({"tools": {}}, "tools", "tools: expected a list of tools"),
        ({"tool_choice": 5}, "tool_choice", "tool_choice: expected a string or an object"),
        (
            {"stream": True, "stream_options": {"include_usage": 1}},
            "stream_options",
            "stream_options: expected an object of flags",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(fields: Json, param: str, message: str) -> None:
    """The one who wrote the request must find the mistake from the message alone."""
    error = refused(**fields)

    assert (error.param, error.message) == (param, message)


def test_messages_are_a_must_and_bounded() -> None:
    """A million tiny messages are an attack on whoever hashes them."""
    with pytest.raises(MalformedRequest, match="messages: expected a list of messages"):
        parse(b'{"model":"m"}', Bounds())
    with pytest.raises(MalformedRequest, match="messages: expected at most 2 messages"):
        parse(json.dumps({"model": "m", "messages": [USER] * 3}).encode(), Bounds(messages=2))


def test_a_lone_surrogate_is_refused() -> None:
    """It is no text: it could be neither hashed nor stored."""
    body = b'{"model":"m","messages":[{"role":"user","content":"\\udc00 and more"}]}'

    with pytest.raises(MalformedRequest):
        parse(body, Bounds())


@law
@given(
    st.dictionaries(
        st.sampled_from(
            [
                *("messages", "stream", "stream_options", "n", "max_tokens", "tools", "metadata"),
                *("tool_choice", "functions", "function_call", "response_format", "model", "user"),
            ]
        ),
        json_values,
        max_size=4,
    )
)
def test_arbitrary_json_is_read_or_refused_by_name(fields: Json) -> None:
    """Never a 500: whatever comes, MalformedRequest is all that may be raised."""
    outcome = attempt(**fields)

    if isinstance(outcome, MalformedRequest):
        assert outcome.param is None or outcome.message.startswith(f"{outcome.param}: ")
    else:
        assert outcome.choices in range(1, 129)


@law
@given(st.binary(max_size=80))
def test_arbitrary_bytes_are_refused(body: bytes) -> None:
    """The first line of defence takes anything."""
    with pytest.raises(MalformedRequest):
        parse(body, Bounds())


@law
@given(st.lists(json_values, max_size=3), json_values, json_values)
def test_arbitrary_messages_are_read_or_refused(
    content: list[object], calls: object, function: object
) -> None:
    """Inside a message as well."""
    message = {"role": "assistant", "content": content, "tool_calls": calls}

    outcome = attempt(messages=[message, {"role": "assistant", "function_call": function}])

    if isinstance(outcome, MalformedRequest):
        assert outcome.param is None or outcome.param.startswith("messages[")
