"""Requests of the Responses API, asked of a chat model."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.dialects.base import Bounds
from proxy.core.dialects.chat import CHAT
from proxy.core.dialects.responses import RESPONSES
from proxy.core.translation.base import Untranslatable
from proxy.core.translation.responses_via_chat.translation import RESPONSES_VIA_CHAT
from proxy.errors import MalformedRequest
from tests.unit.core.dialects.metering import law, recordings
from tests.unit.core.dialects.test_recorded_transforms import is_taken

Json = dict[str, Any]


def asked(**members: object) -> Json:
    body = json.dumps({"model": "qwen3", **members}).encode()
    found: Json = json.loads(RESPONSES_VIA_CHAT.request(body, output_bound=9))
    assert found.pop("model") == members.get("model", "qwen3")
    return found


def messages(*items: object, **members: object) -> list[Json]:
    found: list[Json] = asked(input=items, **members)["messages"]
    return found


def why(**members: object) -> str:
    with pytest.raises(Untranslatable) as told:
        asked(**members)
    return told.value.why


USER = {"role": "user", "content": "hi"}


def item(role: str, *texts: str) -> Json:
    kind = "output_text" if role == "assistant" else "input_text"
    content = [{"type": kind, "text": text} for text in texts]
    return {"type": "message", "role": role, "content": content}


def call(name: str = "f", call_id: str = "c1", **more: object) -> Json:
    arguments = '{"a": 1}'
    return {
        "type": "function_call",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        **more,
    }


def output(value: object, call_id: str = "c1", kind: str = "function_call_output") -> Json:
    return {"type": kind, "call_id": call_id, "output": value}


def calling(*calls: Json, content: str | None = None) -> Json:
    return {"role": "assistant", "content": content, "tool_calls": list(calls)}


def called(name: str = "f", call_id: str = "c1", arguments: str = '{"a": 1}') -> Json:
    function = {"name": name, "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


def done(text: str, call_id: str = "c1") -> Json:
    return {"role": "tool", "tool_call_id": call_id, "content": text}


def test_a_text_is_what_the_user_says() -> None:
    assert asked(input="hi") == {"messages": [USER]}
    assert asked(input="hi", instructions="Be brief.")["messages"] == [
        {"role": "system", "content": "Be brief."},
        USER,
    ]


def test_what_developers_say_first_is_one_system_message() -> None:
    """Templates of open models want one, at the beginning; later it is a user's."""
    told = messages(
        item("developer", "a", "b"),
        {"role": "system", "content": "c"},
        item("user", "hi"),
        item("assistant", "So"),
        item("developer", "d"),
        instructions="Be brief.",
    )

    assert told == [
        {"role": "system", "content": "Be brief.\n\nab\n\nc"},
        USER,
        {"role": "assistant", "content": "So"},
        {"role": "user", "content": "d"},
    ]


def test_what_the_user_says_in_a_row_is_one_message() -> None:
    """Codex tells of its surroundings first; templates want roles to alternate."""
    image = {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "high"}
    shown = {"role": "user", "content": [image, {"type": "input_text", "text": ""}]}
    part = {"url": "data:image/png;base64,AA==", "detail": "high"}

    assert messages(item("user", "a"), item("user", "", "b"), {"role": "user", "content": ""}) == [
        {"role": "user", "content": "a\n\nb"}
    ]
    assert messages(item("user", "a"), shown) == [
        {
            "role": "user",
            "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": part}],
        }
    ]
    assert messages({"role": "user", "content": [image | {"detail": "auto"}]}) == [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": part["url"]}}]}
    ]


def test_an_answer_is_one_message_with_its_results_behind() -> None:
    """Texts, reasoning and calls of one answer; what was done by the provider itself is left out.
    Reasoning goes, for many refuse it."""
    told = messages(
        item("user", "hi"),
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        item("assistant", "So"),
        call(),
        call("g", "c2"),
        output("4", "c2"),
        output("3"),
        item("assistant", "Well"),
        call("g", "c3"),
        output("5", "c3"),
    )

    assert told == [
        USER,
        calling(called(), called("g", "c2"), content="So"),
        done("3"),
        done("4", "c2"),
        calling(called("g", "c3"), content="Well"),
        done("5", "c3"),
    ]


def test_results_are_behind_their_calls_whatever_was_said_between() -> None:
    """Chat wants them there; one that never came is told to be none."""
    told = messages(call(), call("g", "c2"), item("user", "wait"), output("3"))

    assert told == [
        calling(called(), called("g", "c2")),
        done("3"),
        done("(no result)", "c2"),
        {"role": "user", "content": "wait"},
    ]
    assert messages(output("3", "gone"), item("user", "hi")) == [
        {"role": "user", "content": "3\n\nhi"}
    ]


