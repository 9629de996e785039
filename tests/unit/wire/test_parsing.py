"""Answers from bytes: the same however they are cut, and nothing that could be read in two ways."""

import itertools
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.parsing import AnswerParser, MalformedAnswer
from tests.fakes_answers import SAMPLES, Sample

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def parser_of(sample: Sample) -> AnswerParser:
    return AnswerParser({}, bodiless=sample.method == "HEAD")


def parsed(*segments: bytes, bodiless: bool = False) -> AnswerParser:
    parser = AnswerParser({}, bodiless=bodiless)
    for segment in segments:
        parser.parse(segment)
    return parser


def assert_is(parser: AnswerParser, sample: Sample) -> None:
    assert (parser.status, parser.headers) == (sample.status, sample.headers)
    assert b"".join(parser.pieces) == sample.body
    assert parser.whole is not sample.until_close
    assert parser.ends_by_close() or parser.whole
    assert (parser.keeps_alive, parser.extra) == (sample.reusable, False)


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES.keys())
def test_an_answer_is_the_same_wherever_it_is_cut(sample: Sample) -> None:
    """At every byte, and at all of them."""
    for cut in range(len(sample.raw)):
        parser = parser_of(sample)
        parser.parse(sample.raw[:cut])
        whole_yet = parser.whole
        parser.parse(sample.raw[cut:])

        assert not whole_yet
        assert_is(parser, sample)
    parser = parser_of(sample)
    for place in range(len(sample.raw)):
        parser.parse(sample.raw[place : place + 1])

    assert_is(parser, sample)


@given(st.sampled_from(sorted(SAMPLES)), st.lists(st.integers(0, 600), max_size=8))
def test_an_answer_is_the_same_in_any_segments(name: str, cuts: list[int]) -> None:
    """TCP promises no borders."""
    sample = SAMPLES[name]
    places = [0, *sorted(cuts), len(sample.raw)]
    parser = parser_of(sample)
    for start, end in itertools.pairwise(places):
        parser.parse(sample.raw[start:end])

    assert_is(parser, sample)


@given(st.binary(max_size=300), st.integers(0, 300))
def test_no_bytes_are_anything_but_an_answer_or_malformed(data: bytes, cut: int) -> None:
    """Whatever speaks at the other end."""
    for start in (b"", OK, CHUNKED):
        parser = AnswerParser({}, bodiless=False)
        with suppress(MalformedAnswer):
            for segment in (start + data[:cut], data[cut:]):
                parser.parse(segment)


def length(value: str) -> bytes:
    return OK + f"Content-Length: {value}\r\n\r\nabcdef".encode()


def coding(value: str) -> bytes:
    return OK + f"Transfer-Encoding: {value}\r\n\r\n3\r\nabc\r\n0\r\n\r\n".encode()


