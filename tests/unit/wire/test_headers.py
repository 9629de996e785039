"""What travels on, what is left behind, and that the rest is not disturbed."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import Headers
from proxy.wire.headers import (
    Kind,
    forwarded,
    get,
    media_type,
    tokens,
    without,
)

names = st.sampled_from(["A", "b", "X-Two", "Accept-Encoding", "content-type"])
header_lists = st.lists(st.tuples(names, st.text(max_size=5)), max_size=8).map(tuple)

UP = Kind.ANSWERED_HERE | Kind.LENGTH
"""What is dropped of a client's request."""


def test_a_header_is_found_by_any_spelling_and_the_first_wins() -> None:
    """Names are case-insensitive, and clients differ."""
    headers = (("X-A", "1"), ("x-a", "2"))

    assert get(headers, "x-a") == "1"
    assert get(headers, "x-b") is None


def test_a_media_type_is_told_without_its_parameters() -> None:
    assert (
        media_type((("Content-Type", "Text/Event-Stream ; charset=utf-8"),)) == "text/event-stream"
    )
    assert media_type(()) == ""


def test_the_members_of_a_list_header_are_gathered_from_all_its_lines() -> None:
    """`Connection` may come twice."""
    headers = (("Connection", "close , X-A"), ("connection", "keep-alive,,"))

    assert tokens(headers, "connection") == {"close", "x-a", "keep-alive"}


def test_hop_by_hop_headers_stay_behind_in_both_directions() -> None:
    """They speak of this connection; on the next they would be a lie (RFC 9110, 7.6.1)."""
    hops: Headers = (
        ("Connection", "close, X-Hop"),
        ("X-Hop", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("Proxy-Authorization", "Basic x"),
        ("Proxy-Authenticate", "Basic"),
        ("TE", "trailers"),
        ("Trailer", "X"),
        ("Transfer-Encoding", "chunked"),
        ("Upgrade", "websocket"),
    )

    assert forwarded((*hops, ("X-End", "2")), UP) == (("X-End", "2"),)
    assert forwarded((*hops, ("X-End", "2"))) == (("X-End", "2"),)


def test_what_is_ours_or_the_clients_of_the_wire_to_set_is_not_forwarded() -> None:
    """The length and the host belong to the new request; the expectation was met here."""
    headers = (
        ("Host", "h"),
        ("Content-Length", "3"),
        ("Expect", "100-continue"),
        ("X-Holdfast-Session", "s"),
        ("x-holdfast-", ""),
        ("Authorization", "Bearer k"),
    )

    assert forwarded(headers, UP) == (("Authorization", "Bearer k"),)
    assert ("Content-Length", "3") in forwarded(headers, Kind.ANSWERED_HERE)


def test_accept_encoding_stays_behind_only_when_asked() -> None:
    """It is the client's, unless the answer must be read here."""
    headers = (("Accept-Encoding", "br"), ("A", "b"))

    assert forwarded(headers, UP) == headers
    assert forwarded(headers, UP | Kind.ACCEPT_ENCODING) == (("A", "b"),)


def test_an_answer_keeps_its_length() -> None:
    """A relayed body has the length that the provider gave."""
    headers = (("Content-Length", "3"), ("x-holdfast-step", "9"))

    assert forwarded(headers) == (("Content-Length", "3"),)


@given(header_lists)
def test_a_header_is_left_out_in_every_spelling_and_no_other_is(headers: Headers) -> None:
    """Order and bytes of the others stay, their repetitions too."""
    kept = without(headers, "x-two")

    assert get(kept, "x-two") is None
    assert tuple(header for header in headers if header[0] != "X-Two") == kept
