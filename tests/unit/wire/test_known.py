"""Heads that were read before: knowing one changes nothing but the time it takes."""

from collections.abc import Iterator
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import MalformedRequest
from proxy.wire import Head
from proxy.wire.bounds import Bounds
from proxy.wire.known import KnownHeads
from proxy.wire.reader import RequestReader

Read = tuple[Head, bytes, bool, bool] | str


class Parts:
    """Where a body goes."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self.complete = False


def read_all(data: bytes, known: KnownHeads | None, bounds: Bounds) -> Iterator[Read]:
    """Every request of a segment; the last is an error's text if there is one. None: each is read
    by one who knows nothing."""
    reader, at = RequestReader(bounds, known or KnownHeads()), 0
    try:
        while at < len(data):
            sink = reader.sink = Parts()
            while at < len(data) and not reader.complete:
                at = reader.feed(data, at)
            if reader.head is None or not reader.complete:
                return
            yield reader.head, b"".join(sink.parts), reader.keeps_alive, reader.http_1_0
            if not reader.keeps_alive:
                return
            reader.start()
            if known is None:
                reader = RequestReader(bounds, KnownHeads())
    except MalformedRequest as error:
        yield f"{error.status} {error.message}"


def told(read: Read) -> object:
    if isinstance(read, str):
        return read
    head, *rest = read
    return head.method, head.target, head.headers, head.fields, *rest


def request(*lines: bytes, body: bytes = b"", first: bytes = b"POST /v1/x HTTP/1.1") -> bytes:
    return b"\r\n".join((first, b"Host: h", *lines, b"", body))


LINES = st.sampled_from(
    [
        *(
            b"A: b",
            b"A:b",
            b"a: b ",
            b"X-Strength: 5",
            b"X-Strength: x",
            b"length: 3",
            b"Length: 3",
        ),
        *(b"Content-Length: 3", b"content-length: 3", b"Content-length: 03", b"CONTENT-LENGTH: 3"),
        *(b"Content-Length:3", b"Content-Length: 3 ", b"Content-Length:  3", b"Content-Length: 2"),
        *(b"Content-Length: 0", b"Content-Length: ", b"Content-Length: +3", b"Content-Length: 3x"),
        *(b"X-Content-Length: 3", b"Content-Length: 0000000000000003", b"Connection: close"),
        *(b"Transfer-Encoding: chunked", b"Expect: 100-continue", b"Upgrade: h2c", b"Host: h"),
        *(b"Connection: Upgrade", b"Content-Length : 3", b"Content-Length: 3\nA: b"),
    ]
)
FIRST = st.sampled_from(
    [
        *(b"POST /v1/x HTTP/1.1", b"GET / HTTP/1.1", b"HEAD / HTTP/1.1", b"POST /?ength: HTTP/1.1"),
        *(b"POST /v1/x HTTP/1.0", b"CONNECT h:1 HTTP/1.1", b"GET /#a HTTP/1.1", b"GET / HTTP/2.0"),
    ]
)
BODIES = st.sampled_from([b"", b"ab", b"abc", b"3\r\nabc\r\n0\r\n\r\n", b"\r\n\r\n", b"GET / "])


@given(st.data())
def test_a_known_head_reads_like_one_that_is_not(data: st.DataObject) -> None:
    """The fast way is the slow way: whatever came before, a request means the same."""
    known = KnownHeads()
    pool = data.draw(
        st.lists(st.tuples(FIRST, st.lists(LINES, max_size=4)), min_size=1, max_size=3)
    )
    for _ in range(data.draw(st.integers(1, 6))):
        segment = b""
        for _ in range(data.draw(st.integers(1, 3))):
            first, lines = data.draw(st.sampled_from(pool))
            segment += request(*lines, first=first, body=data.draw(BODIES))

        expected = [told(read) for read in read_all(segment, None, Bounds())]
        assert [told(read) for read in read_all(segment, known, Bounds())] == expected


ALIKE = (
    *(b"A: b", b"X-Strength: 5", b"X-Strength: 7", b"X-Strength: ", b"X-Strength: x", b"Length: 3"),
    *(b"Content-Length: 3", b"Content-Length: 2", b"Content-Length: 03", b"content-length: 3"),
    *(b"Content-Length: ", b"Content-Length: +3", b"Content-Length: 3 ", b"X-Content-Length: 3"),
    *(b"Expect: 100-continue", b"Transfer-Encoding: chunked", b"Connection: close"),
)


def test_no_head_is_taken_for_one_that_looks_like_it() -> None:
    """Where the length stands, and whether what was cut out is one, is all that a key leaves to
    be mistaken: every head of up to two such lines, read after all the others."""
    known, body = KnownHeads(), b"3\r\nabc\r\n0\r\n\r\n"
    heads = [(), *product(ALIKE), *product(ALIKE, ALIKE)]
    for chosen in (heads[at : at + 200] for at in range(0, len(heads), 100)):
        for lines in (*chosen, *reversed(chosen)):
            segment = request(*lines, body=body)

            expected = [told(read) for read in read_all(segment, None, Bounds())]
            assert [told(read) for read in read_all(segment, known, Bounds())] == expected, lines


def test_what_is_treated_in_its_own_way_is_never_remembered() -> None:
    """Codings, upgrades and expectations change how a connection is read."""
    known = KnownHeads()
    for line in (b"Transfer-Encoding: chunked", b"Expect: 100-continue", b"Upgrade: h2c"):
        list(read_all(request(line, body=b"0\r\n\r\n"), known, Bounds()))

    assert not known._known


def test_heads_that_differ_in_their_length_alone_share_what_is_found_out() -> None:
    """And each has its own length."""
    known = KnownHeads()
    segment = b"".join(
        request(b"Content-Length: %d" % size, b"A: b", body=b"x" * size) for size in (3, 3, 12, 0)
    )

    heads = [read[0] for read in read_all(segment, known, Bounds()) if not isinstance(read, str)]
    assert [head.get("content-length") for head in heads] == ["3", "3", "12", "0"]
    assert [dict(head.headers)["Content-Length"] for head in heads] == ["3", "3", "12", "0"]
    assert heads[0].same is not None
    assert all(head.same is heads[0].same for head in heads)


@pytest.mark.parametrize("line", [b"A: c", b"a: b", b"A:  b", b"A: b\r\nC: d"])
def test_heads_that_differ_in_anything_else_share_nothing(line: bytes) -> None:
    """What was found out for one credential is not for another."""
    known = KnownHeads()
    segment = request(b"A: b") + request(line)

    one, other = (read[0] for read in read_all(segment, known, Bounds()))
    assert isinstance(one, Head)
    assert isinstance(other, Head)
    assert one.same is not other.same


def test_what_is_kept_has_bounds() -> None:
    """Clients choose heads; large ones are not kept at all, and the oldest goes first."""
    known = KnownHeads()
    for number in range(300):
        list(read_all(request(b"A: %d" % number), known, Bounds()))
    list(read_all(request(b"A: " + b"x" * 4_096), known, Bounds()))

    assert len(known._known) == 256
    assert max(map(len, known._known)) < 4_096
    assert known.find(request(b"A: 299")) is not None
    assert known.find(request(b"A: 0")) is None


def test_a_head_is_not_taken_from_memory_past_the_bounds_of_who_reads() -> None:
    """A longer length makes a longer head."""
    bounds = Bounds(head_bytes=len(request(b"Content-Length: 1")))
    known = KnownHeads()
    list(read_all(request(b"Content-Length: 1", body=b"a"), known, bounds))

    read = list(read_all(request(b"Content-Length: 10", body=b"a" * 10), known, bounds))
    assert [told(one) for one in read] == ["431 the request head is too large"]
