"""Heads of requests: what was given, and one framing."""

from collections.abc import AsyncIterator

import pytest

from proxy.wire import Headers, Outgoing
from proxy.wire.request import RequestHeads, announced_length

HOST: Headers = (("Host", "h"),)


async def parts() -> AsyncIterator[bytes]:
    yield b""


def head(method: str, body: bytes | AsyncIterator[bytes], *given: tuple[str, str]) -> list[bytes]:
    raw = RequestHeads().of(Outgoing(method, "", given, body), "/x", HOST)
    assert raw.endswith(b"\r\n\r\n")
    return raw.split(b"\r\n")[:-2]


@pytest.mark.parametrize(
    ("method", "body", "framing"),
    [
        ("POST", b"ab", [b"content-length: 2"]),
        ("POST", b"", [b"content-length: 0"]),
        ("PUT", b"", [b"content-length: 0"]),
        ("GET", b"", []),
        ("DELETE", b"", []),
        ("GET", b"ab", [b"content-length: 2"]),
        ("POST", parts(), [b"transfer-encoding: chunked"]),
    ],
)
def test_the_framing_follows_from_the_body(
    method: str, body: bytes | AsyncIterator[bytes], framing: list[bytes]
) -> None:
    """A POST without a length is refused by some; a GET with one, by others."""
    assert head(method, body) == [method.encode() + b" /x HTTP/1.1", b"Host: h", *framing]


@pytest.mark.parametrize("name", ["content-length", "Content-Length", "HOST", "Transfer-encoding"])
def test_where_a_message_goes_and_ends_is_said_once(name: str) -> None:
    """Also by a pool that has met other names before."""
    heads = RequestHeads()
    for given in ((("A", "b"),), (("A", "b"), (name, "7")), (("A", "b"), (name, "7"))):
        raw = heads.of(Outgoing("POST", "", given, b"ab"), "/x", HOST)

        assert raw == b"POST /x HTTP/1.1\r\nHost: h\r\nA: b\r\ncontent-length: 2\r\n\r\n"


def test_a_body_in_parts_keeps_the_length_that_it_announced() -> None:
    """Some providers take no chunks."""
    given = (("Content-Length", "7"), ("a", "b"))
    body = parts()

    assert head("POST", body, *given)[2:] == [b"a: b", b"content-length: 7"]
    assert announced_length(Outgoing("POST", "", given, body)) == 7
    assert announced_length(Outgoing("POST", "", (), body)) is None


def test_names_are_remembered_within_a_bound() -> None:
    """Clients choose them."""
    heads = RequestHeads()
    for number in range(2_000):
        given = ((f"x-{number}", ""), (f"{number}" * 99, ""))
        heads.of(Outgoing("GET", "", given, b""), "/", HOST)

    assert len(heads._not_ours) == 1_024
    assert max(map(len, heads._not_ours)) < 64


def test_a_head_that_comes_again_is_written_once() -> None:
    """The fast way is the slow way: only where all but the length is the same."""
    heads, plain = RequestHeads(), RequestHeads()
    same: dict[object, object] = {}
    given: Headers = (("A", "b"), ("Host", "x"), ("B", "14"))
    other: Headers = (("A", "c"),)
    own: Headers = (("Host", "h"), ("Proxy-Authorization", "k"))
    told = [
        ("POST", given, "/x", HOST, b"ab"),
        ("POST", given, "/x", HOST, b"ab"),
        ("POST", given, "/x", HOST, b"a" * 14),
        ("POST", given, "/x", HOST, b""),
        ("POST", given, "/y", HOST, b"ab"),
        ("PUT", given, "/y", HOST, b"ab"),
        ("PUT", other, "/y", HOST, b"ab"),
        ("PUT", other, "/y", own, b"ab"),
        ("GET", other, "/y", own, b""),
        ("POST", given, "/x", HOST, b"4"),
    ]
    for method, headers, target, mine, body in told:
        expected = plain.of(Outgoing(method, "", headers, body), target, mine)
        assert heads.of(Outgoing(method, "", headers, body, same), target, mine) == expected
    assert len(same) == 1


async def test_a_body_in_parts_is_never_told_from_memory() -> None:
    """Its framing is another."""
    same: dict[object, object] = {}
    given: Headers = (("A", "b"),)
    heads = RequestHeads()
    heads.of(Outgoing("POST", "", given, b"ab", same), "/x", HOST)

    raw = heads.of(Outgoing("POST", "", given, parts(), same), "/x", HOST)
    assert raw.endswith(b"transfer-encoding: chunked\r\n\r\n")
