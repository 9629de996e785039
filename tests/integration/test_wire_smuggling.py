"""Requests that two readers could read in two ways, sent raw: each is refused, none is served.

A proxy that takes one for one request where the next hop sees two lets a client speak in another's
name. Each form is sent in one segment and byte by byte: a parser may fail only on one of them.
"""

from collections.abc import AsyncIterator
from typing import Final

import pytest

from proxy.wire import Exchange
from proxy.wire.bounds import Bounds
from proxy.wire.server import Server, serve
from tests.fakes_wire import RawClient, turn

CHUNKED: Final = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def post(*lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join((b"POST / HTTP/1.1", b"Host: x", *lines, b"", body))


REFUSED: Final = {
    "length and chunked": post(
        b"Content-Length: 4", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"
    ),
    "chunked and length": post(
        b"Transfer-Encoding: chunked", b"Content-Length: 4", body=b"0\r\n\r\n"
    ),
    "two equal lengths": post(b"Content-Length: 4", b"Content-Length: 4", body=b"abcd"),
    "two lengths": post(b"Content-Length: 4", b"Content-Length: 5", body=b"abcd"),
    "a list of lengths": post(b"Content-Length: 4, 4", body=b"abcd"),
    "a signed length": post(b"Content-Length: +4", body=b"abcd"),
    "a negative length": post(b"Content-Length: -4", body=b"abcd"),
    "an empty length": post(b"Content-Length: ", body=b"abcd"),
    "a length too large": post(b"Content-Length: 99999999999999999999999", body=b"abcd"),
    "a hexadecimal length": post(b"Content-Length: 0x4", body=b"abcd"),
    "a length in two": post(b"Content-Length: 4 4", body=b"abcd"),
    "another coding first": post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "another coding last": post(b"Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n"),
    "chunked twice": post(b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"),
    "identity": post(b"Transfer-Encoding: identity"),
    "an unknown coding": post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
    "a coding behind a control": post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"),
    "a quoted coding": post(b'Transfer-Encoding: "chunked"', body=b"0\r\n\r\n"),
    "two coding headers": post(
        b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=b"0\r\n\r\n"
    ),
    "chunked in HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "space before colon": post(b"Content-Length : 4", body=b"abcd"),
    "tab before colon": post(b"Transfer-Encoding\t: chunked", body=b"0\r\n\r\n"),
    "a folded header": post(b"X-A: a", b" b"),
    "a fold first": b"GET / HTTP/1.1\r\n X: y\r\nHost: x\r\n\r\n",
    "bare LF everywhere": b"GET / HTTP/1.1\nHost: x\n\n",
    "bare LF in a head": post(b"A: b\nContent-Length: 4", body=b"abcd"),
    "bare CR in a value": post(b"A: b\rC: d"),
    "NUL in a value": post(b"A: b\0c"),
    "a control in a value": post(b"A: b\x01c"),
    "NUL in a name": post(b"A\0: b"),
    "no name": post(b": b"),
    "no colon": post(b"abc"),
    "two hosts": post(b"Host: y"),
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "a chunk of letters": CHUNKED + b"ZZ\r\nabc\r\n0\r\n\r\n",
    "a bad chunk after a good one": CHUNKED + b"3\r\nabc\r\nZZ\r\n",
    "a chunk that is longer": CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n",
    "a chunk with LF": CHUNKED + b"3\nabc\n0\n\n",
    "a chunk with 0x": CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n",
    "a negative chunk": CHUNKED + b"-3\r\nabc\r\n0\r\n\r\n",
    "a chunk before a space": CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n",
    "a chunk after a space": CHUNKED + b" 3\r\nabc\r\n0\r\n\r\n",
    "a chunk too large": CHUNKED + b"FFFFFFFFFFFFFFFFF\r\nabc\r\n0\r\n\r\n",
    "a chunk of nothing": CHUNKED + b"\r\nabc\r\n0\r\n\r\n",
    "LF in a chunk extension": CHUNKED + b"3;a\nb\r\nabc\r\n0\r\n\r\n",
    "a length in a trailer": CHUNKED + b"3\r\nabc\r\n0\r\nContent-Length: 5\r\n\r\n",
    "a target with a space": b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
    "a target with a tab": b"GET /a\tb HTTP/1.1\r\nHost: x\r\n\r\n",
    "a target with a control": b"GET /a\x01b HTTP/1.1\r\nHost: x\r\n\r\n",
    "a target with a fragment": b"GET /v1/chat/completions#x HTTP/1.1\r\nHost: x\r\n\r\n",
    "an unknown version": b"GET / HTTP/1.2\r\nHost: x\r\n\r\n",
    "two spaces before the target": b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
    "two spaces behind the target": b"GET /  HTTP/1.1\r\nHost: x\r\n\r\n",
    "a tab behind the method": b"GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "a space behind the version": b"GET / HTTP/1.1 \r\nHost: x\r\n\r\n",
    "a longer version": b"GET / HTTP/1.10\r\nHost: x\r\n\r\n",
    "another protocol": b"GET / RTSP/1.1\r\nHost: x\r\n\r\n",
    "one more protocol": b"SOURCE / ICE/1.0\r\nHost: x\r\n\r\n",
    "an HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a small method": b"get / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a made-up method": b"GETS / HTTP/1.1\r\nHost: x\r\n\r\n",
    "LF first": b"\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "CR first": b"\rGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "LF behind a blank line": b"\r\n\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "two CR behind the head": b"GET / HTTP/1.1\r\nHost: x\r\n\r\r\n",
    "a target that is not ASCII": b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    "a target of no form": b"GET x HTTP/1.1\r\nHost: x\r\n\r\n",
    "a name that is not ASCII": post(b"A\xe9: b"),
    "a quoted name": post(b'"A": b'),
    "a bracketed name": post(b"(A): b"),
    "a name of a space": post(b" : b"),
    "DEL in a value": post(b"A: b\x7fc"),
    "a length behind a control": post(b"Content-Length: 4\x0b", body=b"abcd"),
    "an underscore in a length": post(b"Content-Length: 1_0", body=b"abcdefghij"),
    "nothing and chunked": post(b"Transfer-Encoding: , chunked", body=b"0\r\n\r\n"),
    "chunked and nothing": post(b"Transfer-Encoding: chunked,", body=b"0\r\n\r\n"),
    "no coding": post(b"Transfer-Encoding:", b"Content-Length: 4", body=b"abcd"),
    "chunked in two headers": post(
        b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"
    ),
    "a coding in a trailer": CHUNKED + b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a folded trailer": CHUNKED + b"0\r\nX: y\r\n z\r\n\r\n",
    "a trailer without a colon": CHUNKED + b"0\r\nabc\r\n\r\n",
    "an underscore in a chunk size": CHUNKED + b"1_0\r\nabcdefghij\r\n0\r\n\r\n",
    "CR in a chunk extension": CHUNKED + b"3;a\rb\r\nabc\r\n0\r\n\r\n",
    "NUL in a chunk extension": CHUNKED + b"3;a\0b\r\nabc\r\n0\r\n\r\n",
    "a chunk that is shorter": CHUNKED + b"4\r\nabc\r\n0\r\n\r\n",
    "CR alone behind a chunk": CHUNKED + b"3\r\nabc\r0\r\n\r\n",
    "h2c with two lengths": post(
        b"Connection: Upgrade",
        b"Upgrade: h2c",
        b"Content-Length: 4",
        b"Content-Length: 5",
        body=b"abcd",
    ),
    "h2c with a bad chunk": post(
        b"Connection: Upgrade", b"Upgrade: h2c", b"Transfer-Encoding: chunked", body=b"ZZ\r\n"
    ),
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01",
}
"""All answered with 400. Those that llhttp 9 lets through as httptools 0.9 uses it: two hosts, no
host, another coding or nothing first, chunked in HTTP/1.0, a target with a fragment, two spaces,
another protocol's name, and bare line breaks that come first."""

OTHERWISE_REFUSED: Final = {
    "HTTP/0.9": (b"GET /\r\n\r\n", 505),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    "a tunnel": (b"CONNECT y:1 HTTP/1.1\r\nHost: y:1\r\n\r\n", 405),
    "an expectation": (post(b"Expect: 200-ok", b"Content-Length: 4"), 417),
    "a long header": (post(b"A: " + b"a" * 33_000), 431),
    "a long target": (b"GET /" + b"a" * 17_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
    "many headers": (post(*[b"A: b"] * 200), 431),
    "many long headers": (post(*[b"A: " + b"a" * 10_000] * 7), 431),
}


class Served:
    """A server that notes what reached it whole."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, bytes]] = []

    async def __call__(self, exchange: Exchange) -> None:
        body = await exchange.read_body(1_000_000)
        self.requests.append((exchange.head.method, exchange.head.target, body))
        await exchange.respond(200, (), b"ok")


@pytest.fixture
def served() -> Served:
    return Served()


@pytest.fixture
async def server(served: Served) -> AsyncIterator[Server]:
    server = await serve(served)
    yield server
    await server.close()


@pytest.mark.parametrize("form", REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("bytewise", [False, True], ids=["in one", "byte by byte"])
async def test_an_ambiguous_request_is_refused_and_its_connection_closed(
    server: Server, served: Served, form: bytes, bytewise: bool
) -> None:
    """The connection too: what follows on it is not known to begin a request."""
    async with await RawClient.connect(server.port) as client:
        await send(client, form, bytewise)
        data = await client.read_to_end()

        assert data.startswith(b"HTTP/1.1 400 ")
        assert b"connection: close" in data
        assert data.count(b"HTTP/1.1 ") == 1
        assert served.requests == []


@pytest.mark.parametrize(
    ("form", "status"), OTHERWISE_REFUSED.values(), ids=OTHERWISE_REFUSED.keys()
)
async def test_what_is_not_served_here_says_so_by_its_status(
    server: Server, served: Served, form: bytes, status: int
) -> None:
    """A client that speaks another protocol, or too much of it, is told which."""
    async with await RawClient.connect(server.port) as client:
        await send(client, form, bytewise=False)
        data = await client.read_to_end()

        assert data.startswith(b"HTTP/1.1 %d " % status)
        assert served.requests == []


async def test_a_refusal_never_quotes_the_request(server: Server) -> None:
    """It may hold a key, and the answer be logged."""
    async with await RawClient.connect(server.port) as client:
        await client.send(post(b"Authorization : Bearer sk-secret"))
        data = await client.read_to_end()

        assert b"secret" not in data


async def test_a_refused_client_that_goes_on_sending_is_swallowed_and_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It can read why; nothing more is parsed, and its time is bounded."""
    bounds = Bounds(head_seconds=0.03, lingering_seconds=0.1)
    server = await serve(Served(), bounds=bounds)
    async with await RawClient.connect(server.port) as client:
        await client.send(b"rubbish\r\n\r\n")
        refusal = await client.read_answer()
        assert server.in_progress == 0
        with pytest.raises(ConnectionError):
            await send_on(client)
    await server.close()

    assert refusal.status == 400
    assert caplog.records == []


@pytest.mark.parametrize(
    "follower",
    [b"GET /2 HTTP/1.1\r\nHost: x\r\n\r\n", b"rubbish\r\n\r\n"],
    ids=["a request", "rubbish"],
)
async def test_nothing_after_an_upgrade_is_served(
    server: Server, served: Served, follower: bytes
) -> None:
    """It may be of the other protocol; the client is told to ask again on another connection."""
    async with await RawClient.connect(server.port) as client:
        head = b"GET /1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
        await client.send(head + follower)
        data = await client.read_to_end()

        assert b"connection: close" in data
        assert [target for _, target, _ in served.requests] == ["/1"]


async def send_on(client: RawClient) -> None:
    """Until the other end has closed."""
    while True:
        await client.send(b"more rubbish\r\n\r\n")
        await turn()


async def send(client: RawClient, data: bytes, bytewise: bool) -> None:
    """Byte by byte, each is a segment of its own; the server may have answered before the last."""
    try:
        if not bytewise:
            await client.send(data)
            return
        for at in range(len(data)):
            await client.send(data[at : at + 1])
            await turn()
    except ConnectionError:
        pass
