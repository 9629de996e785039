"""One spelling for calls and results."""

import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.loops.normal import (
    NORMALISED_BYTES,
    call_digest,
    normal_arguments,
    normal_text,
    text_digest,
    tool_digest,
    user_digest,
)
from proxy.core.loops.policy import Loops
from proxy.core.usage import ToolCall

IGNORED = Loops().ignore_arguments


def digest_of(arguments: str, name: str = "fetch") -> bytes:
    return call_digest(ToolCall("any", name, arguments), IGNORED)


def test_a_call_is_the_same_however_it_is_spelt() -> None:
    assert digest_of('{"b": 1.0, "a": "x"}') == digest_of('{"a":"x","b":1}')
    assert digest_of("{}") != digest_of("{}", "search")
    assert digest_of("not json ") == digest_of("not json")


@given(st.lists(st.uuids(), min_size=2, max_size=5, unique=True))
def test_ids_in_arguments_make_calls_different(ids: list[UUID]) -> None:
    """To delete five different ids is five different things."""
    calls = {digest_of(json.dumps({"id": str(one)})) for one in ids}

    assert len(calls) == len(ids)


@pytest.mark.parametrize("name", ["request_id", "nonce", "idempotency_key", "timestamp"])
def test_arguments_that_are_ignored_make_no_difference_at_any_depth(name: str) -> None:
    one = {"a": 1, name: "x", "in": [{name: 1, "b": 2}]}
    other = {"a": 1, name: "y", "in": [{name: 2, "b": 2}]}

    assert (
        digest_of(json.dumps(one))
        == digest_of(json.dumps(other))
        == digest_of(json.dumps({"a": 1, "in": [{"b": 2}]}))
    )


def test_globs_name_arguments_and_values_never_do() -> None:
    assert normal_arguments('{"x_trace": 1, "q": "x_trace"}', ("*_trace",)) == '{"q":"x_trace"}'
    assert normal_arguments('{"x_trace": 1}', ("_trace",)) == '{"x_trace":1}'
    assert normal_arguments('{"a.b": 1, "axb": 2}', ("a.b",)) == '{"axb":2}'
    assert normal_arguments('{"nonce": ', ("nonce",)) == '{"nonce":'
    assert normal_arguments("[" * 2_000 + '{"nonce": 1}', ("nonce",))


def test_results_are_the_same_but_for_noise_and_white_space() -> None:
    noisy = [
        f'{{"error": "not found",\n "request_id": "req-{n:08x}", "at": "2026-11-30T10:46:{n}Z"}}'
        for n in (10, 59)
    ]

    assert len({text_digest(text) for text in noisy}) == 1
    assert text_digest("a  b\r\n") == text_digest("a b")
    assert text_digest("page 1") != text_digest("page 2")


@given(st.text(), st.integers(1_500_000_000, 1_999_999_999))
def test_a_time_in_a_result_makes_no_difference(text: str, seconds: int) -> None:
    assert text_digest(f"{text} {seconds} .") == text_digest(f"{text} 1700000000 .")


def test_what_is_beyond_the_bound_is_compared_as_it_stands() -> None:
    """A file that changed at its end is not the same file."""
    head = "x" * NORMALISED_BYTES

    assert text_digest(head + "a") != text_digest(head + "b")
    assert normal_text(head + " tail") == (head + " tail").encode()


def test_what_agents_put_in_between_is_nobodys_word() -> None:
    reminder = "<system-reminder>\nToday is Monday.\n</system-reminder>"

    assert user_digest(reminder) is None
    assert user_digest(reminder + "go on") == user_digest("go on")
    assert user_digest("<system-reminder> cut off") is None
    assert user_digest("  ") is None


def test_a_user_who_names_another_id_or_time_says_something_new() -> None:
    """Only of results they change by themselves."""
    said = "Fetch record {} of 2026-11-30 12:00:0{}, it took {}.5s."
    one, other = (UUID(int=n * 2**90 + n) for n in (1, 2))
    first = user_digest(said.format(one, 0, 1))

    assert first == user_digest(said.format(one, 0, 1).replace(" ", "\n "))
    assert first != user_digest(said.format(other, 0, 1))
    assert first != user_digest(said.format(one, 1, 1))
    assert first != user_digest(said.format(one, 0, 2))


def test_what_a_harness_counts_down_is_nobodys_word() -> None:
    said = "Go on. You have {} steps left and {} chances to propose a solution left. Thanks."

    assert user_digest(said.format(5, 2)) == user_digest(said.format(4, 2))
    assert user_digest(said.format(5, 2)) != user_digest(said.format(5, 2) + " Stop.")
    assert user_digest("You have 3 steps left.") is not None


@given(st.text())
def test_any_text_has_a_digest(text: str) -> None:
    """Lone surrogates come out of JSON as they are."""
    assert len(text_digest(text + "\ud800")) == 8
    assert len(tool_digest(text + "\ud800")) == 4
    assert len(call_digest(ToolCall("", text, text + "\ud800"))) == 8
