"""One message, one digest: however a client spells it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.canonical import (
    canonical_arguments,
    message_digest,
    parts_nest_deeper,
    said_digest,
)
from proxy.core.request import Role
from proxy.core.usage import Answer, ToolCall
from tests.unit.core.dialects.metering import law

texts = st.text(max_size=6) | st.sampled_from(["[{", "}]", '"', '\\"[', "\\"])
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=30,
)


def depth(value: object) -> int:
    match value:
        case dict():
            return 1 + max(map(depth, value.values()), default=0)
        case list():
            return 1 + max(map(depth, value), default=0)
    return 0


def test_digests_never_change() -> None:
    """They are stored: another version of this code must find the sessions of this one."""
    digest = message_digest("assistant", "Hi", [ToolCall("c1", "look", '{"q": 1}')])

    assert digest.hex() == "2eb5350cd25aa6376017808406e12cc2"
    assert message_digest("user", "é").hex() == "51f7397fa0f9eaa878cda5441205863e"


def test_an_answer_has_the_digest_of_its_echo() -> None:
    """Clients re-serialise arguments and strip text; the session must still be found."""
    answer = Answer("Sure.\n", (ToolCall("c1", "look", '{"b": 1.0, "a":"x"}'),), "resp_1", "stop")

    echo = message_digest("assistant", "Sure.", [ToolCall("c1", "look", '{"a":"x","b":1}')])

    assert message_digest("assistant", answer.text, answer.tool_calls) == echo


@pytest.mark.parametrize(
    "other",
    [
        message_digest("user", "a"),
        message_digest("assistant", "b"),
        message_digest("assistant", "a", [ToolCall("c", "f", "{}")]),
        message_digest("assistant", "a", [ToolCall("d", "f", "{}")]),
        message_digest("assistant", "a", [ToolCall("c", "g", "{}")]),
        message_digest("assistant", "a", [ToolCall("c", "f", "[]")]),
        message_digest("assistant", "a", tool_result_id="c"),
        message_digest("assistant", "a", attachments=[b'{"url":"x"}']),
        message_digest("assistant", "a", attachments=[b'{"url":"y"}']),
    ],
)
def test_what_differs_in_meaning_differs_in_digest(other: bytes) -> None:
    """Two messages taken for one would merge two sessions."""
    assert other != message_digest("assistant", "a")


def test_a_cache_marker_on_an_attachment_does_not_count() -> None:
    """Claude Code moves it with every request."""
    marked = message_digest("user", attachments=[b'{"url":"x","cache_control":{"type":"a"}}'])

    assert marked == message_digest("user", attachments=[b'{"url":"x"}'])


@law
@given(values)
def test_reserialised_arguments_are_the_same(value: object) -> None:
    """Key order, spaces and escapes are the client's taste."""
    sorted_text = json.dumps(value, sort_keys=True, ensure_ascii=True, indent=1)
    plain = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if "\\ud" not in sorted_text:
        assert canonical_arguments(sorted_text) == canonical_arguments(plain)


@pytest.mark.parametrize(
    ("arguments", "canonical"),
    [
        ('{"b":1.0,"a":0.10}', '{"a":0.1,"b":1}'),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("1e999", '"1e999"'),
        ("1e300", "1e300"),
        (' {"cut": "of', '{"cut": "of'),
        ("[" * 5000, "[" * 5000),
        ("", ""),
    ],
)
def test_arguments_have_one_spelling(arguments: str, canonical: str) -> None:
    """Numbers by value, as any client would write them back; what is not JSON as it is."""
    assert canonical_arguments(arguments) == canonical


def test_arguments_that_no_model_writes_are_taken_as_they_are() -> None:
    """29 MB of them held up every other call for eleven seconds."""
    long = '{"b":1,"a":"' + "x" * 300_000 + '"}'

    assert canonical_arguments(f" {long}\n") == long
    assert canonical_arguments(long.replace("x" * 200_000, "")).startswith('{"a":"x')


@law
@given(values, st.integers(1, 8))
def test_depth_is_exact(value: object, limit: int) -> None:
    """Brackets in texts are no nesting, and no shortcut may miss a real one."""
    assert parts_nest_deeper((json.dumps(value).encode(),), limit) is (depth(value) > limit)


@pytest.mark.parametrize(
    ("raw", "deep"),
    [
        (b"[" * 128 + b"]" * 128, False),
        (b"[" * 129 + b"]" * 129, True),
        (b'{"a":' + b'{"a":[1,"[",' * 70 + b"1" + b"]}" * 70 + b"}", True),
        (b'[{"a":' * 64 + b"1" + b"}]" * 64, False),
        (b'[{"a":' * 65 + b"1" + b"}]" * 65, True),
        (b"[" * 100_000, True),
        (b'{"a":' * 100_000, True),
        (b'{"a":' + b"x" * 1000, False),
        (b'{"a":[x' + b"[" * 300, False),
        (b'"' + b"[" * 1000 + b'"', False),
    ],
)
def test_hostile_nesting_is_found_without_recursion(raw: bytes, deep: bool) -> None:
    """A body of 100,000 brackets must not become a RecursionError."""
    assert parts_nest_deeper((raw,), 128) is deep


@given(
    st.sampled_from(["user", "assistant", "tool"]),
    st.text(),
    st.lists(st.tuples(st.text(), st.text(), st.text()), max_size=2),
    st.text(),
)
def test_a_digest_of_what_is_said_is_that_of_the_message(
    role: Role, text: str, calls: list[tuple[str, str, str]], result_id: str
) -> None:
    """Two spellings of one rule, and digests are persisted."""
    spelled = [(call_id, name, canonical_arguments(one)) for call_id, name, one in calls]
    made = [ToolCall(*call) for call in calls]

    assert said_digest(role, text, spelled, result_id) == message_digest(
        role, text, made, tool_result_id=result_id
    )
