"""A chat client's request, asked of a Messages API: what is carried, left out and refused."""

import json
from typing import Any

import pytest

from proxy.core.translation.base import Untranslatable
from proxy.core.translation.chat_via_messages.translation import CHAT_VIA_MESSAGES
from tests.unit.core.translation.carrying import BOUND, Json, request, why_not

PDF = "data:application/pdf;base64,JVBERg=="
PNG = "data:image/png;base64,iVBORw=="
USER = {"role": "user", "content": "hi"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "look", "description": "d", "parameters": SCHEMA}}
EPHEMERAL = {"type": "ephemeral"}
JSON_ONLY = "Answer with one JSON object and nothing else: no words around it, no code fence."


def call(call_id: str | None = "c1", arguments: str = "{}", name: str = "look") -> Json:
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def asks(*calls: Json, content: Any = None) -> Json:
    return {"role": "assistant", "content": content, "tool_calls": list(calls)}


def result(call_id: str | None = "c1", content: Any = "done") -> Json:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def sent(*messages: Json, **members: Any) -> Json:
    body = {"model": "claude-sonnet-4-5", "messages": list(messages) or [USER], **members}
    return request(CHAT_VIA_MESSAGES, body)


def text(value: str, **more: Any) -> Json:
    return {"type": "text", "text": value, **more}


def use(call_id: str = "c1", name: str = "look", **given: Any) -> Json:
    return {"type": "tool_use", "id": call_id, "name": name, "input": given}


def came(call_id: str = "c1", *content: Json, **more: Any) -> Json:
    block = {"type": "tool_result", "tool_use_id": call_id, **more}
    return block | ({"content": list(content)} if content else {})


def tool(**more: Any) -> Json:
    return {"name": "look", "description": "d", "input_schema": SCHEMA, **more}


