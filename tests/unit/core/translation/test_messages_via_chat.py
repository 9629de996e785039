"""A request of a client of the Messages API, asked of chat: carried, left out and refused."""

import json
from typing import Any

import pytest

from proxy.core.translation.base import Untranslatable
from proxy.core.translation.messages_via_chat.translation import MESSAGES_VIA_CHAT
from tests.unit.core.translation.carrying import BOUND, Json, request, why_not

USER = {"role": "user", "content": "hi"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
STRICT = {**SCHEMA, "required": ["a"], "additionalProperties": False}
TOOL = {"name": "look", "description": "d", "input_schema": SCHEMA}
FUNCTION = {"name": "look", "description": "d", "parameters": SCHEMA}
PNG = {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}
SEEN = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}
LONG = "toolu_" + "x" * 60


def sent(*messages: Json, **members: Any) -> Json:
    body = {"model": "m", "max_tokens": 9, "messages": list(messages) or [USER], **members}
    return request(MESSAGES_VIA_CHAT, body)


def text(value: str, **more: Any) -> Json:
    return {"type": "text", "text": value, **more}


def use(call_id: str = "c1", name: str = "look", **given: Any) -> Json:
    return {"type": "tool_use", "id": call_id, "name": name, "input": given}


def came(call_id: str = "c1", content: Any = "done", **more: Any) -> Json:
    return {"type": "tool_result", "tool_use_id": call_id, "content": content, **more}


def asks(*blocks: Json) -> Json:
    return {"role": "assistant", "content": list(blocks)}


def says(*blocks: Json) -> Json:
    return {"role": "user", "content": list(blocks)}


def call(call_id: str = "c1", arguments: str = "{}", name: str = "look") -> Json:
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def result(call_id: str = "c1", content: str = "done") -> Json:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


CARRIED: dict[str, tuple[Json, Json]] = {
    "model": ({"model": "x"}, {"model": "x"}),
    "max_tokens": ({"max_tokens": 5}, {"max_tokens": 5}),
    "max_tokens, to OpenAI's newer models": (
        {"model": "gpt-5.2", "max_tokens": 5},
        {"max_completion_tokens": 5},
    ),
    "temperature": ({"temperature": 0.7}, {"temperature": 0.7}),
    "top_p": ({"top_p": 0.3}, {"top_p": 0.3}),
    "stop_sequences": ({"stop_sequences": ["END"]}, {"stop": ["END"]}),
    "stream": (
        {"stream": True},
        {"stream": True, "stream_options": {"include_usage": True}},
    ),
    "metadata.user_id": ({"metadata": {"user_id": "u"}}, {"user": "u"}),
    "system": (
        {"system": [text("a", cache_control={"type": "ephemeral"}), text("b")]},
        {"messages": [{"role": "system", "content": "a\n\nb"}, USER]},
    ),
    "tools": ({"tools": [TOOL]}, {"tools": [{"type": "function", "function": FUNCTION}]}),
    "tools, strict": (
        {"tools": [{"name": "f", "type": "custom", "input_schema": STRICT, "strict": True}]},
        {
            "tools": [
                {
                    "type": "function",
                    "function": {"name": "f", "parameters": STRICT, "strict": True},
                }
            ]
        },
    ),
    "tool_choice auto": (
        {"tools": [TOOL], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        {"tool_choice": "auto", "parallel_tool_calls": False},
    ),
    "tool_choice any": (
        {"tools": [TOOL], "tool_choice": {"type": "any"}},
        {"tool_choice": "required"},
    ),
    "tool_choice none": (
        {"tools": [TOOL], "tool_choice": {"type": "none"}},
        {"tool_choice": "none"},
    ),
    "tool_choice named": (
        {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "look"}},
        {"tool_choice": {"type": "function", "function": {"name": "look"}}},
    ),
    "output_config.format": (
        {"output_config": {"format": {"type": "json_schema", "schema": STRICT}}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": STRICT, "strict": True},
            }
        },
    ),
    "output_format": (
        {"output_format": {"type": "json_schema", "schema": SCHEMA}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": SCHEMA},
            }
        },
    ),
}
LEFT_OUT: dict[str, Json] = {
    "thinking": {"thinking": {"type": "enabled", "budget_tokens": 2000}},
    "output_config.effort": {"output_config": {"effort": "high"}},
    "top_k": {"top_k": 5},
    "cache_control": {"cache_control": {"type": "ephemeral"}},
    "service_tier": {"service_tier": "auto"},
    "speed": {"speed": "fast"},
    "context_management": {"context_management": {"edits": []}},
    "a long user_id": {"metadata": {"user_id": "u" * 65}},
    "no metadata": {"metadata": {}},
    "inference_geo global": {"inference_geo": "global"},
    "stream false": {"stream": False},
    "no tools": {"tools": [], "tool_choice": {"type": "auto"}},
    "no stop_sequences": {"stop_sequences": []},
    "no servers": {"mcp_servers": []},
    "null": {"temperature": None, "system": None, "tools": None},
}
REFUSED: dict[str, tuple[Json, str]] = {
    "mcp_servers": ({"mcp_servers": [{"name": "s"}]}, "mcp_servers"),
    "container": ({"container": "c"}, "container"),
    "inference_geo": ({"inference_geo": "us"}, "where in the world"),
    "max_tokens 0": ({"max_tokens": 0}, "warms a cache"),
    "five stop_sequences": ({"stop_sequences": list("abcde")}, "4 stop sequences"),
    "web_search": (
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        "web_search_",
    ),
    "bash": ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "'bash_20250124'"),
    "tool_choice unknown": ({"tools": [TOOL], "tool_choice": {"type": "maybe"}}, "'maybe'"),
    "output_config.format unknown": ({"output_config": {"format": {"type": "lark"}}}, "'lark'"),
}


