"""The splitter: any chunking of a stream gives the same events, and not a byte is lost."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.sse import SseEvent, SseSplitter, encode_frame, with_data
from tests.unit.core.dialects.metering import law

BOM = b"\xef\xbb\xbf"
LINES = (b"data: a", b"data:", b"event: e", b": c", b"\n", b"\r", b"\r\n", b"x", BOM)
EVENTS = (
    *(b"data: a\n\n", b"event: e\ndata: a\n\n", b"event: e\r\ndata: a\r\n\r\n"),
    *(b"data:a\n\n", b"event:ef\ndata: a\n\n", b": c\n\n", BOM + b"data: a\n\n"),
    *(b"data: a\rdata: b\r\n\r\n", b"data: a\ndata: b\r\n\r\n"),
    *(b"event: e\rid: 1\r\ndata: a\r\n\r\n", b"event: e\nid: 1\r\ndata: a\r\n\r\n"),
    *(b"event: e\rid: 1\ndata: a\r\n\r\n", b"event: e\ndata: a\r\n\r\n"),
)
TAILS = (b"", b"event: e", b"event: e\n", b"data: a", b"data: a\n", b"\n", b"\r")
streams = st.lists(st.sampled_from(LINES), max_size=20).map(b"".join) | st.builds(
    lambda events, tail: b"".join(events) + tail,
    st.lists(st.sampled_from(EVENTS), max_size=4),
    st.sampled_from(TAILS),
)
cuts = st.lists(st.integers(0, 60), max_size=8)
limits = st.sampled_from([1, 2, 3, 7, 20, 1000])


def split(stream: bytes, at: list[int], limit: int = 1000) -> list[SseEvent]:
    splitter = SseSplitter(limit)
    events: list[SseEvent] = []
    start = 0
    for stop in [*sorted(at), len(stream)]:
        events += splitter.feed(stream[start:stop])
        start = max(start, stop)
        assert splitter.held_bytes <= limit
    last = splitter.close()
    return events if last is None else [*events, last]


def read_by_line(stream: bytes) -> list[tuple[bytes, bytes]]:
    """The events with data as the specification words it, for what is complete."""
    events: list[tuple[bytes, bytes]] = []
    name, data = b"", list[bytes]()
    for line in re.split(rb"\r\n|\n|\r", stream.removeprefix(BOM))[:-1]:
        if line == b"":
            events += [(name, b"\n".join(data))] if b"".join(data) else []
            name, data = b"", []
        elif line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif line.startswith(b"event:"):
            name = line[6:].removeprefix(b" ")
    return events


@law
@given(streams, cuts, limits)
def test_any_chunking_gives_the_same_events(stream: bytes, at: list[int], limit: int) -> None:
    """Chunk borders are the network's whim: what is metered must not depend on them."""
    assert split(stream, at, limit) == split(stream, [], limit)
    assert split(stream, list(range(len(stream))), limit) == split(stream, [], limit)


@law
@given(streams, cuts, limits)
def test_the_raw_events_joined_are_the_stream(stream: bytes, at: list[int], limit: int) -> None:
    """What is forwarded is made of them: byte for byte."""
    events = split(stream, at, limit)

    assert b"".join(event.raw for event in events) == stream
    assert all(len(event.raw) <= limit for event in events)


@law
@given(streams)
def test_events_are_those_of_the_specification(stream: bytes) -> None:
    """Read by lines, as the specification is written, the same comes out."""
    whole = stream + b"\n\n"

    found = [(event.name, event.data) for event in split(whole, [])]

    assert [event for event in found if event[1].strip(b"\n")] == [
        event for event in read_by_line(whole) if event[1].strip(b"\n")
    ]


@law
@given(streams, cuts, limits)
def test_a_border_is_told_where_an_error_could_follow(
    stream: bytes, at: list[int], limit: int
) -> None:
    """What is put between two chunks there is an event of its own, and takes none apart."""
    splitter = SseSplitter(limit)
    start = 0
    for stop in [*sorted(at), len(stream)]:
        splitter.feed(stream[start:stop])
        start = max(start, stop)
        so_far = stream[:start]

        assert splitter.at_border == (not so_far or ends_with_an_event(so_far))


