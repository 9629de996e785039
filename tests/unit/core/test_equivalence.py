"""Whether two requests with the same conversation ask for the same."""

import json
from typing import Any

import pytest

from proxy.core import equivalence
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.registry import DIALECTS
from proxy.core.equivalence import SteadyChains, asks_otherwise, differs, steady_digest
from proxy.core.request import DialectName

LISTS: dict[DialectName, str] = {"chat": "messages", "responses": "input", "messages": "messages"}
SAID = [{"role": "user", "content": "hi"}]


def compared(
    dialect: DialectName, one: dict[str, Any], other: dict[str, Any], *, history: bool = False
) -> str:
    least: dict[str, Any] = {"model": "m", LISTS[dialect]: SAID}
    if dialect == "messages":
        least["max_tokens"] = 9
    mine, theirs = (json.dumps({**least, **more}).encode() for more in (one, other))
    if not history:
        return asks_otherwise(mine, theirs)
    parse = DIALECTS[dialect].parse
    return differs(mine, parse(mine, Bounds()), theirs, parse(theirs, Bounds()))


@pytest.mark.parametrize("dialect", ["chat", "responses", "messages"])
@pytest.mark.parametrize(
    "more",
    [
        {"metadata": {"user_id": "session-2"}},
        {"user": "u-2"},
        {"stream": True},
        {"service_tier": "flex"},
    ],
)
def test_who_asks_and_how_it_is_delivered_is_no_difference(
    dialect: DialectName, more: dict[str, Any]
) -> None:
    assert compared(dialect, more, {}) == ""


def test_what_codex_says_of_its_run_is_no_difference() -> None:
    one = {"prompt_cache_key": "t-1", "client_metadata": {"session_id": "t-1"}}
    other = {"prompt_cache_key": "t-2", "client_metadata": {"session_id": "t-2"}}

    assert compared("responses", one, other) == ""


def test_what_claude_code_says_of_its_run_is_no_difference() -> None:
    """A billing line, a cache marker that moves, the day, and an id in the system's text."""

    def system(billed: str, day: str, run: str, **more: object) -> dict[str, Any]:
        texts = [f"x-anthropic-billing-header: cch={billed};", f"Today is {day}. Log: {run}."]
        blocks: list[dict[str, object]] = [{"type": "text", "text": text} for text in texts]
        blocks[-1].update(more)
        return {"system": blocks, "tools": [{"name": "Read", "input_schema": {}, **more}]}

    marker = {"cache_control": {"type": "ephemeral"}}
    one = system("ab1", "2026-11-30", "8c6d2f0e-8a63-4a0b-9f43-2f7d9a1b6c55")
    other = system("cd2", "2026-12-01", "1c0d2f0e-8a63-4a0b-9f43-2f7d9a1b6c99", **marker)

    assert compared("messages", one, other) == ""


@pytest.mark.parametrize(
    ("dialect", "one", "why"),
    [
        ("chat", {"model": "m-2"}, "another model"),
        ("chat", {"temperature": 0.5}, "another temperature"),
        ("chat", {"tools": [{"type": "function", "function": {"name": "f"}}]}, "another tools"),
        ("chat", {"response_format": {"type": "json_object"}}, "another response_format"),
        ("responses", {"instructions": "Be brief."}, "another system text"),
        ("messages", {"system": "Be brief."}, "another system text"),
        ("messages", {"system": [{"type": "text", "text": "Be brief."}]}, "another system text"),
        ("messages", {"max_tokens": 10}, "another max_tokens"),
        ("chat", {"x\r\ny é" + "z" * 99: 1}, "another x??y??" + "z" * 58),
    ],
)
def test_what_changes_the_answer_is_named(
    dialect: DialectName, one: dict[str, Any], why: str
) -> None:
    """Either way round, and never quoted."""
    assert compared(dialect, one, {}) == why
    assert compared(dialect, {}, one) == why