def test_mistral_is_asked_with_ids_that_it_takes() -> None:
    made, result = messages(call(), output("3"), model="mistral-large")

    assert made["tool_calls"][0]["id"] == result["tool_call_id"]
    assert len(result["tool_call_id"]) == 9
    told = messages(call(), output("3"), item("user", "hi"), model="mistral-large")
    assert [one["role"] for one in told] == ["assistant", "tool", "assistant", "user"]
    assert len(messages(item("assistant", "So"), item("user", "hi"), model="mistral")) == 2


def test_results_in_parts_are_texts_and_their_images_follow() -> None:
    """Few servers take an image in a result. A script of Codex tells several results of a call."""
    image = {"type": "input_image", "image_url": "u"}
    shown = {"type": "image_url", "image_url": {"url": "u"}}
    text = {"type": "input_text", "text": "a"}

    assert messages(call(), output([text, image]), output([text]), item("user", "hi")) == [
        calling(called()),
        done("aa"),
        {"role": "user", "content": [shown, {"type": "text", "text": "hi"}]},
    ]
    assert messages(call(), output([image])) == [
        calling(called()),
        done("(the images follow)"),
        {"role": "user", "content": [shown]},
    ]
    printed = {"stdout": "x", "stderr": ""}
    assert messages(call(), output([printed])) == [
        calling(called()),
        done('{"stdout": "x", "stderr": ""}'),
    ]
    assert messages(call(), output(image | {"text": None}))[1] == done("(the images follow)")
    assert messages(call(), output(["a", "b"]))[1] == done("ab")
    assert messages(call(), output(None))[1] == done("")


def test_reasoning_in_plain_text_goes_back_to_who_wants_it() -> None:
    thought = {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]}
    items = (thought, call(), output("3"))

    assert messages(*items)[0] == calling(called())
    assert messages(*items, model="deepseek-v4")[0]["reasoning_content"] == "hm"
    signed = messages(*items, model="gemini-3-pro")[0]
    assert "reasoning_content" not in signed
    assert "skip_thought_signature_validator" in str(signed["tool_calls"][0]["extra_content"])
    assert messages(thought, item("user", "hi")) == [USER]


CUSTOM = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Edits files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: patch"},
}
FUNCTION = {
    "type": "function",
    "name": "f",
    "description": "Adds.",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
    "strict": True,
}


def test_functions_are_offered_as_they_are() -> None:
    function = {key: value for key, value in FUNCTION.items() if key != "type"}
    told = asked(input="hi", tools=[FUNCTION, FUNCTION, {"type": "function", "name": "g"}])

    bare = {"name": "g", "parameters": {"type": "object", "properties": {}}}
    assert told["tools"] == [
        {"type": "function", "function": function},
        {"type": "function", "function": bare},
    ]
    loose = asked(input="hi", tools=[FUNCTION | {"strict": False, "description": ""}])
    assert loose["tools"][0]["function"] == {"name": "f", "parameters": FUNCTION["parameters"]}


def test_a_custom_tool_is_a_function_of_one_text() -> None:
    """Its grammar is told in words: no chat server holds a model to it."""
    (tool,) = asked(input="hi", tools=[CUSTOM])["tools"]

    assert tool["function"]["name"] == "apply_patch"
    assert tool["function"]["description"] == (
        "Edits files.\n\nThe input must follow this grammar (lark):\nstart: patch"
    )
    assert list(tool["function"]["parameters"]["properties"]) == ["input"]
    plain = asked(input="hi", tools=[{"type": "custom", "name": "x", "format": {"type": "text"}}])
    assert plain["tools"][0]["function"]["description"] == ""


def test_a_custom_tools_call_is_a_functions() -> None:
    made = {"type": "custom_tool_call", "call_id": "c1", "name": "apply_patch", "input": 'a"\n'}
    told = messages(made, output("3", kind="custom_tool_call_output"), tools=[CUSTOM])

    assert told == [calling(called("apply_patch", arguments='{"input":"a\\"\\n"}')), done("3")]


def space(name: str, *tools: Json) -> Json:
    return {"type": "namespace", "name": name, "tools": list(tools)}


def names(told: Json) -> list[str]:
    return [tool["function"]["name"] for tool in told["tools"]]


