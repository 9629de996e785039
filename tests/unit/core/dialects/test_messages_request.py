"""Request bodies of the Messages dialect."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.canonical import message_digest
from proxy.core.changes import Changes
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.messages import MESSAGES
from proxy.core.dialects.responses import RESPONSES
from proxy.core.request import Message, Request
from proxy.core.usage import ToolCall
from proxy.errors import MalformedRequest
from tests.unit.core.dialects.metering import Json, json_values, law

CACHED = {"cache_control": {"type": "ephemeral"}}


def parse(**body: object) -> Request:
    sent = {"model": "m", "max_tokens": 64, "messages": []} | body
    return MESSAGES.parse(json.dumps(sent).encode(), Bounds())


def messages(*sent: Json) -> tuple[Message, ...]:
    return parse(messages=list(sent)).messages


def user(content: object) -> Json:
    return {"role": "user", "content": content}


def text(said: str) -> Json:
    return {"type": "text", "text": said}


def result(content: object, **more: object) -> Json:
    return {"type": "tool_result", "tool_use_id": "t", "content": content, **more}


def test_servers_of_tools_are_offered_by_their_names() -> None:
    """Their calls are the provider's own, but a policy may name them."""
    request = parse(tools=[{"name": "look"}], mcp_servers=[{"type": "url", "name": "wiki"}])

    assert request.offered_tools == ("look", "wiki")
    assert parse(mcp_servers=[{"type": "url", "name": "wiki"}]).offered_tools == ("wiki",)


def test_all_members_of_the_request_are_read() -> None:
    """What decisions are made on, each once."""
    request = parse(
        stream=True,
        max_tokens=500,
        system="Be brief.",
        messages=[user("Hi")],
        tools=[
            {"name": "look", "input_schema": {}},
            {"type": "bash_20250124", "name": "bash"},
            {"type": "mcp_toolset", "mcp_server_name": "wiki"},
        ],
        metadata={"user_id": "me"},
    )

    assert request.dialect == "messages"
    assert request.model == "m"
    assert request.stream
    assert request.output_bound == 500
    assert request.choices == 1
    assert [(one.role, one.text) for one in request.messages] == [
        ("system", "Be brief."),
        ("user", "Hi"),
    ]
    assert request.offered_tools == ("look", "bash", "wiki")
    assert not request.tools_disabled
    assert not request.forces_tool
    assert not request.forces_format
    assert request.hints == {"metadata.user_id": "me"}


def test_absent_and_null_are_the_same() -> None:
    """Whatever a provider makes of it."""
    keys = ("messages", "system", "tools", "tool_choice", "max_tokens", "stream", "metadata")

    request = parse(**dict.fromkeys(keys))

    assert request.messages == ()
    assert request.output_bound is None
    assert request.tools_disabled


def test_a_bound_of_nought_only_warms_the_cache() -> None:
    """A documented use, and the provider's to refuse."""
    assert parse(max_tokens=0).output_bound == 0


@pytest.mark.parametrize(
    ("choice", "forces", "disabled"),
    [
        ({"type": "auto"}, False, False),
        ({"type": "none"}, False, True),
        ({"type": "any"}, True, False),
        ({"type": "tool", "name": "look"}, True, False),
    ],
)
def test_a_tool_choice_forces_or_disables(choice: Json, forces: bool, disabled: bool) -> None:
    """A handoff text may not answer a request that forces a tool."""
    request = parse(tools=[{"name": "look"}], tool_choice=choice)

    assert request.forces_tool is forces
    assert request.tools_disabled is disabled


@pytest.mark.parametrize(
    "asked",
    [
        {"output_config": {"format": {"type": "json_schema", "schema": {}}}},
        {"output_format": {"type": "json_schema", "schema": {}}},
    ],
)
def test_structured_output_forces_a_format(asked: Json) -> None:
    """By its present and by its beta name."""
    assert parse(**asked).forces_format


def test_an_effort_alone_forces_no_format() -> None:
    """`output_config` holds more than the format."""
    assert not parse(output_config={"effort": "low"}).forces_format


def test_an_assistant_is_one_message_and_the_digest_of_its_answer() -> None:
    """Thinking, what the provider ran by itself, and cache markers are not what was said."""
    content = [
        {"type": "thinking", "thinking": "Hm", "signature": "x" * 90},
        {"type": "redacted_thinking", "data": "x" * 90},
        text("I ") | CACHED,
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "a"}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
        text("look."),
        {"type": "tool_use", "id": "a", "name": "look", "input": {"q": "a"}} | CACHED,
        {"type": "tool_use", "id": "b", "name": "look", "input": {}},
    ]
    calls = (ToolCall("a", "look", '{"q": "a"}'), ToolCall("b", "look", "{}"))

    (message,) = messages({"role": "assistant", "content": content})

    assert (message.role, message.text, message.tool_calls) == ("assistant", "I look.", calls)
    assert message.content_digest == message_digest("assistant", "I look.", calls)