@pytest.mark.parametrize("role", ["system", "developer"])
@pytest.mark.parametrize("dialect", ["chat", "responses"])
def test_what_the_system_says_within_the_conversation_counts(
    dialect: DialectName, role: str
) -> None:
    """It is in no history: one would not see it."""

    def told(text: object) -> dict[str, Any]:
        return {LISTS[dialect]: [{"role": role, "content": text}, *SAID]}

    assert compared(dialect, told("Be brief."), told("Be long.")) == "another system text"
    assert compared(dialect, told("Be brief."), told("Be  brief.")) == ""
    parts = [{"type": "input_text" if dialect == "responses" else "text", "text": "Be brief."}]
    assert compared(dialect, told("Be brief."), told(parts)) == ""


def test_spelling_is_no_difference() -> None:
    """Key order, spaces, and null for nothing."""
    one = {"response_format": {"a": 1, "b": [1, 2]}, "stop": None}
    other = {"response_format": {"b": [1, 2], "a": 1}}

    assert compared("chat", one, other) == ""


def test_a_number_that_cannot_be_read_is_compared_as_it_stands() -> None:
    body = b"""{"model":"m","messages":[
        {"role":"system","content":[{"type":"text","text":"x","n":1e999}]},
        {"role":"user","content":"hi"}],"seed":%s}"""
    one, other = body % b"1e998", body % b"1e997"

    assert asks_otherwise(one, one) == ""
    assert asks_otherwise(one, other)


def test_a_text_as_input_is_its_conversation() -> None:
    """Responses takes a prompt that is no list."""
    assert compared("responses", {"input": "hi"}, {"input": "hi", "user": "u"}) == ""


@pytest.mark.parametrize(
    ("mine", "theirs", "why"),
    [
        (["a"], ["b"], "message 1 (user) is another"),
        (["a", "b"], ["a", "c"], "message 2 (user) is another"),
        (["a"], ["a", "b"], "message 2 (user) is not there"),
        (["a", "b", "c"], ["a"], "message 2 (user) is more"),
        (["a", "b"], ["a", "b"], ""),
    ],
)
def test_the_first_message_that_is_another_is_named(
    mine: list[str], theirs: list[str], why: str
) -> None:
    def said(texts: list[str]) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": text} for text in texts]}

    assert compared("chat", said(mine), said(theirs), history=True) == why


def test_a_tool_result_that_is_another_is_named_as_one() -> None:
    """The most common reason why a run goes another way."""

    def said(result: str) -> dict[str, Any]:
        call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        return {
            "messages": [
                *SAID,
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c1", "content": result},
            ]
        }

    why = compared("chat", said("one"), said("two"), history=True)

    assert why == "message 3 (tool result) is another"


def test_a_tool_result_may_differ_in_what_changes_by_itself() -> None:
    """A command that is run again: another id, another time, and the same that it says."""

    def ran(*results: tuple[str, str]) -> dict[str, Any]:
        calls = [
            {"id": id_, "type": "function", "function": {"name": "f", "arguments": "{}"}}
            for id_, _ in results
        ]
        said = [{"role": "tool", "tool_call_id": id_, "content": text} for id_, text in results]
        return {"messages": [*SAID, {"role": "assistant", "tool_calls": calls}, *said]}

    one = ran(("c1", "Chunk ID: 0a1b2c\nWall time: 0.0123 seconds\nOutput: one"))
    again = ran(("c1", "Chunk ID: ff00aa\nWall time: 0.0456 seconds\nOutput: one"))
    other = ran(("c1", "Chunk ID: 0a1b2c\nWall time: 0.0123 seconds\nOutput: two"))
    another = ran(("c2", "Chunk ID: 0a1b2c\nWall time: 0.0123 seconds\nOutput: one"))

    assert compared("chat", one, again, history=True) == ""
    assert compared("chat", one, other, history=True) == "message 3 (tool result) is another"
    assert compared("chat", one, another, history=True) == "message 2 (assistant) is another"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            "order 7c9e6679-7425-40de-944b-e07fc1f90ae7",
            "order 0d1f8a7e-7425-40de-944b-e07fc1f90ae7",
        ),
        ("HEAD is now at 538c3a2f", "HEAD is now at 982d8e2a"),
        ("key sk4Xq9Zb2Lm7Rt5Wv8Yn1", "key Qp3Jd6Fh0Ks9Gc2Vx7Bz4"),
        ("if x:\n    return y", "if x:\nreturn y"),
    ],
)
def test_a_tool_result_with_another_id_is_another(one: str, other: str) -> None:
    """The recorded answer goes on with the id of then: it would pay the first order again."""

    def ran(text: str) -> dict[str, Any]:
        calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
        said = {"role": "tool", "tool_call_id": "c1", "content": text}
        return {"messages": [*SAID, {"role": "assistant", "tool_calls": calls}, said]}

    why = compared("chat", ran(one), ran(other), history=True)

    assert why == "message 3 (tool result) is another"