def test_tools_of_namespaces_have_names_of_their_own() -> None:
    """By their own name if one has it; calls are told by the same."""
    tools = [FUNCTION, space("mcp", FUNCTION, CUSTOM), space("mcp__f", FUNCTION), space("mcp__f")]
    told = asked(
        input=[call(), output("3"), call("f", "c2", namespace="mcp"), call("x.y", "c3")],
        tools=tools,
    )

    assert names(told) == ["f", "mcp__f", "apply_patch", "mcp__f__f"]
    made = [one["function"]["name"] for m in told["messages"] for one in m.get("tool_calls", [])]
    assert made == ["f", "mcp__f", "x_y"]
    again = [space("a", FUNCTION), space("a.", FUNCTION), {"type": "function", "name": "a__f"}]
    assert names(asked(input="hi", tools=again)) == ["f", "a___f", "a__f"]
    odd = [{"type": "function", "name": name} for name in ("a.b", "a_b", "a-b", "x" * 70, "é")]
    assert names(asked(input="hi", tools=odd)) == ["a_b", "a_b_2", "a-b", "x" * 64, "_"]
    one_of_several = [space("m", FUNCTION), space("n", FUNCTION)]
    assert messages(call(namespace="gone"), tools=one_of_several)[0] == calling(called())


def test_tools_that_an_item_brings_are_offered() -> None:
    """Newer models of Codex get all of theirs so, and searches for tools bring others."""
    brings = {
        "type": "additional_tools",
        "role": "developer",
        "tools": [space("functions", CUSTOM)],
    }
    found = {"type": "tool_search_output", "call_id": "s", "tools": [FUNCTION]}
    search = {"type": "tool_search_call", "call_id": "s", "arguments": {"query": "f"}}

    told = asked(input=[brings, item("user", "hi"), search, found])

    assert names(told) == ["apply_patch", "f"]
    assert told["messages"] == [USER]


def test_what_the_provider_runs_is_left_out_if_the_answer_does_not_rest_on_it() -> None:
    """Codex always offers a search of the web; without its own calls the others go on."""
    searches = [{"type": kind} for kind in ("web_search", "web_search_preview", "image_generation")]
    told = asked(input="hi", tools=[*searches, FUNCTION], tool_choice="required")

    assert names(told) == ["f"]
    assert told["tool_choice"] == "required"
    assert asked(input="hi", tools=searches, tool_choice="none", parallel_tool_calls=True) == {
        "messages": [USER]
    }
    assert "force" in why(input="hi", tools=searches, tool_choice="required")
    assert "web_search" in why(input="hi", tools=searches, tool_choice={"type": "web_search"})


@pytest.mark.parametrize(
    "kind",
    ["file_search", "mcp", "computer_use_preview", "local_shell", "shell", "apply_patch"],
)
def test_what_the_answer_rests_on_cannot_be_left_out(kind: str) -> None:
    """It would be made up."""
    assert kind in why(input="hi", tools=[{"type": kind}])


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        (None, {}),
        ("auto", {}),
        ("none", {"tool_choice": "none"}),
        ("required", {"tool_choice": "required"}),
        (
            {"type": "function", "name": "f"},
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
        ),
        (
            {"type": "custom", "name": "apply_patch"},
            {"tool_choice": {"type": "function", "function": {"name": "apply_patch"}}},
        ),
    ],
)
def test_choices_of_tools(choice: object, told: Json) -> None:
    found = asked(input="hi", tools=[FUNCTION, CUSTOM], tool_choice=choice)
    assert names(found) == ["f", "apply_patch"]
    assert {key: value for key, value in found.items() if key == "tool_choice"} == told


def test_a_choice_among_some_offers_only_those() -> None:
    """Few servers know of the difference between what is there and what may be called."""
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "x", "name": "f"}]}
    told = asked(input="hi", tools=[FUNCTION, CUSTOM], tool_choice=allowed)
    assert (names(told), told["tool_choice"]) == (["f"], "required")

    told = asked(input="hi", tools=[FUNCTION, CUSTOM], tool_choice=allowed | {"mode": "auto"})
    assert "tool_choice" not in told
    none = {"type": "allowed_tools", "tools": [{"type": "web_search"}]}
    assert "tools" not in asked(input="hi", tools=[FUNCTION], tool_choice=none)
    assert "force" in why(input="hi", tools=[CUSTOM], tool_choice=allowed)
    assert "'gone'" in why(input="hi", tools=[CUSTOM], tool_choice={"type": "a", "name": "gone"})


