"""Deltas put together are the message that a client would send back."""

import json
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.dialects.chat_turn import merge
from proxy.core.dialects.pieces import encode

Json = dict[str, object]


def merged(*deltas: Mapping[str, object]) -> object:
    message: Json = {}
    for delta in deltas:
        merge(message, delta)
    return json.loads(encode(message))


def test_texts_are_joined_and_names_are_not() -> None:
    one, two = {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}

    assert merged(one, two) == {"role": "assistant", "content": "ab"}


def test_what_says_nothing_takes_nothing_away() -> None:
    assert merged({"content": None}, {"content": "a"}, {"content": None}) == {"content": "a"}
    assert merged({"content": ""}, {"content": "a"}, {"content": ""}) == {"content": "a"}


def test_entries_of_a_list_are_joined_by_index_and_type() -> None:
    """OpenRouter's reasoning, which the model wants back."""
    text, more = {"type": "t", "index": 0, "text": "a"}, {"type": "t", "index": 0, "text": "b"}
    sealed = {"type": "s", "index": 0, "data": "x"}

    told = merged({"d": [text]}, {"d": [more]}, {"d": [sealed]}, {"d": [{**text, "index": 1}]})

    assert told == {"d": [{**text, "text": "ab"}, sealed, {**text, "index": 1}]}


def test_content_parts_come_one_after_another() -> None:
    """Mistral's: thoughts as parts, then a text."""
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "a"}]}

    told = merged({"content": ""}, {"content": [thought]}, {"content": [thought]}, {"content": "b"})

    assert told == {"content": [thought, thought, {"type": "text", "text": "b"}]}


def test_values_of_other_kinds_are_replaced() -> None:
    assert merged({"a": 1, "b": {"c": "x"}}, {"a": 2, "b": {"c": "y", "d": 1}}) == {
        "a": 2,
        "b": {"c": "xy", "d": 1},
    }
    assert merged({"a": "x"}, {"a": 3}) == {"a": 3}


def test_a_long_text_is_whole() -> None:
    said = [f"{n} " for n in range(1_000)]

    assert merged(*({"content": piece} for piece in said)) == {"content": "".join(said)}


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), max_size=9))
def test_any_number_of_pieces_is_the_text(said: list[str]) -> None:
    told = merged(*({"content": piece} for piece in said))

    assert told == ({"content": "".join(said)} if said else {})
