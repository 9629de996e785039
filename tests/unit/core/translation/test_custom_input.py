"""The text of a custom tool's call, however a model wrote the arguments and however they came."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.translation.responses_via_chat.custom_input import CustomInput, input_of
from tests.unit.core.dialects.metering import law

texts = st.text(
    st.sampled_from('ab"\\\n\t/{}:é😀\u2028') | st.characters(exclude_categories=["Cs"]),
    max_size=12,
)


def fed(pieces: list[str]) -> tuple[list[str], CustomInput]:
    growing = CustomInput()
    new = [growing.feed(piece) for piece in pieces]
    return [*new, growing.close()], growing


@law
@given(texts, st.booleans(), st.sampled_from([None, 1, "\t"]), st.lists(st.integers(0, 99)))
def test_a_text_comes_whole_however_it_is_cut(
    text: str, ascii_only: bool, indent: int | str | None, cuts: list[int]
) -> None:
    """Escapes and surrogate pairs included; none of it is passed before it is certain."""
    written = json.dumps({"input": text}, ensure_ascii=ascii_only, indent=indent)
    places = sorted({0, len(written), *(cut % (len(written) + 1) for cut in cuts)})
    pieces = [written[a:b] for a, b in pairwise(places)]

    new, growing = fed(pieces)

    assert "".join(new) == growing.text == text
    assert growing.is_whole
    assert input_of(written) == text


def test_it_comes_as_it_is_written() -> None:
    new, _ = fed(['{"inp', 'ut": "a', "\\", "n\\ud83d", "\\ude00b", '"}'])

    assert new == ["", "a", "", "\n", "😀b", "", ""]


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("*** Begin", "*** Begin"),
        ("", ""),
        ('{"patch": "a"}', '{"patch": "a"}'),
        ('{"input": 3}', '{"input": 3}'),
        ('["input"]', '["input"]'),
        ('{"why": "b", "input": "a"}', "a"),
        (" {", " {"),
        ('{"in', '{"in'),
    ],
)
def test_a_model_that_writes_the_text_alone_is_taken_at_its_word(written: str, text: str) -> None:
    """Small models do. An object with more in it is read when it is whole."""
    for pieces in ([written], list(written)):
        new, growing = fed(pieces)
        assert "".join(new) == growing.text == text
        assert growing.is_whole
    assert input_of(written) == text


@pytest.mark.parametrize(
    ("written", "text"),
    [('{"input": "ab', "ab"), ('{"input": "a\\', "a\\"), ('{"input": "a\\ud83d', "a\\ud83d")],
)
def test_a_text_that_was_cut_short_is_told_as_far_as_it_came(written: str, text: str) -> None:
    new, growing = fed([written])

    assert "".join(new) == growing.text == text
    assert not growing.is_whole


def test_what_is_no_escape_is_kept_as_it_is() -> None:
    r"""Models write \d in a text; it is no JSON, and nothing of it may be lost."""
    new, growing = fed(['{"input": "a\\d', 'b"}'])

    assert "".join(new) == growing.text == 'a\\db"}'
    assert not growing.is_whole