@pytest.mark.parametrize("other", [{"id": "p2"}, {"id": "p1", "variables": {"city": "Bonn"}}])
def test_another_prompt_of_the_provider_is_another_request(other: dict[str, Any]) -> None:
    """Of responses: what it says is not in the request."""
    one = {"id": "p1", "variables": {"city": "Rome"}}

    why = compared("responses", {"input": "hi", "prompt": one}, {"input": "hi", "prompt": other})

    assert why == "another prompt"


def test_another_speaker_is_another_request() -> None:
    one, other = ({"messages": [{**SAID[0], "name": name}]} for name in ("bob", "eve"))

    assert compared("chat", one, other) == "another name of who speaks"
    assert compared("chat", one, one) == ""


def test_what_a_user_says_counts_to_the_letter() -> None:
    """To ask for another time is to ask for something else."""

    def said(text: str) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": text}]}

    why = compared("chat", said("at 10:00:00"), said("at 11:00:00"), history=True)

    assert why == "message 1 (user) is another"


def test_another_dialect_is_another_request() -> None:
    chat = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
    messages = chat[:-1] + b',"max_tokens":9}'
    one, other = DIALECTS["chat"], DIALECTS["messages"]

    said = differs(chat, one.parse(chat, Bounds()), messages, other.parse(messages, Bounds()))

    assert said == "it was recorded as messages"


def test_a_history_is_the_same_however_often_it_was_read() -> None:
    """What was read of a tool's result before is another one's only where they say the same."""

    def results(*said: tuple[str, bool]) -> bytes:
        blocks = [
            {"type": "tool_result", "tool_use_id": "t", "content": text, "is_error": failed}
            for text, failed in said
        ]
        return json.dumps(
            {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": blocks}]}
        ).encode()

    said = [("took 3.1 seconds", False), ("took 3.1 seconds", True), (" took 3.1 seconds", False)]
    parse, chains = DIALECTS["messages"].parse, SteadyChains()
    request = parse(results(*said, *said, ("took 4.7 seconds", False)), Bounds())
    expected = b"".join([steady_digest(message) for message in request.history.messages])

    assert chains.chain(request) == chains.chain(request) == expected
    digests = [expected[at : at + 16] for at in range(0, len(expected), 16)]
    assert digests[:3] == digests[3:6]
    assert len({*digests[:3]}) == 3
    assert digests[6] == digests[0]


def test_no_more_of_a_history_is_kept_than_so_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equivalence, "_KNOWN", 2)
    chains, parse = SteadyChains(), DIALECTS["chat"].parse
    for n in range(9):
        said = [*SAID, {"role": "tool", "tool_call_id": "t", "content": str(n)}]
        body = json.dumps({"model": "m", "messages": said}).encode()
        assert chains.chain(parse(body, Bounds()))

        assert len(chains) <= 2
