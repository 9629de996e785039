"""The server's end over loopback sockets: answers to the byte, bounds, clients that leave."""

import asyncio
import gzip
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from proxy.errors import HoldfastError, MalformedRequest
from proxy.wire import Exchange, Handler, Headers
from proxy.wire.bounds import Bounds
from proxy.wire.server import Server, serve
from tests.fakes_loop import at_once_seconds
from tests.fakes_wire import End, RawClient, chunk, turn

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
Start = Callable[..., Awaitable[Server]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts servers, and closes them at the end."""
    servers: list[Server] = []

    async def started(handler: Handler, bounds: Bounds | None = None) -> Server:
        servers.append(await serve(handler, bounds=bounds))
        return servers[-1]

    yield started
    for server in servers:
        await server.close()


def post(body: bytes, *lines: bytes) -> bytes:
    head = (b"POST / HTTP/1.1", b"Host: x", b"Content-Length: %d" % len(body), *lines, b"", b"")
    return b"\r\n".join(head) + body


class Fixed:
    """Answers each request alike, and keeps what it was asked."""

    def __init__(self, status: int = 200, headers: Headers = (), body: bytes = b"ok") -> None:
        self.exchanges: list[Exchange] = []
        self.bodies: list[bytes] = []
        self._answer = (status, headers, body)

    async def __call__(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)
        self.bodies.append(await exchange.read_body(1_000_000))
        await exchange.respond(*self._answer)


class Held:
    """Stays where it is told until its client leaves, and notes when it is cancelled."""

    def __init__(self, where: str) -> None:
        self.reached = asyncio.Event()
        self.cancelled = asyncio.Event()
        self._where = where

    async def __call__(self, exchange: Exchange) -> None:
        try:
            if self._where == "in the body":
                self.reached.set()
                await exchange.read_body(1_000_000)
            if self._where == "in the answer":
                await exchange.start(200, ())
                await exchange.write(b"first")
            self.reached.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


async def test_a_head_reaches_the_handler_as_it_was_sent(start: Start) -> None:
    """Spelling, order, repetitions and bytes that are not UTF-8."""
    handler = Fixed()
    server = await start(handler)
    async with await RawClient.connect(server.port) as client:
        await client.send(
            b"GET /a//b/../c?q=%zz&%41 HTTP/1.1\r\nhOST: x\r\nX-B: 1\r\n"
            b"x-a:  \xe9\xff,\t\xc3\xa9 \r\nX-B: 2\r\nEmpty:\r\n\r\n"
        )
        await client.read_answer()

    head = handler.exchanges[0].head
    assert head.method == "GET"
    assert head.target == "/a//b/../c?q=%zz&%41"
    assert head.headers == (
        ("hOST", "x"),
        ("X-B", "1"),
        ("x-a", "\xe9\xff,\t\xc3\xa9"),
        ("X-B", "2"),
        ("Empty", ""),
    )


async def test_an_answer_holds_what_was_given_and_its_length(start: Start) -> None:
    """No Date, no Server, no Content-Type of ours: a relayed answer has its own."""
    given = (("X-Request-ID", "r\xe9"), ("date", "then"), ("set-cookie", "a"), ("set-cookie", "b"))
    server = await start(Fixed(200, (*given, ("Content-Length", "99")), b"body"))
    async with await RawClient.connect(server.port) as client:
        await client.send(GET)
        answer = await client.read_answer()

    assert answer.head == (
        b"HTTP/1.1 200 OK\r\nX-Request-ID: r\xe9\r\ndate: then\r\nset-cookie: a\r\n"
        b"set-cookie: b\r\ncontent-length: 4\r\n\r\n"
    )
    assert answer.body == b"body"


async def test_a_connection_is_kept_for_the_next_request(start: Start) -> None:
    """Also where both came in one segment; the order is theirs."""
    handler = Fixed()
    server = await start(handler)
    async with await RawClient.connect(server.port) as client:
        await client.send(post(b"1") + post(b"2") + post(b"3"))
        answers = [await client.read_answer() for _ in range(3)]

    assert [answer.status for answer in answers] == [200] * 3
    assert handler.bodies == [b"1", b"2", b"3"]


@pytest.mark.parametrize(
    ("version", "line", "expected"),
    [
        ("1.1", b"", None),
        ("1.1", b"Connection: close\r\n", "close"),
        ("1.0", b"", "close"),
        ("1.0", b"Connection: keep-alive\r\n", "keep-alive"),
    ],
)
async def test_the_answer_says_whether_the_connection_stays(
    start: Start, version: str, line: bytes, expected: str | None
) -> None:
    """Each version has its default; HTTP/1.0 clients need the word."""
    server = await start(Fixed())
    async with await RawClient.connect(server.port) as client:
        await client.send(b"GET / HTTP/%b\r\nHost: x\r\n%b\r\n" % (version.encode(), line))
        answer = await client.read_answer()
        if expected == "close":
            assert await client.read_to_end() == b""

    assert answer.header("connection") == expected


@pytest.mark.parametrize(
    ("method", "status", "given", "expected"),
    [
        ("HEAD", 200, "77", "77"),
        ("GET", 304, "77", "77"),
        ("GET", 204, "77", None),
        ("GET", 304, None, None),
    ],
)
async def test_answers_without_a_body_have_the_right_length(
    start: Start, method: str, status: int, given: str | None, expected: str | None
) -> None:
    """A body after any of these would be read as the next answer."""
    headers = () if given is None else (("content-length", given),)
    server = await start(Fixed(status, headers, b""))
    async with await RawClient.connect(server.port) as client:
        for _ in range(2):
            await client.send(f"{method} / HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            answer = await client.read_answer(head_only=True)

            assert answer.status == status
            assert answer.header("content-length") == expected
            assert answer.header("transfer-encoding") is None


async def test_a_body_given_to_head_is_only_counted(start: Start) -> None:
    """So that a handler need not know."""
    server = await start(Fixed(body=b"12345"))
    async with await RawClient.connect(server.port) as client:
        await client.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await client.read_answer(head_only=True)
        client.writer.write_eof()

        assert answer.header("content-length") == "5"
        assert await client.read_to_end() == b""


async def test_a_streamed_chunk_arrives_before_the_next_is_written(start: Start) -> None:
    """Nothing waits for a buffer to fill."""
    go_on = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        await exchange.start(200, (("x-accel-buffering", "no"),))
        for part in (b"one", b"two"):
            await exchange.write(part)
            await go_on.wait()
        await exchange.finish()

    server = await start(handler)
    async with await RawClient.connect(server.port) as client:
        await client.send(GET)
        head = await client.read_until(b"\r\n\r\n")
        first = await client.read_until(b"one\r\n")
        go_on.set()
        rest = await client.read_until(b"0\r\n\r\n")

    assert head == b"HTTP/1.1 200 OK\r\nx-accel-buffering: no\r\ntransfer-encoding: chunked\r\n\r\n"
    assert first == chunk(b"one")
    assert rest == chunk(b"two") + chunk(b"")


def streaming(*parts: bytes, headers: Headers = (), cut: bool = False) -> Handler:
    """A handler that streams these parts, and cuts or finishes."""

    async def handler(exchange: Exchange) -> None:
        await exchange.start(200, headers)
        for part in parts:
            await exchange.write(part)
        if cut:
            exchange.abort()
        else:
            await exchange.finish()

    return handler


async def test_a_stream_for_head_has_no_body(start: Start) -> None:
    """So that a handler need not know; ending it twice does nothing either."""

    async def handler(exchange: Exchange) -> None:
        await exchange.start(200, ())
        await exchange.write(b"x")
        await exchange.finish()
        await exchange.finish()

    server = await start(handler)
    async with await RawClient.connect(server.port) as client:
        await client.send(b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

        assert await client.read_to_end() == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"


async def test_a_stream_with_a_given_length_is_not_chunked(start: Start) -> None:
    """A relayed download keeps its length."""
    server = await start(streaming(b"ab", b"", b"cd", headers=(("Content-Length", "4"),)))
    async with await RawClient.connect(server.port) as client:
        await client.send(GET + GET)
        answers = [await client.read_answer() for _ in range(2)]

    assert answers[1].head == b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
    assert [answer.body for answer in answers] == [b"abcd"] * 2


async def test_an_http_1_0_client_gets_a_stream_that_ends_with_the_connection(start: Start) -> None:
    """It knows no chunks."""
    server = await start(streaming(b"ab", b"cd"))
    async with await RawClient.connect(server.port) as client:
        await client.send(b"GET / HTTP/1.0\r\n\r\n")

        assert await client.read_to_end() == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nabcd"


@pytest.mark.parametrize(
    "handler",
    [
        streaming(b"ab", cut=True),
        streaming(b"ab", headers=(("content-length", "4"),)),
        streaming(b"abcdef", headers=(("content-length", "4"),)),
    ],
    ids=["cut", "shorter than promised", "longer than promised"],
)
async def test_an_answer_that_is_not_whole_never_looks_whole(
    start: Start, handler: Handler
) -> None:
    """A client that takes it for whole runs a tool with half its arguments."""
    server = await start(handler)
    async with await RawClient.connect(server.port) as client:
        await client.send(GET)
        answer = await client.read_answer()

        assert not answer.whole


async def test_a_cut_is_a_reset_where_only_that_shows_it(start: Start) -> None:
    """HTTP/1.0 takes a closed connection for the end."""
    server = await start(streaming(b"ab", cut=True))
    async with await RawClient.connect(server.port) as client:
        await client.send(b"GET / HTTP/1.0\r\n\r\n")

        with pytest.raises(ConnectionResetError):
            await client.reader.readuntil(b"never")


async def test_a_handler_goes_on_after_it_has_cut_or_finished(start: Start) -> None:
    """What it still has to settle must not be cancelled by its own cut, or a client that goes."""
    settled = asyncio.Event()
    gone = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        await exchange.start(200, ())
        if exchange.head.target == "/cut":
            exchange.abort()
        else:
            await exchange.finish()
        await gone.wait()
        await turn()
        settled.set()

    server = await start(handler)
    for target in (b"/cut", b"/finished"):
        settled.clear()
        gone.clear()
        async with await RawClient.connect(server.port) as client:
            await client.send(GET.replace(b"/", target, 1))
            await client.read_answer()
        for _ in range(5):
            await turn()
        gone.set()

        await settled.wait()


@pytest.mark.parametrize("how", [End.CLOSE, End.RESET])
@pytest.mark.parametrize("where", ["in the body", "before the answer", "in the answer"])
async def test_a_client_that_leaves_cancels_its_handler(start: Start, where: str, how: End) -> None:
    """Wherever it is: the provider must not go on working, and billing, for nobody."""
    handler = Held(where)
    server = await start(handler)
    async with await RawClient.connect(server.port) as client:
        whole = post(b"1234")
        await client.send(whole[:-2] if where == "in the body" else whole)
        await handler.reached.wait()
        began = asyncio.get_running_loop().time()
        client.close(how)
        await handler.cancelled.wait()

        assert asyncio.get_running_loop().time() - began < at_once_seconds()


async def test_a_writer_whose_client_has_left_meets_its_cancellation_only(start: Start) -> None:
    """An error there would be booked as a fault of somebody."""
    met: list[BaseException] = []
    ended = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        await exchange.start(200, ())
        try:
            while True:
                await exchange.write(b"x" * 10_000)
                await turn()
        except BaseException as exc:
            met.append(exc)
            raise
        finally:
            ended.set()

    server = await start(handler)
    async with await RawClient.connect(server.port) as client:
        await client.send(GET)
        await client.read_until(b"\r\n\r\n")
        client.close(End.RESET)
        await ended.wait()

    assert [type(exc) for exc in met] == [asyncio.CancelledError]


@pytest.mark.parametrize("last", [False, True], ids=["more to come", "the end"])
async def test_a_write_that_finds_the_client_gone_waits_for_the_cancellation(
    start: Start, last: bool
) -> None:
    """Between the failed send and the end of the connection lies a turn of the loop. A handler
    that has come to its end is left to settle as if all had arrived: who could know?"""
    client = socket.socket()
    ended = asyncio.Event()
    met: list[str] = []

    async def handler(exchange: Exchange) -> None:
        await exchange.start(200, ())
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        try:
            await exchange.write(b"fails")
            met.append("first")
            await (exchange.finish() if last else exchange.write(b"knows"))
            met.append("second")
        finally:
            ended.set()

    server = await start(handler)
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", server.port))
    await asyncio.get_running_loop().sock_sendall(client, GET)
    await ended.wait()

    assert met == (["first", "second"] if last else ["first"])


async def test_a_client_that_does_not_read_makes_the_writer_wait(start: Start) -> None:
    """Memory for one slow reader is bounded; the rest of the stream is not lost."""
    total = 40_000_000
    written = 0

    async def handler(exchange: Exchange) -> None:
        nonlocal written
        await exchange.start(200, ())
        while written < total:
            await exchange.write(b"x" * 100_000)
            written += 100_000
        await exchange.finish()

    server = await start(handler)
    async with await RawClient.connect(server.port) as client:
        await client.send(GET)
        before = -1
        while before != written or not written:  # until it stands still
            before = written
            for _ in range(20):
                await turn()
        held = written
        answer = await client.read_answer()

    assert held < total / 2  # the buffers of two kernels, and 64 KiB of ours
    assert len(answer.body) == total


async def test_a_client_that_never_reads_is_left_in_the_end(start: Start) -> None:
    """Its handler is cancelled as if it had gone: a dead peer holds nothing for ever."""
    cancelled = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        await exchange.start(200, ())
        try:
            while True:
                await exchange.write(b"x" * 100_000)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    server = await start(handler, Bounds(write_seconds=0.05))
    async with await RawClient.connect(server.port, receive_buffer=4_096) as client:
        await client.send(GET)

        await cancelled.wait()


async def test_an_answer_that_is_never_read_does_not_keep_its_connection(start: Start) -> None:
    """The handler is done with it; what is left is the kernel's and ours to throw away."""
    done = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        await exchange.respond(200, (), b"x" * 40_000_000)
        done.set()

    server = await start(handler, Bounds(write_seconds=0.05))
    async with await RawClient.connect(server.port) as client:
        await client.send(GET)
        await done.wait()

        assert await server.drain(1)


async def test_a_compressed_body_passes_as_it_is(start: Start) -> None:
    """A bomb is not blown up here, and a relayed body keeps its bytes."""
    handler = Fixed()
    server = await start(handler)
    body = gzip.compress(b"{}" * 1_000)
    async with await RawClient.connect(server.port) as client:
        await client.send(post(body, b"Content-Encoding: gzip"))
        await client.read_answer()

    assert handler.bodies == [body]


async def test_chunked_and_split_bodies_arrive_whole(start: Start) -> None:
    """Extensions and trailers are dropped, borders too."""
    handler = Fixed()
    server = await start(handler)
    whole = (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n"
        b"3;a=b\r\nabc\r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\n"
    )
    async with await RawClient.connect(server.port) as client:
        for size in (1, 7, len(whole)):
            for at in range(0, len(whole), size):
                await client.send(whole[at : at + size])
                await turn()
            await client.read_answer()

    assert handler.bodies == [b"abc0123456789"] * 3


LIMIT = 1_000
TOO_LARGE = {
    "declared": post(b"x" * 1_001),
    "declared and not sent": post(b"x" * 1_001)[:100],
    "chunked": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    + chunk(b"x" * 600) * 2,
}


@pytest.mark.parametrize("request_bytes", TOO_LARGE.values(), ids=TOO_LARGE.keys())
async def test_a_body_over_the_limit_is_refused(start: Start, request_bytes: bytes) -> None:
    """Before it has been sent where its length says so; the client can read the answer."""
    errors: list[MalformedRequest] = []

    async def handler(exchange: Exchange) -> None:
        try:
            await exchange.read_body(LIMIT)
        except MalformedRequest as exc:
            errors.append(exc)
            await exchange.respond(exc.status, (), b"too large")

    server = await start(handler)
    async with await RawClient.connect(server.port) as client:
        await client.send(request_bytes)
        answer = await client.read_answer()

    assert answer.status == 413
    assert [error.status for error in errors] == [413]


async def test_a_body_of_just_the_limit_is_taken(start: Start) -> None:
    """The limit is inclusive."""
    taken: list[bytes] = []

    async def handler(exchange: Exchange) -> None:
        taken.append(await exchange.read_body(LIMIT))
        await exchange.respond(200, (), b"")

    server = await start(handler)
    async with await RawClient.connect(server.port) as client:
        await client.send(post(b"x" * LIMIT))
        await client.read_answer()

    assert taken == [b"x" * LIMIT]


async def test_an_answer_before_the_body_was_read_ends_the_connection(start: Start) -> None:
    """What is unread would be taken for a request."""

    async def handler(exchange: Exchange) -> None:
        await exchange.respond(404, (), b"")

    server = await start(handler)
    async with await RawClient.connect(server.port) as client:
        await client.send(post(GET)[:-3])
        answer = await client.read_answer()
        await client.send(GET[-3:])

        assert answer.header("connection") == "close"
        assert await client.read_to_end() == b""


SLOW = Bounds(head_seconds=0.05, body_seconds=0.05, body_bytes_per_second=10**9)


async def test_a_body_that_stalls_is_a_408(start: Start) -> None:
    """And closes: its rest may still come."""
    server = await start(Fixed(), SLOW)
    async with await RawClient.connect(server.port) as client:
        await client.send(post(b"1234")[:-1])
        answer = await client.read_answer()

    assert (answer.status, answer.header("connection")) == (408, "close")


async def test_a_body_that_drips_is_a_408(start: Start) -> None:
    """A byte in time each time would hold the connection for days."""
    server = await start(Fixed(), SLOW)
    async with await RawClient.connect(server.port) as client:
        await client.send(post(b"x" * 10_000)[:-9_999])
        reading = asyncio.ensure_future(client.read_answer())
        while not reading.done():
            await client.send(b"x")
            await turn()

        assert (await reading).status == 408


async def test_a_head_that_drips_is_a_408(start: Start) -> None:
    """Slowloris: each byte in time, the head never."""
    server = await start(Fixed(), SLOW)
    async with await RawClient.connect(server.port) as client:
        await client.send(GET[:-2] + b"X: ")
        reading = asyncio.ensure_future(client.read_answer())
        while not reading.done():
            await client.send(b"x")
            await turn()

        assert (await reading).status == 408
        assert server.in_progress == 0


async def test_a_head_that_stalls_is_a_408(start: Start) -> None:
    """And closes: nobody knows what it would have become."""
    server = await start(Fixed(), SLOW)
    async with await RawClient.connect(server.port) as client:
        await client.send(GET[:-2])
        data = await client.read_to_end()

    assert data.startswith(b"HTTP/1.1 408 ")
    assert server.in_progress == 0


async def test_an_idle_connection_is_closed_in_time(start: Start) -> None:
    """Also one on which nothing was ever sent."""
    server = await start(Fixed(), Bounds(idle_seconds=0.05))
    async with await RawClient.connect(server.port) as silent:
        assert await silent.read_to_end() == b""
    async with await RawClient.connect(server.port) as client:
        await client.send(GET)
        await client.read_answer()

        assert await client.read_to_end() == b""


async def test_connections_over_the_bound_are_closed_at_once(start: Start) -> None:
    """File descriptors are finite; those that are served stay served."""
    server = await start(Fixed(), Bounds(connections=1))
    async with await RawClient.connect(server.port) as first:
        await first.send(GET)
        await first.read_answer()
        async with await RawClient.connect(server.port) as second:
            assert await second.read_to_end() == b""
        await first.send(GET)

        assert (await first.read_answer()).status == 200


async def test_a_client_that_expects_to_be_asked_is_asked_when_its_body_is_wanted(
    start: Start,
) -> None:
    """curl waits a second for it, some for ever."""
    server = await start(Fixed())
    async with await RawClient.connect(server.port) as client:
        whole = post(b"1234", b"Expect: 100-continue")
        await client.send(whole[:-4])
        asked = await client.read_answer()
        await client.send(whole[-4:])
        answer = await client.read_answer()

    assert (asked.head, answer.status) == (b"HTTP/1.1 100 Continue\r\n\r\n", 200)


async def test_a_client_that_expects_to_be_asked_can_be_refused_first(start: Start) -> None:
    """That is what the expectation is for."""

    async def handler(exchange: Exchange) -> None:
        await exchange.respond(401, (), b"")

    server = await start(handler)
    async with await RawClient.connect(server.port) as client:
        await client.send(post(b"1234", b"Expect: 100-continue")[:-4])

        assert (await client.read_answer()).status == 401


async def test_a_websocket_upgrade_is_an_ordinary_get(start: Start) -> None:
    """Codex falls back to HTTP on 426; anything else costs it seven tries."""
    server = await start(Fixed(426, (("Upgrade", "HTTP/1.1"),), b""))
    async with await RawClient.connect(server.port) as client:
        await client.send(
            GET[:-2]
            + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        answer = await client.read_answer()

    assert (answer.status, answer.header("upgrade")) == (426, "HTTP/1.1")


async def test_an_error_of_the_handler_is_a_500_without_its_text(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has it; a client has no use for it."""

    async def handler(exchange: Exchange) -> None:
        raise KeyError("secret")

    server = await start(handler)
    async with await RawClient.connect(server.port) as client:
        await client.send(GET)
        answer = await client.read_answer()

    assert (answer.status, answer.body) == (500, b"internal error\n")
    assert "KeyError" in caplog.text


async def test_an_error_after_the_answer_began_cuts_it(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """A second answer inside the first hung a client for five minutes."""

    async def handler(exchange: Exchange) -> None:
        await exchange.start(200, ())
        await exchange.write(b"a")
        raise KeyError("x")

    server = await start(handler)
    async with await RawClient.connect(server.port) as client:
        await client.send(GET)
        data = await client.read_to_end()

    assert data.endswith(chunk(b"a"))
    assert "handler failed" in caplog.text


async def test_a_handler_that_forgets_to_end_its_answer_is_told_so(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """Its client is not left waiting."""

    async def handler(exchange: Exchange) -> None:
        if exchange.head.target == "/begun":
            await exchange.start(200, ())

    server = await start(handler)
    for target, expected in ((b"/", b"HTTP/1.1 500 "), (b"/begun", b"HTTP/1.1 200 ")):
        async with await RawClient.connect(server.port) as client:
            await client.send(GET.replace(b"/", target, 1))
            data = await client.read_to_end()

        assert data.startswith(expected)
        assert not data.endswith(b"0\r\n\r\n")
    assert "without ending its answer" in caplog.text


async def test_an_answer_is_begun_once(start: Start) -> None:
    """And written to only while it lasts."""
    refused: list[str] = []

    async def handler(exchange: Exchange) -> None:
        for act in (exchange.finish, lambda: exchange.write(b"x")):
            with pytest.raises(RuntimeError) as early:
                await act()
            refused.append(str(early.value))
        await exchange.respond(200, (), b"")
        with pytest.raises(RuntimeError) as late:
            await exchange.start(200, ())
        refused.append(str(late.value))
        exchange.abort()  # nothing is left to cut

    server = await start(handler)
    async with await RawClient.connect(server.port) as client:
        await client.send(GET)

        assert (await client.read_answer()).whole
    assert len(refused) == 3


async def test_the_refusal_is_worded_by_whoever_serves() -> None:
    """The wire knows no dialect."""

    def refusal(error: HoldfastError) -> tuple[Headers, bytes]:
        return (("x-should-retry", "false"),), f"<{error.code}>".encode()

    server = await serve(Fixed(), refusal=refusal)
    async with await RawClient.connect(server.port) as client:
        await client.send(b"rubbish\r\n\r\n")
        answer = await client.read_answer()
    await server.close()

    assert (answer.status, answer.body) == (400, b"<invalid_request>")
    assert answer.header("x-should-retry") == "false"


async def test_draining_lets_a_stream_end_and_takes_no_more(start: Start) -> None:
    """An idle connection is closed, one in use ends with its answer, and all of it arrives."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        await exchange.start(200, ())
        begun.set()
        await go_on.wait()
        await exchange.write(b"x" * 3_000_000)
        await exchange.finish()

    server = await start(handler)
    async with (
        await RawClient.connect(server.port) as idle,
        await RawClient.connect(server.port) as client,
    ):
        await client.send(GET)
        await begun.wait()
        draining = asyncio.ensure_future(server.drain(5))

        assert await idle.read_to_end() == b""
        with pytest.raises(ConnectionRefusedError):
            await RawClient.connect(server.port)
        assert server.in_progress == 1
        go_on.set()
        answer = await client.read_answer()
        assert answer.whole
        assert len(answer.body) == 3_000_000
        assert await client.read_to_end() == b""
        assert await draining


async def test_an_answer_begun_while_draining_closes_its_connection(start: Start) -> None:
    """So that the client's next request goes to another replica."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        begun.set()
        await go_on.wait()
        await exchange.respond(200, (), b"")

    server = await start(handler)
    async with await RawClient.connect(server.port) as client:
        await client.send(GET)
        await begun.wait()
        draining = asyncio.ensure_future(server.drain(5))
        await turn()
        go_on.set()

        assert (await client.read_answer()).header("connection") == "close"
        assert await draining


async def test_draining_gives_up_in_time_and_closing_cancels_what_is_left(start: Start) -> None:
    """Handlers end before `close` returns: they have to settle."""
    handler = Held("in the answer")
    server = await start(handler)
    async with await RawClient.connect(server.port) as client:
        await client.send(GET)
        await handler.reached.wait()

        assert not await server.drain(0.01)
        await server.close()
        assert handler.cancelled.is_set()
        assert not (await client.read_answer()).whole


async def test_draining_an_unused_server_is_done_at_once(start: Start) -> None:
    """The usual end of a sidecar."""
    server = await start(Fixed())

    assert await server.drain(0)


async def test_a_client_that_resets_behind_its_answer_is_no_error(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """The kernel knows it before the loop does: there is nothing left to half-close."""
    answered, goes_on, faults = asyncio.Event(), asyncio.Event(), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, told: faults.append(told))

    async def handler(exchange: Exchange) -> None:
        await exchange.respond(200, (("connection", "close"),), b"ok")
        answered.set()
        await goes_on.wait()

    server = await start(handler)
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await answered.wait()

    goes_on.set()
    await turn()
    await server.close()

    assert not faults
    assert not caplog.records