MALFORMED = {
    "another protocol": b"220 smtp.example ESMTP\r\n",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x16",
    "a request": b"GET / HTTP/1.1\r\n\r\n",
    "a blank first": b" HTTP/1.1 200 OK\r\n\r\n",
    "no version": b"HTTP/ 200 OK\r\n\r\n",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a status of letters": b"HTTP/1.1 OK\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 99 No\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 1000 No\r\n\r\n",
    "status 000": b"HTTP/1.1 000 No\r\nContent-Length: 0\r\n\r\n",
    "status 099": b"HTTP/1.1 099 No\r\nContent-Length: 0\r\n\r\n",
    "a switch of protocol": b"HTTP/1.1 101 S\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "a switch without an upgrade": b"HTTP/1.1 101 S\r\n\r\n",
    "lines ended by LF": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "a header ended by LF": OK + b"A: b\nContent-Length: 0\r\n\r\n",
    "a bare CR": OK + b"A: b\rc\r\n\r\n",
    "a NUL": OK + b"A: b\0c\r\n\r\n",
    "a control character": OK + b"A: b\x01c\r\n\r\n",
    "a folded header": OK + b"A: b\r\n c\r\n\r\n",
    "a folded length": OK + b"Content-Length: 1\r\n 2\r\n\r\n",
    "a folded coding": OK + b"Transfer-Encoding:\r\n chunked\r\n\r\n",
    "a blank before the colon": OK + b"Content-Length : 1\r\n\r\na",
    "a header without a colon": OK + b"Abc\r\n\r\n",
    "a header without a name": OK + b": a\r\n\r\n",
    "a name beyond ASCII": OK + b"\xe9: a\r\n\r\n",
    "lengths that differ": OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "lengths that agree": OK + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "a list of lengths": length("6, 6"),
    "a negative length": length("-6"),
    "a positive sign": length("+6"),
    "a hexadecimal length": length("0x6"),
    "an empty length": length(""),
    "a length beyond 64 bits": length("18446744073709551617"),
    "a length, then a coding": OK + b"Content-Length: 3\r\n" + CHUNKED[len(OK) :],
    "a coding, then a length": CHUNKED[:-2] + b"Content-Length: 3\r\n\r\n",
    "another coding": coding("gzip"),
    "another coding below chunks": coding("gzip, chunked"),
    "another coding above chunks": coding("chunked, gzip"),
    "chunks in chunks": coding("chunked, chunked"),
    "chunks in chunks by two headers": coding("chunked\r\nTransfer-Encoding: chunked"),
    "no coding": coding("identity"),
    "almost chunked": coding("xchunked"),
    "an empty coding": coding(""),
    "a chunk size of letters": CHUNKED + b"zz\r\n",
    "a chunk size with a prefix": CHUNKED + b"0x3\r\nabc\r\n",
    "a negative chunk size": CHUNKED + b"-3\r\nabc\r\n",
    "no chunk size": CHUNKED + b"\r\nabc\r\n",
    "a chunk size with a blank": CHUNKED + b"3 \r\nabc\r\n",
    "a chunk size beyond 64 bits": CHUNKED + b"10000000000000003\r\nabc\r\n",
    "a chunk size ended by LF": CHUNKED + b"3\nabc\r\n",
    "a chunk longer than its size": CHUNKED + b"3\r\nabcd\r\n",
    "a line break in an extension": CHUNKED + b'3;a="\r\n"\r\nabc\r\n',
    "a length among the trailers": CHUNKED + b"0\r\nContent-Length: 3\r\n\r\n",
    "a coding among the trailers": CHUNKED + b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "another version after a hint": b"HTTP/1.1 100 C\r\n\r\nHTTP/2.0 200 OK\r\n\r\n",
    "a body after a hint": b"HTTP/1.1 103 H\r\nContent-Length: 3\r\n\r\nabc" + length("6"),
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_no_answer_is_malformed_however_it_is_cut(raw: bytes) -> None:
    """Two who read it must not disagree on where it ends."""
    with pytest.raises(MalformedAnswer):
        parsed(raw)
    with pytest.raises(MalformedAnswer):
        parsed(*(raw[place : place + 1] for place in range(len(raw))))


ENDLESS_HEADS = {
    "a status line": (b"HTTP/1.1 200 ", b"O" * 1_000),
    "a name": (OK, b"a" * 1_000),
    "a value": (OK + b"A: ", b"a" * 1_000),
    "headers": (OK, b"A: b\r\n" * 100),
    "interim answers": (b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 40),
}
ENDLESS = ENDLESS_HEADS | {
    "trailers": (CHUNKED + b"3\r\nabc\r\n0\r\n", b"A: b\r\n" * 100),
    "a trailer": (CHUNKED + b"3\r\nabc\r\n0\r\nA: ", b"a" * 1_000),
    "a chunk extension": (CHUNKED + b"3;", b"a" * 1_000),
}


def size_until_given_up(parser: AnswerParser, start: bytes, more: bytes) -> int:
    parser.parse(start)
    for size in range(0, 1_000_000, len(more)):
        try:
            parser.parse(more)
        except MalformedAnswer:
            return size
    raise AssertionError("it was never given up")


@pytest.mark.parametrize(("start", "more"), ENDLESS.values(), ids=ENDLESS.keys())
def test_what_has_no_end_is_given_up(start: bytes, more: bytes) -> None:
    """httptools would copy what it has at each segment, and keep it."""
    assert size_until_given_up(AnswerParser({}, bodiless=False), start, more) < 70_000


@pytest.mark.parametrize(("start", "more"), ENDLESS_HEADS.values(), ids=ENDLESS_HEADS.keys())
def test_a_head_without_end_is_given_up_in_answer_to_head_too(start: bytes, more: bytes) -> None:
    """There it is collected before it is parsed."""
    assert size_until_given_up(AnswerParser({}, bodiless=True), start, more) < 70_000


@pytest.mark.parametrize(
    "headers",
    [b"A: " + b"x" * 66_000 + b"\r\n", b"A: b\r\n" * 257, b"A: " + b"x" * 400 + b"\r\n"],
    ids=["a long one", "many", "not too much"],
)
def test_the_bounds_of_a_head_hold_in_one_segment_too(headers: bytes) -> None:
    """A loop may read 256 KB at once."""
    raw = OK + headers + b"Content-Length: 100000\r\n\r\n" + b"x" * 100_000
    if len(headers) < 1_000:
        assert parsed(raw).whole
        return
    with pytest.raises(MalformedAnswer, match="too large"):
        parsed(raw)


def test_any_body_resets_what_may_come_without_one() -> None:
    """A stream of an hour has more than 64 KB of chunk sizes."""
    parser = AnswerParser({}, bodiless=False)
    parser.parse(CHUNKED)
    for _ in range(10_000):
        parser.parse(b"1;" + b"a" * 20 + b"\r\n")
        parser.parse(b"x\r\n")

    assert len(parser.pieces) == 10_000


@pytest.mark.parametrize(
    "raw",
    [
        OK + b"Content-Length: 1\r\n\r\naHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb",
        OK + b"Content-Length: 1\r\n\r\nabc",
        OK + b"Connection: close\r\nContent-Length: 1\r\n\r\nabc",
        CHUNKED + b"1\r\na\r\n0\r\n\r\nH",
        OK + b"Content-Length: 1\r\n\r\na" + b"x" * 70_000,
    ],
    ids=["an answer", "no answer", "after a close", "half an answer", "a lot"],
)
def test_what_follows_an_answer_is_not_part_of_it(raw: bytes) -> None:
    """It stays whole; nobody can say what its connection will send next."""
    parser = parsed(raw)

    assert (parser.whole, parser.extra, parser.pieces) == (True, True, [b"a"])


@pytest.mark.parametrize("first", [b"HTTP/1.1 204 No\r\n\r\n", b"HTTP/1.1 304 No\r\n\r\n"])
def test_what_follows_an_answer_without_a_body_is_not_its_body(first: bytes) -> None:
    """Nor that of the next."""
    parser = parsed(first + b"abc" * 30_000)

    assert (parser.whole, parser.extra, parser.pieces) == (True, True, [])


def test_a_body_sent_to_head_is_not_its_body() -> None:
    """llhttp would wait for what the headers announce."""
    parser = parsed(OK + b"Content-Length: 3\r\n\r\nabc", bodiless=True)

    assert (parser.status, parser.whole, parser.extra, parser.pieces) == (200, True, True, [])


def test_an_error_in_a_callback_is_not_the_providers() -> None:
    """httptools wraps it; as `malformed` a bug of ours would never be found."""
    parser = AnswerParser({}, bodiless=False)
    parser._names = None  # type: ignore[assignment]
    with pytest.raises(AttributeError):
        parser.parse(OK + b"A: b\r\n\r\n")


def test_names_are_decoded_once_and_not_kept_without_bound() -> None:
    """A provider may send others in every answer."""
    names: dict[bytes, str] = {}
    for number in range(2_000):
        parser = AnswerParser(names, bodiless=False)
        parser.parse(OK + b"x-%d: a\r\nx-b: c\r\nContent-Length: 0\r\n\r\n" % number)

        assert parser.headers == ((f"x-{number}", "a"), ("x-b", "c"), ("Content-Length", "0"))
    assert len(names) == 1_024


def test_a_long_name_is_not_kept() -> None:
    """A thousand of 64 KB would be all our memory."""
    names: dict[bytes, str] = {}
    parser = AnswerParser(names, bodiless=False)
    parser.parse(OK + b"%b: a\r\n%b: b\r\n\r\n" % (b"x" * 64, b"y" * 65))

    assert [len(name) for name, _ in parser.headers] == [64, 65]
    assert list(names) == [b"x" * 64]
