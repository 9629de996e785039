"""Request bodies of the Responses dialect."""

import json
from contextlib import suppress

import pytest
from hypothesis import given

from proxy.core.canonical import message_digest
from proxy.core.changes import Changes
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.responses import RESPONSES
from proxy.core.request import Message, Request
from proxy.core.usage import ToolCall
from proxy.errors import MalformedRequest
from tests.unit.core.dialects.metering import Json, json_values, law

PNG = "data:image/png;base64," + "A" * 5000


def parse(**body: object) -> Request:
    return RESPONSES.parse(json.dumps({"model": "m"} | body).encode(), Bounds())


def spoken(*items: Json) -> list[tuple[str, str, tuple[ToolCall, ...], str | None]]:
    messages = parse(input=list(items)).messages
    return [(one.role, one.text, one.tool_calls, one.tool_result_id) for one in messages]


def one(item: Json) -> Message:
    (message,) = parse(input=[item]).messages
    return message


def test_a_string_is_a_message_of_the_user_after_the_instructions() -> None:
    """The shortest form, and the same as its long form."""
    request = parse(instructions="Be brief.", input="Hi")

    assert [(one.role, one.text) for one in request.messages] == [
        ("system", "Be brief."),
        ("user", "Hi"),
    ]
    long: Json = {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": "Hi"}],
    }
    assert one(long).content_digest == request.messages[1].content_digest
    assert one({"role": "user", "content": "Hi"}).content_digest == one(long).content_digest


def test_all_members_of_the_request_are_read() -> None:
    """What decisions are made on, each once."""
    request = parse(
        input="Hi",
        stream=True,
        max_output_tokens=500,
        background=True,
        previous_response_id="resp_0",
        conversation={"id": "conv_1"},
        tools=[
            {"type": "function", "name": "look", "parameters": {}},
            {"type": "custom", "name": "patch"},
            {"type": "mcp", "server_label": "wiki"},
            {"type": "web_search"},
        ],
        text={"format": {"type": "json_schema", "schema": {}}, "verbosity": "low"},
        prompt_cache_key="key",
        safety_identifier="safe",
        user="me",
        metadata={"holdfast_budget_usd": "1.5"},
        client_metadata={"session_id": "s", "thread_id": "t", "turn_id": "u"},
    )

    assert request.dialect == "responses"
    assert request.model == "m"
    assert request.stream
    assert request.output_bound == 500
    assert request.choices == 1
    assert request.background
    assert request.previous_response_id == "resp_0"
    assert request.conversation_id == "conv_1"
    assert request.offered_tools == ("look", "patch", "wiki", "web_search")
    assert not request.tools_disabled
    assert not request.forces_tool
    assert request.forces_format
    assert request.hints == {
        "prompt_cache_key": "key",
        "safety_identifier": "safe",
        "user": "me",
        "conversation": "conv_1",
        "metadata.holdfast_budget_usd": "1.5",
        "client_metadata.session_id": "s",
        "client_metadata.thread_id": "t",
        "client_metadata.turn_id": "u",
    }


def test_absent_and_null_are_the_same() -> None:
    """Typed SDKs send every optional member as null."""
    nulls = dict.fromkeys(
        (
            "instructions", "input", "tools", "tool_choice", "text", "stream", "max_output_tokens",
            "background", "previous_response_id", "conversation", "metadata", "client_metadata",
        )
    )  # fmt: skip

    request = parse(**nulls)

    assert request.messages == ()
    assert request.output_bound is None
    assert request.tools_disabled
    assert request.previous_response_id is None
    assert request.conversation_id is None
    assert not request.stream
    assert not request.forces_format
    assert request.hints == {}


def test_a_conversation_may_be_a_plain_id() -> None:
    """Both forms are documented."""
    request = parse(input="Hi", conversation="conv_1")

    assert request.conversation_id == "conv_1"
    assert request.hints == {"conversation": "conv_1"}