def test_each_tool_result_is_a_message_before_what_the_user_says() -> None:
    """Claude Code appends its reminders to the results."""
    sent = user(
        [
            result("1") | CACHED,
            result([text("2"), text("3")], is_error=True),
            result(None),
            text("Go on."),
        ]
    )

    assert [(one.role, one.text, one.tool_result_id, one.is_error) for one in messages(sent)] == [
        ("tool", "1", "t", False),
        ("tool", "23", "t", True),
        ("tool", "", "t", False),
        ("user", "Go on.", None, False),
    ]


def test_a_system_message_may_come_later() -> None:
    """Claude Code sends them among the others."""
    (message,) = messages({"role": "system", "content": [text("Remember.")]})

    assert (message.role, message.text) == ("system", "Remember.")


def test_cache_markers_do_not_influence_digests() -> None:
    """They move from message to message with each step."""
    image = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}

    plain = messages(user([text("Hi"), image]), user([result([image])]))
    marked = messages(user([text("Hi") | CACHED, image | CACHED]), user([result([image | CACHED])]))

    assert [one.content_digest for one in plain] == [one.content_digest for one in marked]
    assert messages(user("Hi"))[0].content_digest == messages(user([text("Hi")]))[0].content_digest
    assert plain[0].content_digest != messages(user([text("Hi")]))[0].content_digest


def test_the_digests_are_those_of_other_dialects() -> None:
    """A session may change its endpoint."""
    ours = messages(
        user("Hi"),
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t", "name": "n", "input": {}}],
        },
        user([result("1")]),
    )
    items = [
        {"role": "user", "content": "Hi"},
        {"type": "function_call", "call_id": "t", "name": "n", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "t", "output": "1"},
    ]
    theirs = RESPONSES.parse(json.dumps({"model": "m", "input": items}).encode(), Bounds()).messages

    assert [one.content_digest for one in ours] == [one.content_digest for one in theirs]
    assert ours[2].content_digest == message_digest("tool", "1", tool_result_id="t")


def test_images_and_files_are_counted_and_not_weighed() -> None:
    """They are priced by a ceiling; a document of plain text is text."""
    image = {"type": "image", "source": {"type": "base64", "data": "A" * 5000}}
    pdf = {"type": "document", "source": {"type": "base64", "data": "A" * 5000}}
    plain = {"type": "document", "source": {"type": "text", "data": "a" * 3000}}
    other = {
        "type": "search_result",
        "source": "https://example.com",
        "content": [text("b" * 2000)],
    }
    upload = {"type": "container_upload", "file_id": "file_1"}

    request = parse(
        messages=[user([text("See"), image, pdf, plain, other, upload, result([image])])]
    )

    assert request.image_count == 2
    assert request.file_count == 2
    assert 5000 < request.text_bytes < 5600


def test_sealed_thinking_is_not_weighed() -> None:
    """Signatures are ciphertext; the thinking that they seal is text."""
    content = [
        {"type": "thinking", "thinking": "a" * 100, "signature": "x" * 5000},
        {"type": "redacted_thinking", "data": "x" * 5000},
    ]

    request = parse(messages=[{"role": "assistant", "content": content}])

    assert 100 < request.text_bytes < 400


def test_text_bytes_are_all_that_is_tokenised() -> None:
    """Tools and schemas are billed like any text."""
    bare = parse().text_bytes

    assert bare == len("[]")
    assert parse(system="abc").text_bytes == bare + len('"abc"')
    assert parse(tools=[{"name": "x"}]).text_bytes == bare + len('[{"name": "x"}]')
    assert parse(metadata={"user_id": "x"}).text_bytes == bare


