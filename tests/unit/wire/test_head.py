"""Heads survive the way through text byte for byte, and cannot hold another head."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.wire import Headers
from proxy.wire.head import AnswerHeads, header_lines, origin_form, rendered, status_line

value_bytes = st.binary(max_size=20).filter(lambda value: not set(value) & set(b"\r\n\0"))


@given(st.lists(st.tuples(st.sampled_from([b"A", b"x-b"]), value_bytes), max_size=6))
def test_any_bytes_that_a_header_may_hold_come_out_as_they_went_in(
    raw: list[tuple[bytes, bytes]],
) -> None:
    """Node sends Latin-1, Python UTF-8: neither is ours to change."""
    lines = [b"HTTP/1.1 200 OK", *(name + b": " + value for name, value in raw), b"", b""]

    decoded = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw]

    assert rendered("HTTP/1.1 200 OK", decoded) == b"\r\n".join(lines)


blanks = st.sampled_from(["", " ", " ", "  ", "\t"])
names = st.sampled_from(["Host", "HOST", "x-a", "X-B"])
values = st.lists(st.text("ab: \xe9", min_size=1, max_size=3), max_size=2).map(" ".join)


@example([("Host", " ", "a", " "), ("x-a", " ", "b", "")])
@example([("Host", " ", "a", "\t"), ("x-a", " ", "b", "")])
@example([("Host", "  ", "a", ""), ("x-a", "", "b: a", "")])
@example([("Host", " ", "a", " ")])
@given(st.lists(st.tuples(names, blanks, values.map(str.strip), blanks), min_size=1, max_size=5))
def test_lines_are_read_as_names_and_values_without_the_blanks_around_them(
    written: list[tuple[str, str, str, str]],
) -> None:
    """The usual way to write them is read a shorter way, and must come to the same."""
    text = "\r\n".join(f"{name}:{before}{value}{after}" for name, before, value, after in written)
    headers, fields = header_lines(text)

    assert headers == tuple((name, value) for name, _, value, _ in written)
    assert fields == {name.lower(): value for name, value in reversed(headers)}


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\r\nb: c", "a\0"])
def test_a_value_cannot_become_another_header(value: str) -> None:
    """Our own headers are made of what clients and providers sent."""
    with pytest.raises(ValueError, match="line break"):
        rendered("HTTP/1.1 200 OK", (("a", value),))


def test_text_beyond_latin_1_is_sent_as_utf_8_beside_bytes_that_stay() -> None:
    """Only we can have made such text; what was relayed next to it must not change."""
    head = rendered("HTTP/1.1 200 OK", (("a", "\xe9"), ("b", "€")))

    assert head == b"HTTP/1.1 200 OK\r\na: \xe9\r\nb: \xe2\x82\xac\r\n\r\n"


def test_a_status_that_has_no_name_has_an_empty_reason() -> None:
    """Providers use 529; the space before the reason is not optional (RFC 9112, 4)."""
    assert status_line(529) == "HTTP/1.1 529 "
    assert status_line(404) == "HTTP/1.1 404 Not Found"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/v1/x?y=%zz//..", "/v1/x?y=%zz//.."),
        ("*", "*"),
        ("http://h:1/v1?x", "/v1?x"),
        ("https://h", "/"),
        ("http://h?x=/", "/?x=/"),
    ],
)
def test_a_target_is_path_and_query_however_it_was_sent(target: str, expected: str) -> None:
    """A client behind an outgoing proxy sends the absolute form (RFC 9112, 3.2.2)."""
    assert origin_form(target) == expected


@pytest.mark.parametrize("length", [True, False])
def test_an_answer_says_once_how_it_ends(length: bool) -> None:
    """Whatever case its headers are in, and whether such names were met before."""
    heads = AnswerHeads()
    given: Headers = (
        *(("A", "b"), ("Connection", "x"), ("KEEP-ALIVE", "y"), ("transfer-Encoding", "z")),
        *(("Content-length", "7"), ("B", "")),
    )
    kept = "Content-length: 7\r\n" if length else ""
    expected = f"HTTP/1.1 201 Created\r\nA: b\r\n{kept}B: \r\nown: c\r\n\r\n".encode()

    for _ in range(2):
        assert heads.of(201, given, ("own: c",), length=length) == expected


@pytest.mark.parametrize("header", [("A", "b\nc"), ("A", "b\r"), ("A\0", "b"), ("A\r\nB", "c")])
def test_an_answer_with_a_break_in_a_header_is_not_written(header: tuple[str, str]) -> None:
    """Also where its name was met before."""
    heads = AnswerHeads()
    heads.of(200, (("A", "b"),), (), length=True)

    with pytest.raises(ValueError, match="line break"):
        heads.of(200, (header,), (), length=True)


def test_names_of_answers_are_remembered_within_a_bound() -> None:
    """Providers choose them."""
    heads = AnswerHeads()
    for number in range(2_000):
        heads.of(200, ((f"x-{number}", ""), (f"{number}" * 99, "")), (), length=True)

    assert len(heads._plain) == 1_024
    assert max(map(len, heads._plain)) < 64