def test_tools_are_also_offered_in_namespaces_and_in_the_input() -> None:
    """Codex 0.169 offers its own models everything so: unread, no limit on tools would bind it."""
    nested = {"type": "namespace", "name": "files", "tools": [{"type": "function", "name": "ls"}]}
    exec_tool = {"type": "custom", "name": "exec"}
    offer = {"type": "additional_tools", "role": "developer", "tools": [exec_tool, nested]}

    request = parse(input=[offer, {"role": "user", "content": "Hi"}], tools=[nested])

    assert request.offered_tools == ("ls", "exec", "ls")
    assert not request.tools_disabled
    assert [message.role for message in request.messages] == ["user"]
    assert parse(input=[{"type": "additional_tools"}]).tools_disabled
    with pytest.raises(MalformedRequest, match=r"input\[0\].tools: expected a list of tools"):
        parse(input=[{"type": "additional_tools", "tools": "all"}])


@pytest.mark.parametrize(
    ("choice", "forces", "disabled"),
    [
        ("auto", False, False),
        ("none", False, True),
        ("required", True, False),
        ({"type": "function", "name": "look"}, True, False),
        ({"type": "allowed_tools", "mode": "auto", "tools": []}, False, False),
        ({"type": "allowed_tools", "mode": "required", "tools": []}, True, False),
    ],
)
def test_a_tool_choice_forces_or_disables(choice: object, forces: bool, disabled: bool) -> None:
    """A handoff text may not answer a request that forces a tool."""
    request = parse(input="Hi", tools=[{"type": "function", "name": "look"}], tool_choice=choice)

    assert request.forces_tool is forces
    assert request.tools_disabled is disabled


