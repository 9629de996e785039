"""Changes in the original bytes: what is decoded is as asked, what is not named is untouched."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.splice import members, splice
from tests.unit.core.dialects.metering import law

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ['"', "\\", ',"a":1', "}{][", "a", "max_tokens"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 10**6) | st.floats(-9, 9) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from(["a", "b", "max_tokens", "model", 'q"', "é"])
spaces = st.sampled_from(["", " ", "\n\t"])
changes = st.dictionaries(keys, st.sampled_from([None, b"7", b'{"z": 1}', b'"x"']), max_size=3)


@st.composite
def spelled(draw: st.DrawFn, key: str) -> str:
    """A key as a hostile client may spell it."""
    text = json.dumps(key, ensure_ascii=draw(st.booleans()))
    if text.isascii() and "\\" not in text and draw(st.booleans()):
        return '"' + "".join(f"\\u{ord(letter):04X}" for letter in key) + '"'
    return text


@st.composite
def bodies(draw: st.DrawFn) -> tuple[list[str], bytes]:
    """The keys, and an object with them, in any spelling and spacing, repeated or not."""
    names = draw(st.lists(keys, max_size=5))
    pieces = []
    for name in names:
        value = json.dumps(draw(values), ensure_ascii=draw(st.booleans()))
        gap = [draw(spaces) for _ in range(4)]
        pieces.append(f"{gap[0]}{draw(spelled(name))}{gap[1]}:{gap[2]}{value}{gap[3]}")
    text = draw(spaces) + "{" + draw(spaces) + ",".join(pieces) + "}" + draw(spaces)
    return names, text.encode()


@law
@given(bodies(), changes)
def test_a_spliced_body_decodes_to_what_was_asked(
    body: tuple[list[str], bytes], wanted: dict[str, bytes | None]
) -> None:
    """The one law that limits stand on: what we set is what a provider reads."""
    _, raw = body
    expected = json.loads(raw)
    for key, value in wanted.items():
        if value is None:
            expected.pop(key, None)
        else:
            expected[key] = json.loads(value)

    assert json.loads(splice(raw, wanted)) == expected


@law
@given(bodies(), changes)
def test_untouched_members_keep_their_bytes_and_order(
    body: tuple[list[str], bytes], wanted: dict[str, bytes | None]
) -> None:
    """Prompt caches and signatures are over bytes."""
    _, raw = body
    spliced = splice(raw, wanted)

    def untouched(text: bytes) -> list[bytes]:
        return [text[m.key_start : m.value_end] for m in members(text) if m.key not in wanted]

    assert untouched(spliced) == untouched(raw)


@law
@given(bodies())
def test_the_scan_finds_every_member_and_every_repetition(body: tuple[list[str], bytes]) -> None:
    """A key given twice shows one value to us and another to the provider."""
    names, raw = body

    assert [member.key for member in members(raw)] == names


def test_nothing_to_change_gives_the_same_object() -> None:
    """So that a caller can tell, and nothing is copied."""
    body = b'{"a": 1, "b":[2]}'

    assert splice(body, {}) is body
    assert splice(body, {"c": None}) is body
    assert splice(body, {"a": b"1", "b": b"[2]"}) is body


def test_a_new_member_comes_last_and_keeps_the_space_around() -> None:
    """Insertion moves nothing."""
    assert splice(b'{\n "a": 1\n}\n', {"b": b"2"}) == b'{\n "a": 1,"b":2\n}\n'
    assert splice(b"{ }", {"b": b"2"}) == b'{"b":2 }'
    assert splice(b'{"a":1}', {"a": None, "b": b"2"}) == b'{"b":2}'


def test_a_key_inside_a_value_is_not_the_key() -> None:
    """Neither a nested one nor one in a text is what a provider reads as the bound."""
    body = b'{"metadata":{"max_tokens":5},"x":"\\"max_tokens\\":6","max\\u005ftokens":9}'

    spliced = splice(body, {"max_tokens": b"7"})

    assert json.loads(spliced)["max_tokens"] == 7
    assert json.loads(spliced)["metadata"] == {"max_tokens": 5}


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":{"x":[1,"}"]},"a":5}',
        b'{"a":"s\\"","a":5}',
        b'{"a":12,"a":1}',
        b'{"a":"xxx,y","a":"zz"}',
        b'{"a":[{"b":["]",{}]}],"b":true,"a":[]}',
    ],
)
def test_values_that_the_last_one_hides_are_skipped_whole(body: bytes) -> None:
    """Of a repeated key, only the last value is known beforehand; the others are walked over."""
    assert json.loads(splice(body, {"c": b"1", "b": b"2"})) == {
        **json.loads(body),
        "b": 2,
        "c": 1,
    }


@pytest.mark.parametrize("body", [b"[]", b"5", b"{", b""])
def test_what_is_no_object_raises(body: bytes) -> None:
    """The caller has refused it before; here it must not pass silently."""
    with pytest.raises(msgspec.DecodeError):
        members(body)
