"""Requests without what only one provider takes back: what is left says the same, and is valid."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.changes import Changes, Given
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.registry import DIALECTS
from proxy.core.request import DialectName, Request
from proxy.core.usage import ToolCall
from tests.unit.core.dialects.metering import law
from tests.unit.core.dialects.test_recorded_transforms import is_taken, recorded

Json = dict[str, Any]
UNBOUND = Changes(unbound=True)
P = Given(ToolCall("put_back", "f", "{}"), "sent")
BOUND_TO = (b"encrypted_content", b"signature", b"reasoning_details", b'"thinking"', b'"id": "rs_')


def unbound(dialect: DialectName, body: Json, changes: Changes = UNBOUND) -> Json:
    written = json.dumps({"model": "m", "max_tokens": 9} | body).encode()
    changed = DIALECTS[dialect].rewrite(written, parsed(dialect, written), changes)
    assert (changed is written) == (changed == written)
    found: Json = json.loads(changed)
    return found


def parsed(dialect: DialectName, body: bytes) -> Request:
    return DIALECTS[dialect].parse(body, Bounds())


def said_in(request: Request) -> str:
    return "".join([one.text for one in request.messages]).replace("(no answer)", "")


def said(*blocks: object, role: str = "assistant") -> Json:
    return {"role": role, "content": list(blocks)}


THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "s1g"}
SEALED = {"type": "redacted_thinking", "data": "x"}
TEXT = {"type": "text", "text": "So"}
USE = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "3"}
MINE = {"encrypted_content": "of a tool of the client's"}
SEARCH = {"type": "server_tool_use", "id": "srv1", "name": "web_search", "input": {}}
FOUND = {
    "type": "web_search_tool_result",
    "tool_use_id": "srv1",
    "content": [{"type": "web_search_result", "url": "u", "encrypted_content": "e"}],
}
CITED = TEXT | {"citations": [{"type": "web_search_result_location", "encrypted_index": "e"}]}
FETCH = {"type": "server_tool_use", "id": "srv2", "name": "web_fetch", "input": {}}
FETCHED = {"type": "web_fetch_tool_result", "tool_use_id": "srv2", "content": {"url": "u"}}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([THOUGHT, TEXT, SEALED, USE], [TEXT, USE]),
        ([TEXT, THOUGHT], [TEXT]),
        ([THOUGHT, SEALED], [{"type": "text", "text": "(no answer)"}]),
        ([SEARCH, FOUND, CITED], [TEXT]),
        ([THOUGHT, SEARCH, FOUND, FETCH, FETCHED, TEXT], [FETCH, FETCHED, TEXT]),
        ([TEXT, USE], [TEXT, USE]),
        ([THOUGHT, USE | {"input": MINE}], [USE | {"input": MINE}]),
        ([], []),
    ],
)
def test_claudes_thinking_and_what_it_sealed_goes(before: list[Json], after: list[Json]) -> None:
    """Its text and its calls stay, and no message is left empty."""
    user = {"role": "user", "content": "thinking"}

    assert unbound("messages", {"messages": [user, said(*before), user]}) == {
        "model": "m",
        "max_tokens": 9,
        "messages": [user, said(*after), user],
    }


ENABLED = {"type": "enabled", "budget_tokens": 1024}
KEEP = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}
TRIM = {"type": "clear_tool_uses_20250919"}


@pytest.mark.parametrize("made", [[THOUGHT, USE], [USE]])
def test_between_a_call_and_its_result_thinking_is_forgone(made: list[Json]) -> None:
    """Where it is enabled, it would have to begin the turn that made the call."""
    body: Json = {
        "messages": [said(*made), said(RESULT, role="user")],
        "thinking": ENABLED,
        "context_management": KEEP,
    }

    assert unbound("messages", body).keys() == {"model", "max_tokens", "messages"}
    body["context_management"] = {"edits": [*KEEP["edits"], TRIM], "a": 1}
    assert unbound("messages", body)["context_management"] == {"edits": [TRIM], "a": 1}
    body["context_management"] = {"edits": "clear_thinking"}
    assert "context_management" not in unbound("messages", body)


@pytest.mark.parametrize(
    "more",
    [
        {"thinking": {"type": "adaptive"}, "context_management": KEEP},
        {"thinking": {"type": "disabled"}},
    ],
)
def test_other_thinking_is_left_alone(more: Json) -> None:
    body: Json = {"messages": [said(USE), said(RESULT, role="user")]} | more

    assert unbound("messages", body) == {"model": "m", "max_tokens": 9} | body


def test_a_text_is_no_block() -> None:
    body: Json = {"messages": [{"role": "assistant", "content": "thinking"}]}

    assert unbound("messages", body)["messages"] == body["messages"]


def test_after_a_text_claude_may_think_again() -> None:
    body: Json = {"messages": [said(THOUGHT, TEXT), said(TEXT, role="user")], "thinking": ENABLED}

    assert unbound("messages", body)["thinking"] == ENABLED


CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "3"}
MESSAGE = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": ""}]}
ASKED = {"role": "user", "content": "rs_1"}
PATCH = {"type": "custom_tool_call", "call_id": "c2", "name": "apply_patch", "input": "*"}
REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
SEARCHED = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
REFERENCE = {"type": "item_reference", "id": "msg_1"}
ASKS = {"type": "mcp_approval_request", "id": "mcpr_1", "name": "f", "arguments": "{}"}


def test_of_a_response_reasoning_and_ids_go() -> None:
    """Calls keep their link to their results."""
    body: Json = {
        "input": [
            REASONING,
            SEARCHED,
            ASKED | {"id": "msg_0"},
            REASONING,
            CALL | {"id": "fc_1"},
            PATCH | {"id": "ctc_1"},
            OUTPUT | {"id": "fco_1"},
            REASONING,
            MESSAGE | {"id": "msg_1"},
            ASKS,
            REFERENCE,
            REASONING,
        ],
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
        "previous_response_id": "resp_1",
        "store": False,
    }

    changed = unbound("responses", body)

    assert changed["input"] == [ASKED, CALL, PATCH, OUTPUT, MESSAGE, ASKS, REFERENCE]
    assert changed["include"] == ["message.output_text.logprobs"]
    assert changed["previous_response_id"] == "resp_1"
    assert changed["store"] is False


def test_a_response_that_is_asked_for_nothing_sealed_asks_for_nothing() -> None:
    only = unbound("responses", {"input": "hi", "include": ["reasoning.encrypted_content"]})

    assert only == {"model": "m", "max_tokens": 9, "input": "hi"}
    assert unbound("responses", {"input": "hi", "include": None})["include"] is None


def test_what_is_not_bound_is_the_same_bytes() -> None:
    bodies: dict[DialectName, Json] = {
        "chat": {"messages": [{"role": "user", "content": "thinking"}]},
        "responses": {"input": [ASKED, CALL, OUTPUT]},
        "messages": {"messages": [said(TEXT), said(RESULT, role="user")]},
    }
    for dialect, body in bodies.items():
        assert unbound(dialect, body) == {"model": "m", "max_tokens": 9} | body


def answer(**members: object) -> Json:
    return {"role": "assistant", **members}


F = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
SIGNED = F | {
    "extra_content": {"google": {"thought_signature": "s1g"}},
    "provider_specific_fields": {"thought_signature": "s1g"},
    "function": {"name": "f", "arguments": "{}", "thought_signature": "s1g"},
}
OWN = {"id": "c1", "type": "custom", "custom": {"name": "f", "input": "x"}}
DONE = {"role": "tool", "tool_call_id": "c1", "content": "3"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            answer(content=None, reasoning_content="hm", tool_calls=[SIGNED]),
            answer(content=None, tool_calls=[F]),
        ),
        (
            answer(content="a", reasoning="hm", reasoning_details=[{}], thinking_blocks=[THOUGHT]),
            answer(content="a"),
        ),
        (
            answer(content=[{"type": "thinking", "thinking": []}, TEXT, "b"]),
            answer(content=[TEXT, "b"]),
        ),
        (answer(content=[THOUGHT]), answer(content="(no answer)")),
        (answer(content="", reasoning_content="hm"), answer(content="(no answer)")),
        (answer(reasoning="hm", tool_calls=[]), answer(tool_calls=[], content="(no answer)")),
        (answer(reasoning="hm", refusal="no"), answer(refusal="no")),
        (
            answer(content=[THOUGHT], function_call={"name": "f", "arguments": ""}),
            answer(content=[], function_call={"name": "f", "arguments": ""}),
        ),
        (answer(content=""), answer(content="")),
        (answer(content="a", tool_calls=None), answer(content="a", tool_calls=None)),
        (answer(content="a", tool_calls=[OWN]), answer(content="a", tool_calls=[OWN])),
    ],
)
def test_of_a_chat_reasoning_and_signatures_go(before: Json, after: Json) -> None:
    user = {"role": "user", "content": "hi", "extra_content": {"mine": 1}}
    changed = unbound("chat", {"messages": [user, before, DONE]})

    assert changed["messages"] == [user, after, DONE]


@pytest.mark.parametrize("model", ["deepseek-v4-pro", "kimi-k2-thinking", "DeepSeek-chat"])
def test_who_wants_reasoning_back_gets_it(model: str) -> None:
    """At their own doors DeepSeek and Kimi refuse an answer without it, Kimi an empty one too."""
    turns = [
        answer(content="a", reasoning_content="hm"),
        answer(content="a", reasoning="hm", reasoning_details=[]),
        answer(content=None, tool_calls=[F], reasoning_content=""),
        answer(content="a", reasoning_content=None),
    ]
    wanted = [
        answer(content="a", reasoning_content="hm"),
        answer(content="a", reasoning_content="hm"),
        answer(content=None, tool_calls=[F], reasoning_content=" "),
        answer(content="a", reasoning_content=" "),
    ]

    changed = unbound("chat", {"messages": turns}, Changes(unbound=True, model=model))

    assert changed["messages"] == wanted
    other = unbound("chat", {"messages": turns}, Changes(unbound=True, model=f"router/{model}"))
    assert not any("reasoning_content" in one for one in other["messages"])


@pytest.mark.parametrize("model", ["gemini-3-pro", "google/gemini-3-flash"])
def test_gemini_is_told_that_a_call_is_not_signed(model: str) -> None:
    """The first of each turn has to say so; a signature of another model it refuses."""
    turn = answer(content=None, tool_calls=[SIGNED, SIGNED | {"id": "c2"}])

    changed = unbound("chat", {"model": model, "messages": [turn, DONE]})

    word = {"google": {"thought_signature": "skip_thought_signature_validator"}}
    expected = answer(content=None, tool_calls=[F | {"extra_content": word}, F | {"id": "c2"}])
    assert changed["messages"] == [expected, DONE]


@pytest.mark.parametrize("model", ["mistral-large", "mistralai/Devstral-Small", "codestral-2508"])
def test_mistral_is_told_ids_that_it_takes(model: str) -> None:
    """Nine letters or digits; the same for a call and its result, and those that are so stay."""
    theirs = F | {"id": "abcDEF123"}
    turn = answer(content=None, tool_calls=[F | {"id": "call_1"}, theirs, F | {"id": ""}])
    results = [DONE | {"tool_call_id": one} for one in ("call_1", "abcDEF123", "")]

    changed = unbound("chat", {"model": model, "messages": [turn, *results]})

    ids = [call["id"] for call in changed["messages"][0]["tool_calls"]]
    assert [one["tool_call_id"] for one in changed["messages"][1:]] == ids
    assert ids[1:] == ["abcDEF123", ""]
    assert len(ids[0]) == 9
    assert ids[0].isalnum()
    other = unbound("chat", {"model": "gpt-5", "messages": [turn, *results]})
    assert other["messages"] == [turn, *results]


def test_mistral_has_an_answer_between_a_result_and_its_user() -> None:
    """Beside what is put back, whose place is told by the messages as they were."""
    user = {"role": "user", "content": "hi"}
    turns = [answer(content=None, tool_calls=[F]), DONE, user]
    bridge = answer(content="I have the results.")

    changed = unbound("chat", {"model": "mistral", "messages": [*turns, *turns]})
    roles = [one["role"] for one in changed["messages"]]
    assert roles == 2 * ["assistant", "tool", "assistant", "user"]
    assert changed["messages"][2] == bridge
    assert unbound("chat", {"messages": turns})["messages"] == turns

    both = Changes(unbound=True, put_back=(P,), notes=("NB",), model="mistral")
    changed = unbound("chat", {"messages": [*turns, *turns[:2]]}, both)
    assert [one["role"] for one in changed["messages"]] == [
        *("assistant", "tool", "assistant", "user"),
        *("assistant", "tool", "tool", "assistant", "user"),
    ]
    ids = [call["id"] for call in changed["messages"][4]["tool_calls"]]
    assert ids == [one["tool_call_id"] for one in changed["messages"][5:7]]


def test_calls_without_an_id_are_left_without() -> None:
    turn = answer(content=None, tool_calls=[F | {"id": None}])

    assert unbound("chat", {"model": "mistral", "messages": [turn, DONE]})["messages"][0] == turn


def test_it_goes_with_all_other_changes() -> None:
    """Each is made where it belongs after what was taken out."""
    every = Changes(7, model="n", notes=("NB",), without_tools=("g",), put_back=(P,), unbound=True)
    f, g = ({"type": "function", "name": name, "parameters": {}} for name in "fg")
    items = [ASKED, REASONING, CALL | {"id": "fc_1"}, OUTPUT]
    changed = unbound("responses", {"input": items, "tools": [f, g]}, every)
    back = {"type": "function_call", "call_id": "put_back", "name": "f", "arguments": "{}"}
    sent = {"type": "function_call_output", "call_id": "put_back", "output": "sent"}
    assert changed["input"][:5] == [ASKED, CALL, back, OUTPUT, sent]
    assert (changed["model"], changed["tools"]) == ("n", [f])

    turns = [said(THOUGHT, USE), said(RESULT, role="user")]
    tools = [{"name": name, "input_schema": {}} for name in "fg"]
    body = {"messages": turns, "tools": tools, "thinking": ENABLED, "max_tokens": 2000}
    changed = unbound("messages", body, every)
    used, told = changed["messages"]
    assert [block["type"] for block in used["content"]] == ["tool_use", "tool_use"]
    assert [block["type"] for block in told["content"]] == ["tool_result", "tool_result", "text"]
    assert ("thinking" in changed, changed["max_tokens"]) == (False, 7)

    chat = [answer(content=None, reasoning="hm", tool_calls=[SIGNED]), DONE]
    changed = unbound("chat", {"messages": chat}, every)
    turn, *results = changed["messages"]
    assert [call["id"] for call in turn["tool_calls"]] == ["c1", "put_back"]
    assert [one["role"] for one in results] == ["tool", "tool", "user"]
    assert "reasoning" not in turn


blocks = st.sampled_from([THOUGHT, SEALED, TEXT, USE, SEARCH, FOUND, CITED])
items = st.sampled_from([REASONING, SEARCHED, CALL | {"id": "fc_1"}, OUTPUT, MESSAGE, PATCH, ASKED])


@law
@given(st.lists(st.lists(blocks, max_size=5), max_size=4), st.lists(items, max_size=8))
def test_what_was_said_and_called_stays(turns: list[list[Json]], given_items: list[Json]) -> None:
    """And nothing bound is left, whatever the history; once more takes out nothing more."""
    bodies: dict[DialectName, Json] = {
        "messages": {"messages": [said(*one) for one in turns]},
        "responses": {"input": given_items},
    }
    for dialect, body in bodies.items():
        before = parsed(dialect, json.dumps({"model": "m", "max_tokens": 9} | body).encode())
        written = json.dumps(unbound(dialect, body)).encode()
        after = parsed(dialect, written)
        assert [one.tool_calls for one in after.messages] == [
            one.tool_calls for one in before.messages
        ]
        assert said_in(after) == said_in(before)
        assert not any(mark in written for mark in BOUND_TO)
        assert DIALECTS[dialect].rewrite(written, after, UNBOUND) is written


@pytest.mark.data
@pytest.mark.parametrize("dialect", ["chat", "responses", "messages"])
def test_every_recorded_request_can_be_unbound(dialect: DialectName) -> None:
    """What the provider took it takes, with the same calls and results."""
    changed = 0
    for body, request, _ in recorded(dialect):
        after = DIALECTS[dialect].rewrite(body, request, UNBOUND)
        read = parsed(dialect, after)
        assert is_taken(dialect, after) or not is_taken(dialect, body)
        assert [one.tool_calls for one in read.messages if one.tool_calls] == [
            one.tool_calls for one in request.messages if one.tool_calls
        ]
        assert said_in(read) == said_in(request)
        changed += after is not body
    assert changed or dialect == "messages"  # none of those recorded has thinking


@pytest.mark.timeout(10)
@pytest.mark.parametrize("dialect", ["messages", "responses"])
def test_thoughts_without_end_take_no_longer(dialect: DialectName) -> None:
    """While they are taken out all other calls wait."""
    body: Json = {"input": [{"type": "reasoning", "id": "rs"}, {"role": "user", "content": "x"}]}
    body["input"] *= 40_000
    if dialect == "messages":
        body = {"messages": [said(*[THOUGHT, TEXT] * 40_000)]}
    told = unbound(dialect, body)

    left = told["input"] if "input" in told else told["messages"][0]["content"]
    assert len(left) == 40_000