CARRIED: dict[str, tuple[Json, Json]] = {
    "model": ({"model": "claude-x"}, {"model": "claude-x"}),
    "max_tokens": ({"max_tokens": 5}, {"max_tokens": 5}),
    "max_completion_tokens": ({"max_completion_tokens": 6}, {"max_tokens": 6}),
    "temperature": ({"temperature": 1.7}, {"temperature": 1.0}),
    "top_p": ({"top_p": 0.3}, {"top_p": 0.3}),
    "stop": ({"stop": "END"}, {"stop_sequences": ["END"]}),
    "stream": ({"stream": True}, {"stream": True}),
    "user": ({"user": "u"}, {"metadata": {"user_id": "u"}}),
    "safety_identifier": (
        {"safety_identifier": "s", "user": "u"},
        {"metadata": {"user_id": "s"}},
    ),
    "cache_control": ({"cache_control": EPHEMERAL}, {"cache_control": EPHEMERAL}),
    "tools": ({"tools": [TOOL]}, {"tools": [tool()]}),
    "tool_choice auto": (
        {"tools": [TOOL], "tool_choice": "auto"},
        {"tool_choice": {"type": "auto"}},
    ),
    "tool_choice none": (
        {"tools": [TOOL], "tool_choice": "none", "parallel_tool_calls": False},
        {"tool_choice": {"type": "none"}},
    ),
    "tool_choice required": (
        {"tools": [TOOL], "tool_choice": "required"},
        {"tool_choice": {"type": "any"}},
    ),
    "tool_choice named": (
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "look"}}},
        {"tool_choice": {"type": "tool", "name": "look"}},
    ),
    "tool_choice allowed_tools": (
        {
            "tools": [TOOL, {"type": "function", "function": {"name": "pay"}}],
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "look"}}],
                },
            },
        },
        {"tools": [tool()], "tool_choice": {"type": "any"}},
    ),
    "parallel_tool_calls": (
        {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False},
        {"tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
    ),
    "response_format json_schema, strict": (
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
            }
        },
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    ),
    "response_format json_schema": (
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": {"type": "object"}},
            }
        },
        {
            "system": [
                text(f'{JSON_ONLY} It matches this JSON schema:\n{{"type": "object"}}'),
            ]
        },
    ),
    "response_format json_object": (
        {"response_format": {"type": "json_object"}},
        {"system": [text(JSON_ONLY)]},
    ),
}
LEFT_OUT: dict[str, Json] = {
    "reasoning_effort": {"reasoning_effort": "high"},
    "verbosity": {"verbosity": "low"},
    "seed": {"seed": 7},
    "frequency_penalty": {"frequency_penalty": 0.5},
    "presence_penalty": {"presence_penalty": 0.5},
    "service_tier": {"service_tier": "flex"},
    "store": {"store": True},
    "metadata": {"metadata": {"a": "b"}},
    "prediction": {"prediction": {"type": "content", "content": "x"}},
    "prompt_cache_key": {"prompt_cache_key": "k"},
    "stream_options": {"stream_options": {"include_usage": True}},
    "a long user": {"user": "u" * 257},
    "no user": {"user": ""},
    "response_format text": {"response_format": {"type": "text"}},
    "no stop": {"stop": []},
    "empty ones": {"functions": [], "logit_bias": {}, "plugins": [], "modalities": ["text"]},
    "null": {"temperature": None, "tools": None, "stop": None, "n": None},
}
REFUSED: dict[str, tuple[Json, str]] = {
    "n": ({"n": 2}, "n asks for several"),
    "logprobs": ({"logprobs": True}, "log probabilities"),
    "logit_bias": ({"logit_bias": {"5": 1}}, "logit_bias"),
    "modalities audio": ({"modalities": ["text", "audio"]}, "text only"),
    "audio": ({"audio": {"voice": "v", "format": "wav"}}, "spoken answers"),
    "functions": ({"functions": [{"name": "f"}]}, "functions"),
    "function_call": ({"function_call": "auto"}, "function_call"),
    "web_search_options": ({"web_search_options": {"x": 1}}, "web search"),
    "plugins": ({"plugins": [{"id": "web"}]}, "plugins"),
    "prompt": ({"prompt": {"id": "p"}}, "prompt"),
    "blank stop": ({"stop": ["\n"]}, "white space"),
    "custom tools": ({"tools": [{"type": "custom", "custom": {"name": "c"}}]}, "'custom'"),
    "tool_choice custom": (
        {"tools": [TOOL], "tool_choice": {"type": "custom", "custom": {"name": "c"}}},
        "'custom'",
    ),
    "tool_choice unknown": ({"tools": [TOOL], "tool_choice": "perhaps"}, "'perhaps'"),
    "response_format grammar": ({"response_format": {"type": "grammar"}}, "'grammar'"),
}


@pytest.mark.parametrize("name", CARRIED)
def test_this_member_is_carried(name: str) -> None:
    given, expected = CARRIED[name]
    told = sent(**given)

    assert {key: told[key] for key in expected} == expected


@pytest.mark.parametrize("name", LEFT_OUT)
def test_this_member_is_left_out(name: str) -> None:
    """It only steers how an answer is made: a fallback without it is better than none."""
    plain = {"model", "max_tokens", "messages"}

    assert set(sent(**LEFT_OUT[name])) == plain


@pytest.mark.parametrize("name", REFUSED)
def test_this_member_is_refused(name: str) -> None:
    given, words = REFUSED[name]
    body = {"model": "m", "messages": [USER], **given}

    assert words in why_not(CHAT_VIA_MESSAGES, body)


PARTS: dict[str, tuple[Json, Json]] = {
    "text": (text("a", cache_control=EPHEMERAL), text("a", cache_control=EPHEMERAL)),
    "refusal": ({"type": "refusal", "refusal": "no"}, text("no")),
    "image, inline": (
        {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw=="},
        },
    ),
    "image, jpg": (
        {"type": "image_url", "image_url": "data:image/JPG;charset=x;base64,AA=="},
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/jpeg", "data": "AA=="},
        },
    ),
    "image at a URL": (
        {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
        {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
    ),
    "file, PDF": (
        {"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="},
            "title": "a.pdf",
        },
    ),
}
REFUSED_PARTS: dict[str, tuple[Json, str]] = {
    "input_audio": ({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}, "audio"),
    "file by id": ({"type": "file", "file": {"file_id": "f"}}, "keeps"),
    "file, no PDF": (
        {"type": "file", "file": {"file_data": "data:text/csv;base64,AA=="}},
        "'text/csv'",
    ),
    "image of a rare type": (
        {"type": "image_url", "image_url": {"url": "data:image/bmp;base64,AA=="}},
        "'image/bmp'",
    ),
    "image by another scheme": (
        {"type": "image_url", "image_url": {"url": "gs://bucket/a.png"}},
        "neither at a URL nor in base64",
    ),
    "an unknown part": ({"type": "hologram"}, "'hologram'"),
}