@pytest.mark.parametrize("name", CARRIED)
def test_this_member_is_carried(name: str) -> None:
    given, expected = CARRIED[name]
    told = sent(**given)

    assert {key: told[key] for key in expected} == expected


@pytest.mark.parametrize("name", LEFT_OUT)
def test_this_member_is_left_out(name: str) -> None:
    """It only steers how an answer is made: a fallback without it is better than none."""
    assert set(sent(**LEFT_OUT[name])) == {"model", "max_tokens", "messages"}


@pytest.mark.parametrize("name", REFUSED)
def test_this_member_is_refused(name: str) -> None:
    given, words = REFUSED[name]
    body = {"model": "m", "max_tokens": 9, "messages": [USER], **given}

    assert words in why_not(MESSAGES_VIA_CHAT, body)


BLOCKS: dict[str, tuple[Json, Any]] = {
    "text": (text("a", cache_control={"type": "ephemeral"}), "x\n\na"),
    "image, inline": ({"type": "image", "source": PNG}, [text("x"), SEEN]),
    "image at a URL": (
        {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
        [text("x"), {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}],
    ),
    "document, text": (
        {
            "type": "document",
            "title": "t",
            "source": {"type": "text", "media_type": "text/plain", "data": "a"},
        },
        "x\n\nt\n\na",
    ),
    "document, content": (
        {
            "type": "document",
            "source": {"type": "content", "content": [text("a"), {"type": "image", "source": PNG}]},
        },
        [text("x"), text("a"), SEEN],
    ),
    "document, PDF": (
        {"type": "document", "source": PDF},
        [
            text("x"),
            {
                "type": "file",
                "file": {
                    "filename": "document.pdf",
                    "file_data": "data:application/pdf;base64,JVBERg==",
                },
            },
        ],
    ),
    "search_result": (
        {"type": "search_result", "source": "https://s", "title": "t", "content": [text("a")]},
        "x\n\nt\n\nhttps://s\n\na",
    ),
    "empty text": (text(""), "x"),
}
REFUSED_BLOCKS: dict[str, tuple[Json, str]] = {
    "image by id": ({"type": "image", "source": {"type": "file", "file_id": "f"}}, "keeps"),
    "document at a URL": ({"type": "document", "source": {"type": "url", "url": "u"}}, "'url'"),
    "container_upload": ({"type": "container_upload", "file_id": "f"}, "'container_upload'"),
    "an unknown block": ({"type": "hologram"}, "'hologram'"),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_this_block_is_carried(name: str) -> None:
    block, content = BLOCKS[name]

    assert sent(says(text("x"), block))["messages"] == [{"role": "user", "content": content}]


@pytest.mark.parametrize("name", REFUSED_BLOCKS)
def test_this_block_is_refused(name: str) -> None:
    block, words = REFUSED_BLOCKS[name]
    body = {"model": "m", "max_tokens": 9, "messages": [says(block)]}

    assert words in why_not(MESSAGES_VIA_CHAT, body)


@pytest.mark.parametrize("kind", ["server_tool_use", "web_search_tool_result", "mcp_tool_use"])
def test_what_the_providers_own_tools_did_is_refused(kind: str) -> None:
    body = {"model": "m", "max_tokens": 9, "messages": [USER, asks({"type": kind})]}

    assert kind in why_not(MESSAGES_VIA_CHAT, body)


@pytest.mark.parametrize(
    ("model", "key"),
    [
        ("gpt-4o", "max_tokens"),
        ("gpt-oss-20b", "max_tokens"),
        ("qwen3", "max_tokens"),
        ("gpt-5-mini", "max_completion_tokens"),
        ("openai/gpt-10", "max_completion_tokens"),
        ("o3", "max_completion_tokens"),
        ("codex-mini-latest", "max_completion_tokens"),
    ],
)
def test_the_bound_stands_where_the_model_reads_it(model: str, key: str) -> None:
    """OpenAI's newer models refuse `max_tokens` and other temperatures than 1; others refuse or
    ignore `max_completion_tokens`."""
    told = sent(model=model, temperature=0.2)
    assert told[key] == 9
    assert ("temperature" in told) is (key == "max_tokens")


def test_the_bound_of_the_policy_is_written_where_the_client_gave_none() -> None:
    assert request(MESSAGES_VIA_CHAT, {"model": "m", "messages": [USER]})["max_tokens"] == BOUND


def test_a_tool_loop_is_carried() -> None:
    """Thinking is left out, results come before what else the user says."""
    told = sent(
        USER,
        asks(
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "redacted_thinking", "data": "z"},
            text("Let me "),
            text("see."),
            use(q=1),
            use("c2", name="pay"),
        ),
        says(text("so?"), came("c2", [text("a"), text("b")]), came("c1", "one")),
        asks(use("c3")),
        says({"type": "tool_result", "tool_use_id": "c3"}),
    )

    assert told["messages"] == [
        USER,
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [call(arguments='{"q": 1}'), call("c2", name="pay")],
        },
        result("c2", "a\n\nb"),
        result("c1", "one"),
        {"role": "user", "content": "so?"},
        {"role": "assistant", "content": None, "tool_calls": [call("c3")]},
        result("c3", ""),
    ]