def ends_with_an_event(stream: bytes) -> bool:
    """By a second way to find them: the shortest stretches up to a blank line."""
    events = re.findall(rb"(?s).*?(?:\n\n|\n\r\n?|\r\r\n?)", stream)
    return b"".join(events) == stream


def test_lines_names_comments_and_marks_are_read() -> None:
    """All that the format has, in one event after a byte order mark."""
    stream = b"\xef\xbb\xbf: hello\r\nevent: e\r\nid: 7\r\ndata:one\r\ndata: two\r\ndata\r\n\r\n"

    (event,) = split(stream, [5])

    assert (event.name, event.data) == (b"e", b"one\ntwo\n")


@pytest.mark.parametrize(
    ("event", "name"),
    [
        (b"event: e\r\ndata: a\r\n\r\n", b"e"),
        (b"event: e\ndata: a\r\n\r\n", b"e"),
        (b"event: e\rdata: a\r\n\r\n", b"e"),
        (b"event: e\rid: 1\r\ndata: a\r\n\r\n", b"e"),
        (b"event: \r\ndata: a\r\n\r\n", b""),
    ],
)
def test_line_ends_may_be_mixed(event: bytes, name: bytes) -> None:
    """One event tells nothing of the next, nor one line of the next."""
    assert split(b"data: b\n\n" + event, [])[1] == SseEvent(event, name, b"a")
    assert split(event, [])[0] == SseEvent(event, name, b"a")


def test_a_final_cr_waits_for_the_lf_that_may_follow() -> None:
    """Else the LF would open the next event, or a chunk border decide where it belongs."""
    splitter = SseSplitter(100)

    assert splitter.feed(b"data: a\r\n\r") == []
    assert splitter.feed(b"\ndata") == [SseEvent(b"data: a\r\n\r\n", b"", b"a")]
    assert splitter.held_bytes == 4


def test_a_begun_event_waits_for_its_end() -> None:
    """Wherever the chunk ends: what follows the first line of it is not known yet."""
    for begun in (b"e", b"event: e", b"event: e\n", b"data: b", b"data: b\n", b"\n"):
        splitter = SseSplitter(100)

        assert splitter.feed(b"data: a\n\n" + begun) == [SseEvent(b"data: a\n\n", b"", b"a")]
        assert splitter.held_bytes == len(begun)
        assert not splitter.at_border


def test_the_rest_is_read_at_the_end() -> None:
    """A last event without its blank line may carry the usage; nothing is left after it."""
    splitter = SseSplitter(100)
    splitter.feed(b"data: a\n\ndata: b\n")

    assert splitter.close() == SseEvent(b"data: b\n", b"", b"b")
    assert splitter.close() is None


def test_an_event_beyond_the_bound_passes_in_pieces_without_data() -> None:
    """A hostile line must neither fill the memory nor be lost; the stream goes on after it."""
    events = split(b"data: 123456789\n\ndata: a\n\n", [3, 11], limit=10)

    assert [event.oversize for event in events] == [True, False, False]
    assert [event.data for event in events] == [b"", b"", b"a"]


def test_an_unfinished_event_beyond_the_bound_has_no_data_either() -> None:
    """Cut in the middle of it, there is nothing to read."""
    events = split(b"data: 123456789\n", [12], limit=10)

    assert [(event.oversize, event.data) for event in events] == [(True, b""), (False, b"")]


@pytest.mark.parametrize("data", [b"", b"{}", b"one\ntwo"])
def test_an_encoded_frame_reads_back(data: bytes) -> None:
    """Line ends in the data take a line each."""
    (event,) = split(encode_frame(data, "e"), [])

    assert (event.name, event.data) == (b"e", data)
    assert encode_frame(b"{}") == b"data: {}\n\n"


@pytest.mark.parametrize(
    ("raw", "changed"),
    [
        (b"event: e\ndata: ab\n\n", b"event: e\ndata: c\n\n"),
        (b"data: a\ndata: b\n\n", b"data: a\ndata: b\n\n"),
        (b": ab\ndata: ab\n\n", b": ab\ndata: ab\n\n"),
    ],
)
def test_data_is_replaced_only_where_that_is_certain(raw: bytes, changed: bytes) -> None:
    """An event that cannot be changed for certain passes as it is."""
    (event,) = split(raw, [])

    assert with_data(event, b"c") == changed