@pytest.mark.parametrize("name", PARTS)
def test_this_part_is_carried(name: str) -> None:
    part, block = PARTS[name]

    assert sent({"role": "user", "content": ["x", part]})["messages"] == [
        {"role": "user", "content": [text("x"), block]}
    ]


def test_a_cache_marker_of_a_message_is_its_last_blocks() -> None:
    """As LiteLLM and OpenRouter read it; one of the part itself stands."""
    marked = {"role": "user", "content": [text("a"), text("b")], "cache_control": EPHEMERAL}
    assert sent(marked)["messages"][0]["content"] == [
        text("a"),
        text("b", cache_control=EPHEMERAL),
    ]

    hour = {"type": "ephemeral", "ttl": "1h"}
    marked["content"] = [text("a", cache_control=hour)]
    assert sent(marked)["messages"][0]["content"] == [text("a", cache_control=hour)]


@pytest.mark.parametrize("name", REFUSED_PARTS)
def test_this_part_is_refused(name: str) -> None:
    part, words = REFUSED_PARTS[name]
    body = {"model": "m", "messages": [{"role": "user", "content": [part]}]}

    assert words in why_not(CHAT_VIA_MESSAGES, body)


def test_thinking_parts_are_left_out() -> None:
    """Mistral's; Anthropic takes back no thinking but its own."""
    part = {"type": "thinking", "thinking": [text("hm")]}
    told = sent(USER, {"role": "assistant", "content": [part, text("a")]}, USER)

    assert told["messages"][1] == {"role": "assistant", "content": [text("a")]}


def test_the_bound_of_the_policy_is_written_where_the_client_gave_none() -> None:
    """Anthropic wants one."""
    assert sent()["max_tokens"] == BOUND
    assert sent(max_tokens=5, max_completion_tokens=9)["max_tokens"] == 9


@pytest.mark.parametrize(
    ("model", "takes"),
    [
        ("claude-3-5-sonnet-20241022", True),
        ("claude-opus-4-20250514", True),
        ("claude-sonnet-4-5-20250929", True),
        ("anthropic/claude-opus-4.6", True),
        ("claude-opus-4-7", False),
        ("anthropic/claude-opus-4.7", False),
        ("claude-opus-4-10", False),
        ("claude-sonnet-5", False),
        ("kimi-k2", True),
    ],
)
def test_a_temperature_goes_to_models_that_take_one(model: str, takes: bool) -> None:
    """Claude's newer models answer any with a 400."""
    told = sent(model=model, temperature=0.2, top_p=0.9)

    assert ("temperature" in told) is takes
    assert "top_p" not in told  # Claude takes one of both


def test_what_the_system_says_first_is_the_system_prompt() -> None:
    told = sent(
        {"role": "system", "content": "a"},
        {"role": "developer", "content": [text("b", cache_control=EPHEMERAL), text(" ")]},
        USER,
    )

    assert told["system"] == [text("a"), text("b", cache_control=EPHEMERAL)]
    assert told["messages"] == [{"role": "user", "content": [text("hi")]}]


def test_what_the_system_says_later_stays_in_its_place() -> None:
    told = sent(
        USER,
        {"role": "assistant", "content": "a"},
        {"role": "system", "content": "in French"},
        USER,
    )

    assert "system" not in told
    assert told["messages"][-1]["content"] == [text("<system>\nin French\n</system>"), text("hi")]


def test_a_system_prompt_alone_is_said_by_the_user() -> None:
    """Chat answers it; Anthropic wants a user's turn."""
    told = sent({"role": "system", "content": "a"})

    assert "system" not in told
    assert told["messages"] == [{"role": "user", "content": [text("a")]}]