def test_a_retry_has_the_digest_of_its_first_attempt() -> None:
    """Claude Code falls back to no stream."""
    assert parse(stream=True).body_digest == parse().body_digest


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"3", None),
        (b"{}", "model"),
        (b'{"model": "a", "model": "b"}', "model"),
        (b'{"model": "m", "messages": {}}', "messages"),
        (b'{"model": "m", "messages": [{}, {}, {}, {}]}', "messages"),
        (b'{"model": "m", "messages": ["a"]}', "messages[0]"),
        (b'{"model": "m", "messages": [{"content": "Hi"}]}', "messages[0]"),
        (b'{"model": "m", "messages": [{"role": "user", "content": 3}]}', "messages[0]"),
        (
            b'{"model":"m","messages":[{"role":"user","content":[{"type":"tool_result","content":3}]}]}',
            "messages[0]",
        ),
        (b'{"model": "m", "system": 3}', "system"),
        (b'{"model": "m", "max_tokens": -1}', "max_tokens"),
        (b'{"model": "m", "max_tokens": 1.5}', "max_tokens"),
        (b'{"model": "m", "tools": "all"}', "tools"),
        (b'{"model": "m", "tool_choice": "auto"}', "tool_choice"),
        (b'{"model": "m", "output_config": 3}', "output_config"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(body: bytes, param: str | None) -> None:
    """A 400 in the dialect that says what is wrong, never a 500."""
    with pytest.raises(MalformedRequest) as refused:
        MESSAGES.parse(body, Bounds(messages=3))

    assert refused.value.param == param
    assert refused.value.status == 400


@law
@given(json_values)
def test_arbitrary_json_is_refused_by_name(value: object) -> None:
    """Nothing but MalformedRequest."""
    block = {"type": "tool_result", "content": value, "source": value}
    bodies = [value, {"model": "m", "system": value}, {"model": "m", "messages": value}]
    bodies += [{"model": "m", "messages": [value]}, {"model": "m", "messages": [user(value)]}]
    bodies += [
        {"model": "m", "messages": [user([block | {"type": kind}])]}
        for kind in ("tool_result", "document", "text", value)
    ]
    bodies += [
        {"model": "m", key: value} for key in ("tools", "tool_choice", "metadata", "thinking")
    ]
    for body in bodies:
        with suppress(MalformedRequest):
            MESSAGES.parse(json.dumps(body).encode(), Bounds())


def test_nothing_changes_without_a_change() -> None:
    """The very bytes of the client go on."""
    body = b'{ "model":"m" ,"max_tokens":9}'
    request = MESSAGES.parse(body, Bounds())

    assert MESSAGES.rewrite(body, request, Changes()) is body
    assert MESSAGES.rewrite(body, request, Changes(ask_usage=True)) is body


def bounded(body: bytes, bound: int) -> bytes:
    return MESSAGES.rewrite(body, MESSAGES.parse(body, Bounds()), Changes(output_bound=bound))


def test_only_what_changes_is_spliced() -> None:
    """Every other byte stays, spaces and key order too."""
    body = b'{ "model":"m" ,"max_tokens" : 900, "x":1.0, "thinking":null}'
    request = MESSAGES.parse(body, Bounds())

    changed = MESSAGES.rewrite(body, request, Changes(output_bound=300, model="n"))

    assert changed == b'{ "model":"n" ,"max_tokens" : 300, "x":1.0, "thinking":null}'


@pytest.mark.parametrize(
    ("most", "budget", "bound", "lowered"),
    [
        (64_000, 32_000, 40_000, 32_000),  # it still fits
        (64_000, 32_000, 32_000, 16_000),  # by the same share
        (64_000, 63_999, 1_100, 1_099),
        (64_000, 8_000, 2_000, 1_024),  # the provider's least
        (4_000, 8_000, 2_000, 8_000),  # above it on purpose: interleaved thinking
    ],
)
def test_the_thinking_budget_stays_below_the_bound(
    most: int, budget: int, bound: int, lowered: int
) -> None:
    """The provider refuses a budget that is not, and the step would be lost."""
    body = (
        b'{"model":"m","max_tokens":%d,"thinking":{"type":"enabled", "budget_tokens":%d},"z":1}'
        % (most, budget)
    )

    changed = bounded(body, bound)

    assert changed == (
        b'{"model":"m","max_tokens":%d,"thinking":{"type":"enabled", "budget_tokens":%d},"z":1}'
        % (bound, lowered)
    )


@given(st.integers(1026, 10**6), st.integers(1024, 10**6), st.integers(1025, 10**6))
def test_a_lowered_budget_is_always_legal(most: int, budget: int, bound: int) -> None:
    """Whatever the client's proportions."""
    body = b'{"model":"m","max_tokens":%d,"thinking":{"type":"enabled","budget_tokens":%d}}'
    was_legal = budget < most

    changed = json.loads(bounded(body % (most, budget), bound))

    assert 1024 <= changed["thinking"]["budget_tokens"] <= budget
    assert not was_legal or changed["thinking"]["budget_tokens"] < changed["max_tokens"]


def test_adaptive_thinking_has_no_budget_to_lower() -> None:
    """Its members stay as they are."""
    body = b'{"model":"m","max_tokens":9000,"thinking":{"type":"adaptive"}}'

    assert bounded(body, 2000) == b'{"model":"m","max_tokens":2000,"thinking":{"type":"adaptive"}}'


def test_a_budget_that_is_no_number_is_left_to_the_provider() -> None:
    """It answers with its own 400."""
    body = b'{"model":"m","max_tokens":9000,"thinking":{"type":"enabled","budget_tokens":"x"}}'

    assert b'"max_tokens":2000' in bounded(body, 2000)


def test_a_thinking_budget_bounds_how_far_the_bound_may_be_lowered() -> None:
    """Below it the provider would refuse the call with words that nobody understands."""
    enabled = {"type": "enabled", "budget_tokens": 2000}

    assert parse(max_tokens=4000, thinking=enabled).least_output == 1025
    assert parse(max_tokens=1500, thinking=enabled).least_output == 0
    assert parse(max_tokens=4000, thinking={"type": "disabled"}).least_output == 0
    assert parse(max_tokens=4000).least_output == 0
