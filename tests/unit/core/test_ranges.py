"""Lists told by others that they do not begin with."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.ranges import copied, ranges_of
from proxy.core.rebuilding import Body
from proxy.core.recording import SAME, RequestDelta

elements = st.one_of(
    st.integers(0, 9),
    st.sampled_from(["a" * 70, "b" * 90, "]" * 80, '"' * 70, "é" * 40]),
    st.builds(
        lambda text, n: {"role": text, "content": text * n}, st.text(max_size=5), st.just(30)
    ),
)
lists = st.lists(elements, max_size=12)
spellings = st.sampled_from([(",", ":"), (", ", ": "), (",\n  ", ":")])


def spelled(elements: list[object], spelling: tuple[str, str]) -> bytes:
    return json.dumps(elements, separators=spelling, ensure_ascii=False).encode()[:-1]


def told(listed: bytes, base: bytes) -> tuple[bytes, tuple[int, ...]]:
    """The list as it is read back by its ranges, and those."""
    ranges = ranges_of(listed, base)
    at, literal = 0, b""
    for n in range(0, len(ranges), 3):
        at += ranges[n + 1]
        literal += listed[at : at + ranges[n + 2]]
        at += ranges[n + 2]
    body = Body(b"", base, b"")
    body.apply(RequestDelta(1, "b", SAME, SAME, ranges, 0, b""), literal)
    return body.whole(), ranges


@given(lists, lists, spellings, spellings)
def test_any_list_is_read_back_by_any_other(
    new: list[object], old: list[object], one: tuple[str, str], other: tuple[str, str]
) -> None:
    listed, base = spelled(new, one), spelled(old, other)

    assert told(listed, base)[0] == listed


def test_what_both_have_is_copied_in_one_piece() -> None:
    """A window that slid: its first element is gone, and one more has come."""
    many: list[object] = [{"role": "user", "content": f"{n} " * 40} for n in range(9)]
    listed, base = spelled([*many[2:]], (",", ":")), spelled(many[:8], (",", ":"))
    got, ranges = told(listed, base)

    assert got == listed
    assert len(ranges) == 6
    assert copied(ranges) == len(listed) - len(spelled(many[8:], (",", ":"))) - 1


def test_elements_that_come_again_are_copied_in_a_row() -> None:
    """Wherever the first of their kind is."""
    one, other = "a" * 80, "b" * 80
    listed = spelled([other, one, other, one], (",", ":"))
    _, ranges = told(listed, spelled([one, other, one, other, one], (",", ":")))

    assert len(ranges) == 6


@pytest.mark.parametrize("broken", [b"", b"{", b"[1,", b"["])
def test_what_is_no_list_is_said_to_be_none(broken: bytes) -> None:
    if broken == b"[":
        assert ranges_of(broken, broken) == (0, 0, 1)
        return
    with pytest.raises(ValueError, match="not a list"):
        ranges_of(broken, b"[1")


def test_short_elements_are_given() -> None:
    """Naming each would cost more than it saves."""
    listed = spelled([[n] for n in range(99)], (",", ":"))

    assert ranges_of(listed, spelled([[n] for n in range(98, -1, -1)], (",", ":"))) == (
        *(0, 0),
        len(listed),
    )


def test_a_list_that_has_nothing_of_its_base_takes_no_square() -> None:
    """2 MB of short messages took 6 s, and a body may have 64 MB."""
    listed = spelled([{"role": "user", "content": f"{n:050}"} for n in range(24_000)], (",", ":"))
    base = spelled([{"role": "user", "content": "y" * 10_000}], (",", ":"))
    began = time.process_time()

    ranges = ranges_of(listed, base)

    assert time.process_time() - began < 1.0
    assert ranges == (0, 0, len(listed))