def test_images_in_a_result_are_shown_by_the_user() -> None:
    """Chat takes text alone in a result."""
    image = {"type": "image", "source": PNG}
    told = sent(
        USER, asks(use(), use("c2")), says(came("c1", [text("a"), image]), came("c2"), text("so?"))
    )

    assert told["messages"][2:] == [
        result("c1", "a"),
        result("c2"),
        {"role": "user", "content": [text("Of the result of c1:"), SEEN, text("so?")]},
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [("no such file", "Error: no such file"), ("error 7", "error 7"), ("", "Error: ")],
)
def test_a_failed_call_says_so(content: str, said: str) -> None:
    told = sent(USER, asks(use()), says(came(content=content, is_error=True)))

    assert told["messages"][2] == result(content=said)


def test_arguments_keep_their_bytes() -> None:
    given = '{"b":  1e400, "a": 123456789012345678901234567890}'
    body = (
        '{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"},{"role":"assistant",'
        f'"content":[{{"type":"tool_use","id":"c","name":"f","input":{given}}}]}}]}}'
    )
    told = json.loads(MESSAGES_VIA_CHAT.request(body.encode(), output_bound=1))

    assert told["messages"][1]["tool_calls"][0]["function"]["arguments"] == given


def test_arguments_that_were_no_object_are_so_again() -> None:
    """Only where they stand alone: else a tool has a parameter of this name."""
    beside = use("c3", INVALID_JSON="x", q=1)
    told = sent(USER, asks(use(INVALID_JSON='{"q": "cut'), use("c2", INVALID_JSON=7), beside))
    calls = told["messages"][1]["tool_calls"]

    assert [one["function"]["arguments"] for one in calls] == [
        '{"q": "cut',
        '{"INVALID_JSON": 7}',
        '{"INVALID_JSON": "x", "q": 1}',
    ]


