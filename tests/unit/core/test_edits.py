"""Edits of lists inside a body: the parts are found where they are, and nothing else is touched."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core import edits
from proxy.core.edits import Draft, Edit, Span, edited, is_empty, last_of, moved, parts_of, without
from proxy.core.splice import members
from tests.unit.core.dialects.metering import law

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ['{"', '"},{"', '{"a":1}]', "\\", '\\"', '{\\"', "]}", '":{"']
)
values = st.recursive(
    st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
objects = st.dictionaries(texts, values, max_size=3)
lists = st.lists(objects, max_size=5)
spellings = st.sampled_from(
    [
        {"separators": (",", ":")},
        {"separators": (",", ":"), "ensure_ascii": False},
        {},
        {"indent": 1},
        {"separators": (" ,\n", "\t: ")},
        {"separators": (",", ":"), "closing": " "},
    ]
)


def spelled(value: object, how: dict[str, object]) -> bytes:
    written = {key: value for key, value in how.items() if key != "closing"}
    text = json.dumps(value, **written)  # type: ignore[arg-type]
    head, found, tail = text.rpartition("]")
    return f"{head}{how.get('closing', '')}{found}{tail}".encode()


@law
@given(lists, spellings)
def test_parts_are_where_they_are(found: list[object], how: dict[str, object]) -> None:
    """Read each for itself, they are the list."""
    body = spelled({"x": 1, "l": found}, how)
    span = next(Span(m.value_start, m.value_end) for m in members(body) if m.key == "l")

    spans = parts_of(body, span)

    assert [json.loads(body[one.start : one.end]) for one in spans] == found
    assert is_empty(body, span) == (not found)


@law
@given(lists, spellings)
def test_the_last_part_is_found_from_the_end(found: list[object], how: dict[str, object]) -> None:
    """Whatever brackets and quotes its texts have."""
    body = b" %b " % spelled(found, how)
    span = Span(1, len(body) - 1)

    assert last_of(body, span) == next(reversed(parts_of(body, span)), None)


def test_a_last_part_of_many_objects_is_found_by_reading_the_list() -> None:
    """Trying every bracket of a hostile text would take longer than reading."""
    part = [{"a": [{"b": {"c": n}} for n in range(40)]}]
    body = json.dumps([{}, *part], separators=(",", ":")).encode()

    assert last_of(body, Span(0, len(body))) == (4, len(body) - 1)


def test_brackets_are_tried_a_few_times_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list is not read where the last part shows."""
    monkeypatch.setattr(edits, "parts_of", None)
    body = b'[{"a":"{"},{"b":{"c":{"d":"{"}}}]'

    assert last_of(body, Span(0, len(body))) == (11, len(body) - 1)


def test_edits_move_what_comes_after_them() -> None:
    """Members are then set where they are, not where they were."""
    body = b'{"a":[1],"b":[],"c":2}'
    draft = Draft(body, members(body))
    for key in ("a", "b"):
        span = draft.span(key)
        assert span is not None
        draft.append(span, b"7")
        draft.put(span.end - 1, b",8")
    draft.members["c"] = b"33"
    draft.members["d"] = b"4"

    assert draft.written() == b'{"a":[1,7,8],"b":[7,8],"c":33,"d":4}'


def test_edits_replace_and_are_put_in_order() -> None:
    """However they were found."""
    body = b'{"a":[1,2,3],"b":0}'
    found = [Edit(6, 8, b""), Edit(10, 11, b"three")]

    assert edited(body, found) == b'{"a":[2,three],"b":0}'
    assert [one.value_start for one in moved(members(body), found)] == [5, 19]
    assert moved(members(body), [Edit(5, 5, b"0")])[0].value_start == 5
    draft = Draft(body, members(body))
    draft.edits += reversed(found)
    assert draft.written() == b'{"a":[2,three],"b":0}'


def test_parts_taken_out_side_by_side_move_what_comes_after_them() -> None:
    """By no more than what they were."""
    body = b'{"a":[1 , 2 , 3],"b":0}'
    draft = Draft(body, members(body))
    draft.edits += without(parts_of(body, Span(5, 16)), [1, 2])
    draft.members["b"] = b"4"

    assert draft.written() == b'{"a":[1],"b":4}'


def test_a_draft_without_changes_is_the_body() -> None:
    """The same object: untouched bytes are what fidelity means."""
    body = b'{"a":null,"a":[]}'
    draft = Draft(body, members(body))

    assert draft.written() is body
    assert draft.span("a") == (14, 16)
    assert draft.value("a") == b"[]"
    assert draft.span("b") is None
    assert Draft(b'{"a":null}', members(b'{"a":null}')).span("a") is None