def test_how_the_answer_is_made_is_told() -> None:
    told = asked(
        input="hi",
        tools=[FUNCTION],
        parallel_tool_calls=False,
        max_output_tokens=99,
        temperature=0.5,
        top_p=0.9,
        reasoning={"effort": "minimal", "summary": "auto"},
        stream=True,
        store=True,
        include=["reasoning.encrypted_content"],
        metadata={"a": "b"},
        prompt_cache_key="k",
        service_tier="flex",
        truncation="auto",
        user="u",
        client_metadata={},
        text={"verbosity": "low", "format": {"type": "text"}},
    )

    del told["messages"], told["tools"]
    assert told == {
        "parallel_tool_calls": False,
        "max_tokens": 99,
        "temperature": 0.5,
        "top_p": 0.9,
        "reasoning_effort": "low",
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_openais_own_models_are_asked_in_their_words() -> None:
    """They refuse a temperature and `max_tokens`, and know every effort."""
    told = asked(
        model="gpt-5.2",
        input="hi",
        max_output_tokens=99.0,
        temperature=0.5,
        reasoning={"effort": "none"},
    )

    del told["messages"]
    assert told == {"max_completion_tokens": 99, "reasoning_effort": "none"}
    assert "reasoning_effort" not in asked(input="hi", reasoning={"effort": "none"})
    assert "reasoning_effort" not in asked(input="hi", reasoning={"effort": None})


def test_formats_of_the_answer() -> None:
    schema = {"type": "object", "properties": {}}
    form = {"type": "json_schema", "name": "n", "schema": schema, "strict": True}

    assert asked(input="hi", text={"format": form})["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": schema, "strict": True},
    }
    assert asked(input="hi", text={"format": {"type": "json_object"}})["response_format"] == {
        "type": "json_object"
    }
    bare = asked(input="hi", text={"format": {"type": "json_schema", "name": "n"}})
    assert bare["response_format"]["json_schema"] == {"name": "n"}
    assert "response_format" not in asked(input="hi", text={})


@pytest.mark.parametrize(
    ("members", "word"),
    [
        ({"input": "hi", "previous_response_id": "resp_1"}, "previous_response_id"),
        ({"input": "hi", "conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"input": "hi", "background": True}, "background"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "item_reference"),
        ({"input": [{"id": "msg_1"}]}, "item_reference"),
        ({"input": [{"type": "compaction", "encrypted_content": "g"}]}, "compaction"),
        ({"input": [{"type": "shell_call", "call_id": "c"}]}, "shell_call"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_data": "x"}]}]},
            "input_file",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "x"}]}]},
            "input_image",
        ),
        ({"input": [{"role": 1}]}, "read"),
        ({"input": 1}, "read"),
    ],
)
def test_what_chat_has_no_words_for_is_said(members: Json, word: str) -> None:
    """Instead of asking for something else."""
    assert word in why(**members)


texts = st.text(max_size=3)
items = st.one_of(
    st.builds(lambda role, text: {"role": role, "content": text}, st.sampled_from(
        ["user", "assistant", "developer", "system"]), texts),
    st.builds(lambda n: call(call_id=f"c{n}"), st.integers(0, 3)),
    st.builds(lambda n, text: output(text, f"c{n}"), st.integers(0, 3), texts),
    st.just({"type": "reasoning", "summary": []}),
)  # fmt: skip


@law
@given(st.lists(items, max_size=9))
def test_any_history_is_a_valid_one_of_chat(history: list[Json]) -> None:
    """Each call once, with its result right behind; nothing that was said is lost."""
    made = {one["call_id"] for one in history if one.get("type") == "function_call"}
    known = [one for one in history if one.get("type") != "function_call_output"]
    body = {"model": "m", "input": [*known, *[output("done", one) for one in sorted(made)]]}
    written = RESPONSES_VIA_CHAT.request(json.dumps(body).encode(), output_bound=9)
    told = json.loads(written)["messages"]

    said = "".join(one["content"] for one in known if "role" in one)
    assert sorted(said) == sorted(
        "".join(m["content"] or "" for m in told if m["role"] != "tool").replace("\n\n", "")
        if "\n" not in said
        else said
    )
    for at, message in enumerate(told):
        ids = [one["id"] for one in message.get("tool_calls", [])]
        assert [one.get("tool_call_id") for one in told[at + 1 : at + 1 + len(ids)]] == ids
    roles = [m["role"] for m in told]
    assert "user user" not in " ".join(roles)
    assert "system" not in roles[1:]


@pytest.mark.data
def test_every_recorded_request_is_taken_or_refused_with_a_reason() -> None:
    """What is asked says the same, and the simulated provider of chat takes it."""
    taken = refused = 0
    for record in recordings("responses"):
        sent: Any = record["request"]
        body = (sent["body"] or "").encode()
        try:
            request = RESPONSES.parse(body, Bounds())
        except MalformedRequest:
            continue
        try:
            told = RESPONSES_VIA_CHAT.request(body, output_bound=9)
        except Untranslatable:
            refused += 1
            continue
        taken += 1
        assert is_taken("chat", told), told
        read = CHAT.parse(told, Bounds())
        told_texts = "\n".join([one.text for one in read.messages])
        assert all(one.text in told_texts for one in request.messages)
        assert sum(len(m.tool_calls) for m in request.messages) == sum(
            len(m.tool_calls) for m in read.messages
        )
    assert taken > 30
    assert refused
