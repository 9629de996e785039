"""Tokens by what has passed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.dialects.output_count import OutputCount
from tests.unit.core.dialects.metering import law, texts


def counted(*pieces: str) -> tuple[int, int]:
    count = OutputCount()
    for piece in pieces:
        count.add(piece)
    return count.pieces, count.tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("abcd", 1),
        ("abcdefghi", 3),
        ("aé", 2),
        ("日本", 3),
        ("治理代理" * 100, 600),
        ('{"name": "日本"}', 6),
    ],
)
def test_text_is_counted_by_its_bytes(text: str, tokens: int) -> None:
    """A script beyond ASCII takes more tokens a byte: counted alike, a Chinese answer that is cut
    would be booked at half of what it was."""
    assert counted(text)[1] == tokens


def test_each_piece_is_a_token_at_the_least() -> None:
    """A stream is cut by what has passed for certain: an empty delta is nothing that passed."""
    assert counted("a", "", "b", "") == (2, 1)


@law
@given(st.lists(texts))
def test_what_is_counted_does_not_depend_on_the_pieces(pieces: list[str]) -> None:
    """Providers cut as they like; rounding up each piece would count letters as tokens."""
    assert counted(*pieces)[1] == counted("".join(pieces))[1]


def test_the_head_of_a_call_is_its_name_and_what_frames_it() -> None:
    """Providers bill what they wrap a call in, and never send it: a stream that was cut in its call
    was booked at half of that."""
    count = OutputCount()
    count.add_call("")

    assert (count.pieces, count.heads, count.tokens) == (0, 0, 0)

    count.add_call("look_up")

    assert (count.pieces, count.heads, count.tokens) == (1, 5, 6)
    count.add("a" * 9)
    assert (count.pieces, count.heads, count.tokens) == (2, 5, 8)
    count.add_call("look_up")
    assert (count.pieces, count.heads, count.tokens) == (3, 10, 14)


def test_audio_is_counted_too() -> None:
    """It is billed as output, and its transcript may not come."""
    count = OutputCount()
    count.add_audio(2050)

    assert (count.pieces, count.tokens) == (1, 3)