def test_output_items_of_one_answer_are_one_message() -> None:
    """So that they have the digest of the answer that they echo, ids and reasoning dropped."""
    items: list[Json] = [
        {"role": "user", "content": "Hi"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x" * 50},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "I look.", "annotations": []}],
        },
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {"type": "function_call", "call_id": "a", "name": "look", "arguments": '{"q": "a"}'},
        {"type": "function_call", "call_id": "b", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": "1"},
        {"type": "function_call_output", "call_id": "b", "output": "2"},
    ]
    calls = (ToolCall("a", "look", '{"q": "a"}'), ToolCall("b", "look", "{}"))

    assert spoken(*items) == [
        ("user", "Hi", (), None),
        ("assistant", "I look.", calls, None),
        ("tool", "1", (), "a"),
        ("tool", "2", (), "b"),
    ]
    echo = parse(input=items).messages[1].content_digest
    answered = (ToolCall("a", "look", '{"q":"a"}'), calls[1])
    assert echo == message_digest("assistant", "I look.", answered)


@pytest.mark.parametrize(
    ("item", "call"),
    [
        (
            {"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": "*** Begin"},
            ToolCall("c", "patch", "*** Begin"),
        ),
        (
            {"type": "local_shell_call", "call_id": "c", "action": {"command": ["ls"]}},
            ToolCall("c", "local_shell", '{"command": ["ls"]}'),
        ),
        (
            {"type": "shell_call", "call_id": "c", "action": {"commands": ["ls"]}},
            ToolCall("c", "shell", '{"commands": ["ls"]}'),
        ),
        (
            {"type": "apply_patch_call", "call_id": "c", "operation": {"type": "delete_file"}},
            ToolCall("c", "apply_patch", '{"type": "delete_file"}'),
        ),
        (
            {"type": "computer_call", "call_id": "c", "action": {"type": "click"}},
            ToolCall("c", "computer", '{"type": "click"}'),
        ),
        (
            {"type": "mcp_approval_request", "id": "c", "name": "ask", "arguments": "{}"},
            ToolCall("c", "ask", "{}"),
        ),
        ({"type": "function_call", "call_id": None, "arguments": None}, ToolCall("", "", "")),
    ],
)
def test_every_kind_of_call_is_a_tool_call(item: Json, call: ToolCall) -> None:
    """Limits and detectors see them all."""
    assert one(item).tool_calls == (call,)


@pytest.mark.parametrize(
    ("item", "text", "result_id"),
    [
        ({"type": "function_call_output", "call_id": "c", "output": "1"}, "1", "c"),
        ({"type": "function_call_output", "call_id": "c", "output": None}, "", "c"),
        (
            {
                "type": "function_call_output",
                "call_id": "c",
                "output": [
                    {"type": "input_text", "text": "1"},
                    {"type": "input_text", "text": "2"},
                ],
            },
            "12",
            "c",
        ),
        ({"type": "custom_tool_call_output", "call_id": "c", "output": "ok"}, "ok", "c"),
        ({"type": "local_shell_call_output", "id": "c", "output": "{}"}, "{}", "c"),
        (
            {"type": "shell_call_output", "call_id": "c", "output": [{"stdout": "a"}]},
            '{"stdout": "a"}',
            "c",
        ),
        ({"type": "apply_patch_call_output", "call_id": "c", "status": "completed"}, "", "c"),
        (
            {"type": "function_call_output", "call_id": "c", "output": {"a": 1}},
            '{"a": 1}',
            "c",
        ),
        (
            {"type": "mcp_approval_response", "approval_request_id": "c", "approve": True},
            "approved",
            "c",
        ),
        ({"type": "mcp_approval_response", "approval_request_id": "c"}, "denied", "c"),
    ],
)
def test_every_kind_of_result_is_a_tool_message(item: Json, text: str, result_id: str) -> None:
    """Detectors compare results; an unread one would look empty."""
    message = one(item)

    assert (message.role, message.text, message.tool_result_id) == ("tool", text, result_id)


@pytest.mark.parametrize(
    ("role", "canonical"),
    [("system", "system"), ("developer", "system"), ("user", "user"), ("critic", "user")],
)
def test_roles_are_canonical(role: str, canonical: str) -> None:
    """`developer` is what newer models call system."""
    assert one({"role": role, "content": "Hi"}).role == canonical


def test_a_refusal_is_text_of_the_answer() -> None:
    """It is what the model said."""
    part = {"type": "refusal", "refusal": "No."}

    assert one({"role": "assistant", "content": [part]}).text == "No."


def test_references_to_stored_items_tell_histories_apart() -> None:
    """Two sessions that only refer to what they were told must not look alike."""
    first = one({"type": "item_reference", "id": "msg_1"})
    second = one({"id": "msg_2"})

    assert first.role == second.role == "assistant"
    assert first.content_digest != second.content_digest


def test_items_that_say_nothing_are_no_messages() -> None:
    """What is unknown is forwarded, and not guessed at."""
    assert (
        spoken({"type": "compaction", "encrypted_content": "x"}, {"type": "mcp_list_tools"}) == []
    )
    assert spoken({"type": "tool_search_output"}, {}) == []


def test_images_and_files_are_counted_and_not_weighed() -> None:
    """They are priced by a ceiling; a megabyte of base64 is not a million characters of text."""
    content = [
        {"type": "input_text", "text": "See"},
        {"type": "input_image", "image_url": PNG},
        {"type": "input_image", "image_url": "https://example.com/a.png"},
        {"type": "input_file", "file_data": "data:application/pdf;base64," + "A" * 5000},
        {"type": "input_file", "file_id": "file_1"},
        {"type": "input_audio", "input_audio": {"data": "A" * 5000, "format": "wav"}},
        {"type": "other", "text": "and this is weighed"},
    ]
    shot = {"type": "computer_screenshot", "image_url": PNG}
    result = {"type": "computer_call_output", "call_id": "c", "output": shot}

    request = parse(input=[{"role": "user", "content": content}, result])

    assert request.image_count == 3
    assert request.file_count == 3
    assert 40 < request.text_bytes < 300
    assert request.messages[0].text == "See"
    other = parse(input=[{"role": "user", "content": content[:2]}])
    assert other.messages[0].content_digest != request.messages[0].content_digest


def test_text_bytes_are_all_that_is_tokenised() -> None:
    """Tools and schemas are billed like any text."""
    bare = parse(input="Hi").text_bytes

    assert bare == len('"Hi"')
    assert parse(input="Hi", tools=[{"type": "x"}]).text_bytes == bare + len('[{"type": "x"}]')
    assert parse(input="Hi", instructions="abc").text_bytes == bare + len('"abc"')
    assert parse(input="Hi", text={"format": None}).text_bytes == bare + len('{"format": null}')
    assert parse(input="Hi", metadata={"a": "b"}).text_bytes == bare


def test_a_retry_has_the_digest_of_its_first_attempt() -> None:
    """Also where a client falls back to no stream."""
    assert parse(input="Hi", stream=True).body_digest == parse(input="Hi").body_digest
    assert parse(input="Hi").body_digest != parse(input="Ho").body_digest


def test_a_stored_prompt_may_bring_its_model() -> None:
    """Then the price is that of an unknown model."""
    body = b'{"prompt": {"id": "pmpt_1"}}'

    assert RESPONSES.parse(body, Bounds()).model == ""


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"[]", None),
        (b"{", None),
        (b"{}", "model"),
        (b'{"model": ""}', "model"),
        (b'{"model": 3}', "model"),
        (b'{"model": "a", "model": "b", "input": "Hi"}', "model"),
        (b'{"model": "m", "input": 3}', "input"),
        (b'{"model": "m", "input": ["a", "b", "c", "d"]}', "input"),
        (b'{"model": "m", "input": ["a"]}', "input[0]"),
        (b'{"model": "m", "input": [{"role": 3}]}', "input[0]"),
        (b'{"model": "m", "input": [{"role": "user", "content": [3]}]}', "input[0]"),
        (b'{"model": "m", "input": [{"role": "user", "content": "\\ud800"}]}', None),
        (b'{"model": "m", "instructions": []}', "instructions"),
        (b'{"model": "m", "max_output_tokens": 0}', "max_output_tokens"),
        (b'{"model": "m", "max_output_tokens": -5}', "max_output_tokens"),
        (b'{"model": "m", "max_output_tokens": "5"}', "max_output_tokens"),
        (b'{"model": "m", "stream": "yes"}', "stream"),
        (b'{"model": "m", "tools": {}}', "tools"),
        (b'{"model": "m", "tool_choice": 3}', "tool_choice"),
        (b'{"model": "m", "text": "json"}', "text"),
        (b'{"model": "m", "conversation": {}}', "conversation"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(body: bytes, param: str | None) -> None:
    """A 400 in the dialect that says what is wrong, never a 500."""
    with pytest.raises(MalformedRequest) as refused:
        RESPONSES.parse(body, Bounds(messages=3))

    assert refused.value.param == param
    assert refused.value.status == 400


@law
@given(json_values)
def test_arbitrary_json_is_refused_by_name(value: object) -> None:
    """Nothing but MalformedRequest."""
    bodies = [value, {"model": "m", "input": value}, {"model": "m", "input": [value]}]
    bodies += [
        {
            "model": "m",
            "input": [
                {"type": kind, "role": "user", "content": value, "output": value, "call_id": "c"}
            ],
        }
        for kind in ("message", "function_call_output", None)
    ]
    bodies += [{"model": "m", key: value} for key in ("tools", "tool_choice", "text", "metadata")]
    for body in bodies:
        with suppress(MalformedRequest):
            RESPONSES.parse(json.dumps(body).encode(), Bounds())


def test_nothing_changes_without_a_change() -> None:
    """The very bytes of the client go on."""
    body = b'{ "model":"m" ,"input":"Hi"}'
    request = RESPONSES.parse(body, Bounds())

    assert RESPONSES.rewrite(body, request, Changes()) is body
    assert RESPONSES.rewrite(body, request, Changes(ask_usage=True)) is body


def test_only_what_changes_is_spliced() -> None:
    """Every other byte stays, spaces and key order too."""
    body = b'{ "model":"m" ,"max_output_tokens" : 900,"input":"Hi", "x":1.0}'
    request = RESPONSES.parse(body, Bounds())

    changed = RESPONSES.rewrite(body, request, Changes(output_bound=300, model='n"'))

    assert changed == b'{ "model":"n\\"" ,"max_output_tokens" : 300,"input":"Hi", "x":1.0}'
    bare = b'{"model":"m"}'
    bounded = RESPONSES.rewrite(bare, RESPONSES.parse(bare, Bounds()), Changes(output_bound=300))
    assert bounded == b'{"model":"m","max_output_tokens":300}'


def test_a_tool_message_has_the_digest_of_every_dialect() -> None:
    """A session may change its endpoint."""
    item: Json = {"type": "function_call_output", "call_id": "c", "output": "1"}

    assert one(item).content_digest == message_digest("tool", "1", tool_result_id="c")