def test_a_system_prompt_is_text() -> None:
    image = {"type": "image_url", "image_url": {"url": PNG}}
    body = {"model": "m", "messages": [{"role": "system", "content": [image]}, USER]}

    assert "is text" in why_not(CHAT_VIA_MESSAGES, body)


def test_the_first_turn_is_the_users_and_the_last_ends_with_a_word() -> None:
    """Anthropic refuses an assistant's turn first, and white space at the end of the last."""
    told = sent({"role": "assistant", "content": "It is "})

    assert told["messages"] == [
        {"role": "user", "content": [text("(The conversation goes on.)")]},
        {"role": "assistant", "content": [text("It is")]},
    ]


@pytest.mark.parametrize(
    ("model", "goes_on"),
    [
        ("claude-sonnet-4-5", True),
        ("claude-3-7-sonnet-latest", True),
        ("claude-opus-4-6", False),
        ("anthropic/claude-sonnet-5", False),
        ("kimi-k2", True),
    ],
)
def test_a_model_that_goes_on_from_no_words_of_its_own_is_told_to(
    model: str, goes_on: bool
) -> None:
    """Its API refuses a conversation that ends with the model's."""
    last = sent(USER, {"role": "assistant", "content": "It is"}, model=model)["messages"][-1]

    told = {"role": "user", "content": [text("Go on.")]}
    assert last == ({"role": "assistant", "content": [text("It is")]} if goes_on else told)


def test_calls_that_nobody_has_answered_stay_the_last_turn() -> None:
    assert sent(USER, asks(call()))["messages"][1] == {"role": "assistant", "content": [use()]}


@pytest.mark.parametrize("content", ["", " \n", None, [], [text("")]])
def test_a_conversation_in_which_nothing_is_said_is_still_one(content: Any) -> None:
    told = sent({"role": "user", "content": content})

    assert told["messages"] == [{"role": "user", "content": [text("(The conversation goes on.)")]}]


def test_blank_texts_are_left_out_and_turns_alternate() -> None:
    told = sent(
        USER,
        {"role": "assistant", "content": " "},
        {"role": "user", "content": "b"},
        asks(call(), content=""),
        result(content="\n"),
    )

    assert told["messages"] == [
        {"role": "user", "content": [text("hi"), text("b")]},
        {"role": "assistant", "content": [use()]},
        {"role": "user", "content": [came()]},
    ]


def test_the_results_of_a_turn_come_first_and_in_order() -> None:
    """Whatever stands between them in chat."""
    told = sent(
        USER,
        asks(call("c1", '{"q": 1}'), call("c2"), content="Let me see."),
        result("c2", [text("two"), {"type": "image_url", "image_url": {"url": PNG}}]),
        {"role": "user", "content": "by the way"},
        {**result("c1", "one"), "cache_control": EPHEMERAL},
        tools=[TOOL],
    )

    assert told["messages"][1]["content"] == [text("Let me see."), use(q=1), use("c2")]
    assert told["messages"][2] == {
        "role": "user",
        "content": [
            came("c2", text("two"), PARTS["image, inline"][1]),
            came("c1", text("one"), cache_control=EPHEMERAL),
            text("by the way"),
        ],
    }


def test_arguments_keep_their_bytes() -> None:
    """Numbers beyond a float, double spaces, the order of keys: nothing is written anew."""
    arguments = '{"b":  1e400, "a": 123456789012345678901234567890}'
    body = {"model": "m", "messages": [USER, asks(call(arguments=arguments)), result()]}
    written = CHAT_VIA_MESSAGES.request(json.dumps(body).encode(), output_bound=1)

    assert arguments.encode() in written


@pytest.mark.parametrize("arguments", ['{"q": "cut', "[1]", "null", "yes", '"{}"'])
def test_arguments_that_are_no_object_are_kept(arguments: str) -> None:
    told = sent(USER, asks(call(arguments=arguments)), result())

    assert told["messages"][1]["content"] == [use(INVALID_JSON=arguments)]


