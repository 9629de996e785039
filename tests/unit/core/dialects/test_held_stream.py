"""What all filters stand on: what is whole, what comes next, frames that say something else."""

import pytest

from proxy.core.dialects.base import Bounds
from proxy.core.dialects.held_messages import HeldMessages
from proxy.core.dialects.held_stream import Places, StreamedCall, event_of, saying
from tests.unit.core.dialects.holding import everything
from tests.unit.core.dialects.test_held_messages import text, tool


@pytest.mark.parametrize(
    ("pieces", "whole"),
    [
        ((), False),
        (("{}",), True),
        (('{"a":', '"}"', "} "), True),
        (('{"a":"}',), False),
        (("}",), False),
        (('"a"',), False),
        (("{}{}",), False),
    ],
)
def test_arguments_are_whole_when_they_are_an_object(pieces: tuple[str, ...], whole: bool) -> None:
    call = StreamedCall(0)
    call.arguments += pieces

    assert call.is_whole() == whole


def test_what_was_not_whole_is_read_again_only_when_more_has_come() -> None:
    call = StreamedCall(0)
    call.arguments.append('{"a":{}')

    assert not call.is_whole()
    call.arguments[0] = "{}"
    assert not call.is_whole()
    call.arguments[:] = ['{"a":{}', "}"]
    assert call.is_whole()


def test_places_are_the_providers_until_something_is_held() -> None:
    places = Places()

    assert [places.give(index) for index in (1, 2, None)] == [1, 2, None]
    places.touched = True
    assert [places.give(index) for index in (0, None)] == [3, 4]
    assert places.passed == 5


def test_no_number_is_given_twice() -> None:
    """Where a provider calls all the same."""
    places = Places()
    places.give(0)
    places.give(0)
    places.touched = True

    assert places.give(0) == 2


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"event: a\r\ndata: {}\r\n\r\n", b"event: a\r\ndata: 7\r\n\r\n"),
        (b"data:{}\nid: 1\n\n", b"data:7\nid: 1\n\n"),
        (b"event: a\ndata: {\ndata: }\n\n", b"event: a\ndata: 7\n\n"),
        (b"event: {}\ndata: {}\n\n", b"event: {}\ndata: 7\n\n"),
        (b"data: 7\n\n", b"data: 7\n\n"),
    ],
)
def test_other_data_in_the_same_frame(raw: bytes, expected: bytes) -> None:
    assert saying(event_of(raw), b"7").raw == expected


def test_a_verdict_is_on_the_call_that_it_names() -> None:
    hold = HeldMessages(everything, Bounds())
    hold.feed(tool(0, "mail", "t1", "{}"))
    hold.feed(tool(1, "mail", "t2", "{}"))

    assert hold.release("t2") == tool(0, "mail", "t2", "{}")
    with pytest.raises(LookupError):
        hold.release("t2")
    assert hold.release("t1") == tool(1, "mail", "t1", "{}")


def test_what_waits_behind_a_call_passes_when_the_stream_ends() -> None:
    hold = HeldMessages(everything, Bounds())

    assert hold.feed(tool(0, "mail", "t1", "{}") + text(1, "a")) == b""
    assert hold.close() == text(0, "a")
    assert hold.waits