def test_a_call_without_input_has_no_arguments() -> None:
    told = sent(USER, asks({"type": "tool_use", "id": "c1", "name": "look"}))

    assert told["messages"][1]["tool_calls"] == [call()]


def test_an_id_that_is_too_long_is_made_shorter_everywhere() -> None:
    """OpenAI takes forty characters."""
    messages = sent(USER, asks(use(LONG)), says(came(LONG)))["messages"]

    call_id = messages[1]["tool_calls"][0]["id"]
    assert len(call_id) <= 40
    assert messages[2]["tool_call_id"] == call_id


def test_what_the_system_says_later_is_said_by_the_user() -> None:
    """Templates of local models take a system message at the beginning only."""
    told = sent(
        USER,
        asks(text("a")),
        {"role": "system", "content": "in French"},
        {"role": "user", "content": "go"},
    )

    assert told["messages"][2:] == [
        {"role": "user", "content": "<system>\nin French\n</system>\n\ngo"}
    ]


def test_what_the_user_says_in_a_row_is_one_message() -> None:
    told = sent(USER, says(text("")), says({"type": "image", "source": PNG}), USER)

    assert told["messages"] == [{"role": "user", "content": [text("hi"), SEEN, text("hi")]}]


def test_what_the_system_shows_is_shown_by_the_user() -> None:
    told = sent(USER, {"role": "system", "content": [{"type": "image", "source": PNG}]})

    assert told["messages"] == [{"role": "user", "content": [text("hi"), SEEN]}]


def test_thinking_is_left_out_wherever_it_stands() -> None:
    assert sent(says(text("a"), {"type": "thinking", "thinking": "hm"}))["messages"] == [
        {"role": "user", "content": "a"}
    ]


def test_an_empty_turn_is_still_one() -> None:
    assert sent(says(), asks())["messages"] == [
        {"role": "user", "content": ""},
        {"role": "assistant", "content": ""},
    ]


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (STRICT, True),
        (SCHEMA, False),
        ({**STRICT, "required": []}, False),
        ({**STRICT, "additionalProperties": True}, False),
        ({**STRICT, "properties": {"a": SCHEMA}}, False),
        ({"anyOf": [STRICT, SCHEMA]}, False),
        ({"anyOf": [STRICT, {"type": "null"}]}, True),
    ],
)
def test_a_schema_is_strict_where_openai_takes_it_so(schema: Json, strict: bool) -> None:
    """It wants every property required, and nothing beside."""
    told = sent(tools=[{"name": "f", "input_schema": schema, "strict": True}])

    assert ("strict" in told["tools"][0]["function"]) is strict


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"model":"m"}',
        b'{"messages":[]}',
        b'{"model":"m","messages":[{"role":"user","content":7}]}',
        b'{"model":"m","messages":[{"role":"assistant","content":[{"type":"tool_use","input":[]}]}]}',
    ],
)
def test_what_cannot_be_read_is_refused_by_name(body: bytes) -> None:
    with pytest.raises(Untranslatable, match="cannot be read"):
        MESSAGES_VIA_CHAT.request(body, output_bound=1)