def test_no_arguments_are_none() -> None:
    assert sent(USER, asks(call(arguments=" ")), result())["messages"][1]["content"] == [use()]


def test_each_call_has_an_id_of_its_own_that_its_result_names() -> None:
    """Some providers of chat number the calls of each answer anew, or give them no ids."""
    told = sent(
        USER,
        asks(call("call_0"), call("call_0"), call(None), call("functions.look:0")),
        result("call_0", "1"),
        result("call_0", "2"),
        result(None, "3"),
        result("functions.look:0", "4"),
        asks(call("call_0")),
        result("call_0", "5"),
        result("call_0", "6"),
    )
    turns = told["messages"]
    asked = [block["id"] for turn in (turns[1], turns[3]) for block in turn["content"]]
    answered = [block["tool_use_id"] for turn in (turns[2], turns[4]) for block in turn["content"]]

    assert len(set(asked)) == 5
    assert answered == [*asked, asked[-1]]
    assert all(one.replace("_", "").isalnum() for one in asked)
    assert asked[0] == "call_0"


def test_a_result_of_no_call_keeps_its_id() -> None:
    assert sent(USER, result("lost"))["messages"][0]["content"][0]["tool_use_id"] == "lost"


def test_tools_that_were_called_are_defined_even_where_none_is_offered() -> None:
    """Anthropic refuses a history of calls without; the model may call none of them."""
    told = sent(USER, asks(call(), call("c2", name="pay"), call("c3")), result())

    schema = {"type": "object", "properties": {}}
    assert told["tools"] == [{"name": name, "input_schema": schema} for name in ("look", "pay")]
    assert told["tool_choice"] == {"type": "none"}


@pytest.mark.parametrize("parameters", [None, {}])
def test_a_tool_without_parameters_has_an_empty_schema(parameters: Any) -> None:
    bare = {"type": "function", "function": {"name": "now", "parameters": parameters}}

    schema = {"type": "object", "properties": {}}
    assert sent(tools=[bare])["tools"] == [{"name": "now", "input_schema": schema}]


@pytest.mark.parametrize("place", ["tool", "function"])
def test_a_cache_marker_on_a_tool_is_carried(place: str) -> None:
    marked: Any = json.loads(json.dumps(TOOL))
    (marked if place == "tool" else marked["function"])["cache_control"] = EPHEMERAL

    assert sent(tools=[marked])["tools"] == [tool(cache_control=EPHEMERAL)]


def test_a_choice_without_tools_is_left_out() -> None:
    """Anthropic refuses one."""
    assert "tool_choice" not in sent(tools=[], tool_choice="auto", parallel_tool_calls=False)


def test_parallel_calls_are_only_mentioned_where_they_are_forbidden() -> None:
    assert "tool_choice" not in sent(tools=[TOOL], parallel_tool_calls=True)
    assert sent(tools=[TOOL], parallel_tool_calls=False)["tool_choice"] == {
        "type": "auto",
        "disable_parallel_tool_use": True,
    }


def test_a_refusal_is_what_the_model_said() -> None:
    said = {"role": "assistant", "content": None, "refusal": "I won't."}

    assert sent(USER, said, USER)["messages"][1]["content"] == [text("I won't.")]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"role": "assistant", "audio": {"id": "a"}}, "aloud"),
        ({"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}, "function_call"),
        ({"role": "function", "name": "f", "content": "x"}, "function"),
        (asks({"id": "c", "type": "custom", "custom": {"name": "x", "input": "y"}}), "custom"),
    ],
)
def test_this_message_is_refused(message: Json, words: str) -> None:
    assert words in why_not(CHAT_VIA_MESSAGES, {"model": "m", "messages": [USER, message]})


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"model":"m"}',
        b'{"model":"m","messages":[{"role":"user","content":7}]}',
        b'{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":"hot"}',
        b'{"model":"m","messages":[{"role":"user","content":' + b"[" * 5000 + b"]" * 5000 + b"}]}",
    ],
)
def test_what_cannot_be_read_is_refused_by_name(body: bytes) -> None:
    with pytest.raises(Untranslatable, match="cannot be read"):
        CHAT_VIA_MESSAGES.request(body, output_bound=1)
