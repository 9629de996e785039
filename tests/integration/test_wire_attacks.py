"""Attacks on the server's end: cuts and departures at every byte, floods, drips, half-closes."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Final

import pytest

from proxy.wire import Exchange, Handler
from proxy.wire.bounds import Bounds
from proxy.wire.server import Server, serve
from tests.fakes_wire import End, RawClient, chunk, turn
from tests.integration.test_wire_smuggling import REFUSED, post

GET: Final = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LAST: Final = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
"""Ends the connection, so that all that was answered before can be read to its end."""
CHUNKED: Final = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
TURNS: Final = 20
"""What has happened after so many turns of the loop is all that happens by itself."""

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


class Echo:
    """Answers with what it understood of a request; notes how many it served at once."""

    def __init__(self) -> None:
        self.served = 0
        self.most_at_once = 0
        self._at_once = 0

    async def __call__(self, exchange: Exchange) -> None:
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        head = exchange.head
        body = await exchange.read_body(1_000_000)
        self.served += 1
        told = repr((head.method, head.target, head.headers, head.fields, body))
        await turn()
        self._at_once -= 1
        await exchange.respond(200, (), told.encode("latin-1"))


class Waits:
    """Reads the body, begins an answer if told to, and waits to be cancelled."""

    def __init__(self, *, answering: bool = False) -> None:
        self.begun = 0
        self.cancelled = 0
        self.returned = 0
        self.reached = asyncio.Event()
        self._answering = answering

    async def __call__(self, exchange: Exchange) -> None:
        self.begun += 1
        try:
            await exchange.read_body(1_000_000)
            if self._answering:
                await exchange.start(200, ())
                await exchange.write(b"first")
            self.reached.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.returned += 1


async def settled(server: Server, tasks: int) -> None:
    """Until nothing is left of what was going on."""
    while server.in_progress or server.handlers or len(asyncio.all_tasks()) > tasks:
        await turn()


async def exchange_all(port: int, pieces: Iterable[bytes]) -> bytes:
    """All that is answered to these segments, but for what only asks for more of them."""
    async with await RawClient.connect(port) as client:
        try:
            for piece in pieces:
                await client.send(piece)
                await turn()
        except ConnectionError:
            pass  # refused before the last
        data = await client.read_to_end()
    return data.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")


# --- every cut ------------------------------------------------------------------------------------

TAKEN: Final = {
    "a GET": GET,
    "a query": b"GET /a//b/../c?q=%zz&%41#"[:-1] + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "an absolute form": b"GET http://h:1/v1?x=/ HTTP/1.1\r\nHost: h:1\r\n\r\n",
    "a body": post(b"Content-Length: 7", body=b"\r\n\r\nabc"),
    "no body": post(b"Content-Length: 0"),
    "chunks": CHUNKED + b"3;a=b\r\nabc\r\n4\r\n\r\n\r\n\r\n0\r\nX: y\r\nZ: \r\n\r\n",
    "a GET with a body": b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab",
    "HTTP/1.0": b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nab",
    "HTTP/1.0 that stays": post(
        b"Connection: keep-alive", b"Content-Length: 2", body=b"ab"
    ).replace(b"1.1", b"1.0"),
    "blanks and nothing": post(b"A:", b"B: ", b"C:\t c \t", b"D: \xe9\xff", b"A: again "),
    "a blank line first": b"\r\n" + GET,
    "an expectation": post(b"Expect: 100-continue", b"Content-Length: 2", body=b"ab"),
    "a websocket": GET[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "h2c with a body": post(
        b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: 3", body=b"a\r\n"
    ),
    "h2c with chunks": post(
        b"Connection: Upgrade", b"Upgrade: h2c", b"Transfer-Encoding: chunked", body=b"1\r\na\r\n"
    )
    + chunk(b""),
    "two": GET + post(b"Content-Length: 1", body=b"x"),
    "two with chunks": (CHUNKED + chunk(b"ab\r\n\r\n") + chunk(b"")) * 2,
    "the second refused": GET + b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
    "a bad chunk in the second": GET + CHUNKED + chunk(b"a") + b"zz\r\n",
}
ANSWERED: Final = {"two": 3, "two with chunks": 3, "HTTP/1.0": 1, "a websocket": 1}
"""How many answers there are, with that to LAST, where it is not two."""


@pytest.mark.parametrize("form", TAKEN.values(), ids=TAKEN.keys())
async def test_a_request_means_the_same_however_it_is_cut(start: Start, form: bytes) -> None:
    """In one segment, in two at every byte, and byte by byte: a proxy before us may cut it."""
    server = await start(Echo())
    whole = form + LAST
    expected = await exchange_all(server.port, [whole])

    for at in range(1, len(form) + 1):
        assert await exchange_all(server.port, [whole[:at], whole[at:]]) == expected, whole[:at]
    bytewise = (whole[at : at + 1] for at in range(len(whole)))
    assert await exchange_all(server.port, bytewise) == expected


@pytest.mark.parametrize(("form", "form_bytes"), TAKEN.items(), ids=TAKEN.keys())
async def test_each_request_is_answered_once(start: Start, form: str, form_bytes: bytes) -> None:
    """Else the test above would show little."""
    handler = Echo()
    server = await start(handler)
    data = await exchange_all(server.port, [form_bytes + LAST])

    refused = data.count(b"HTTP/1.1 400 ")
    assert refused == ("second" in form)
    assert data.count(b"HTTP/1.1 200 ") == handler.served
    closes = "h2c" in form
    assert handler.served + refused == ANSWERED.get(form, 1 if closes else 2)


@pytest.mark.parametrize("form", REFUSED.values(), ids=REFUSED.keys())
async def test_what_is_refused_is_refused_however_it_is_cut(start: Start, form: bytes) -> None:
    """Around the ends of its lines, where parsers keep their place."""
    handler = Echo()
    server = await start(handler)
    borders = [at for at in range(1, len(form)) if b"\n" in form[at - 1 : at + 1]]
    for at in [*borders, len(form) - 1]:
        data = await exchange_all(server.port, [form[:at], form[at:] + LAST])

        assert data.startswith(b"HTTP/1.1 400 "), form[:at]
        assert data.count(b"HTTP/1.1 ") == 1
    assert handler.served == 0


# --- every departure ------------------------------------------------------------------------------

LEFT: Final = {
    "a body": post(b"Content-Length: 9", body=b"123456789"),
    "chunks": CHUNKED + chunk(b"abc") + chunk(b""),
    "two": GET + post(b"Content-Length: 1", body=b"x"),
}


@pytest.mark.parametrize("how", [End.CLOSE, End.RESET])
@pytest.mark.parametrize("form", LEFT.values(), ids=LEFT.keys())
async def test_a_client_that_leaves_at_any_byte_leaves_nothing_behind(
    start: Start, form: bytes, how: End, caplog: pytest.LogCaptureFixture
) -> None:
    """No handler, no task, no connection: each one left over is one for ever."""
    handler = Waits()
    server = await start(handler)
    tasks = len(asyncio.all_tasks())
    for at in range(len(form) + 1):
        async with await RawClient.connect(server.port) as client:
            await client.send(form[:at])
            if at % 2:
                await turn()
            client.close(how)
            await settled(server, tasks)

    assert handler.begun == handler.cancelled > 0
    assert handler.returned == 0
    assert caplog.records == []


async def test_a_request_and_the_end_in_one_segment_are_a_client_that_left(start: Start) -> None:
    """Whoever wants an answer waits for it; that it came too late may not be seen by anybody."""
    handler = Waits()
    server = await start(handler)
    tasks = len(asyncio.all_tasks())
    for _ in range(20):
        async with await RawClient.connect(server.port) as client:
            client.writer.write(GET)
            client.writer.write_eof()

            assert await client.read_to_end() == b""
    await settled(server, tasks)

    assert handler.begun == handler.cancelled


HALF_CLOSED: Final = {
    "before a byte": b"",
    "in the head": GET[:-5],
    "in the body": post(b"Content-Length: 4", body=b"123"),
    "in a chunk": CHUNKED + b"4\r\n123",
}


@pytest.mark.parametrize("sent", HALF_CLOSED.values(), ids=HALF_CLOSED.keys())
async def test_half_a_request_is_not_answered(start: Start, sent: bytes) -> None:
    """Nothing more can come; there is nothing to say to it either."""
    handler = Waits()
    server = await start(handler)
    tasks = len(asyncio.all_tasks())
    async with await RawClient.connect(server.port) as client:
        await client.send(sent)
        await turn()
        client.writer.write_eof()

        assert await client.read_to_end() == b""
        await settled(server, tasks)
    assert handler.begun == handler.cancelled


@pytest.mark.parametrize("answering", [False, True], ids=["before the answer", "in the answer"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_half_close_before_the_end_of_the_answer_is_a_client_that_left(
    start: Start, answering: bool, version: str
) -> None:
    """Until one writes, it cannot be told from a close; what was begun never looks whole."""
    handler = Waits(answering=answering)
    server = await start(handler)
    tasks = len(asyncio.all_tasks())
    async with await RawClient.connect(server.port) as client:
        await client.send(GET.replace(b"1.1", version.encode()))
        await handler.reached.wait()
        if answering:
            await client.read_until(b"first")
        client.writer.write_eof()
        if answering and version == "1.0":
            with pytest.raises(ConnectionResetError):
                await client.reader.read()
        else:
            assert (await client.read_to_end()).strip() == b""
        await settled(server, tasks)

    assert handler.begun == handler.cancelled == 1


async def test_a_half_close_after_the_end_of_the_answer_loses_nothing_of_it(start: Start) -> None:
    """What is still on its way arrives; the handler is done with it, and is left alone."""
    done, go_on, body = asyncio.Event(), asyncio.Event(), b"x" * 5_000_000
    settling: list[str] = []

    async def handler(exchange: Exchange) -> None:
        responding = asyncio.ensure_future(exchange.respond(200, (), body))
        await turn()
        done.set()
        await responding
        await go_on.wait()
        settling.append("settled")

    server = await start(handler)
    async with await RawClient.connect(server.port) as client:
        await client.send(GET + GET)
        await done.wait()
        client.writer.write_eof()
        for _ in range(TURNS):
            await turn()
        answer = await client.read_answer()
        go_on.set()

        assert answer.body == body
        assert await client.read_to_end() == b""
    while not settling:
        await turn()


async def test_a_handler_is_cancelled_once(start: Start) -> None:
    """It may have to wait while it settles."""
    met: list[str] = []
    go_on, cancelled, over = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        await exchange.start(200, ())
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            met.append("cancelled")
            cancelled.set()
            await go_on.wait()
            met.append("settled")
            try:
                await exchange.write(b"to nobody")
            except asyncio.CancelledError:
                met.append("nobody")
            raise
        finally:
            over.set()

    server = await start(handler)
    async with await RawClient.connect(server.port) as client:
        await client.send(GET)
        await client.read_until(b"\r\n\r\n")
        client.writer.write_eof()
        await cancelled.wait()
        client.close(End.RESET)
        for _ in range(TURNS):
            await turn()
        go_on.set()
        await over.wait()

    assert met == ["cancelled", "settled", "nobody"]


async def test_a_handler_that_stays_goes_on_and_writes_to_nobody(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """It says so when its client leaves; it is asked once, and need not end an answer."""
    go_on, asked, met = asyncio.Event(), asyncio.Event(), list[object]()

    def stays() -> bool:
        asked.set()
        met.append("asked")
        return True

    async def handler(exchange: Exchange) -> None:
        exchange.stays = stays
        await exchange.start(200, ())
        await go_on.wait()
        met.append(exchange.send(b"x"))
        await exchange.write(b"x")
        await exchange.drained()
        met.append("over")

    server = await start(handler)
    tasks = len(asyncio.all_tasks())
    async with await RawClient.connect(server.port) as client:
        await client.send(GET)
        await client.read_until(b"\r\n\r\n")
        client.close()
        await asked.wait()
        await turn()
        assert not await server.drain(0)
        go_on.set()
        await settled(server, tasks)

        assert await server.drain(1)
    assert met == ["asked", True, "over"]
    assert caplog.records == []


async def test_a_closed_server_cancels_what_stays(start: Start) -> None:
    """Whether its client left before, or is there."""
    cancelled: list[str] = []
    waiting, asked = asyncio.Event(), asyncio.Event()

    def stays() -> bool:
        asked.set()
        return True

    async def handler(exchange: Exchange) -> None:
        exchange.stays = stays
        waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(exchange.head.target)

    server = await start(handler)
    async with (
        await RawClient.connect(server.port) as leaves,
        await RawClient.connect(server.port) as remains,
    ):
        await leaves.send(GET)
        await waiting.wait()
        leaves.close()
        await asked.wait()
        await turn()
        waiting.clear()
        await remains.send(GET.replace(b"/", b"/2", 1))
        await waiting.wait()
        async with asyncio.timeout(5):
            await server.close()

    assert sorted(cancelled) == ["/", "/2"]


# --- one after the other --------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10**9, 1_000, 7], ids=["in one", "in some", "in many"])
async def test_fifty_requests_at_once_are_answered_in_order_one_at_a_time(
    start: Start, size: int
) -> None:
    """A client may send them so; a handler of ours never meets itself on one connection."""
    handler = Echo()
    server = await start(handler)
    bodies = [b"%d" % n * (n * 7 % 40) for n in range(50)]
    whole = b"".join(
        post(b"Content-Length: %d" % len(body), body=body)
        if n % 3
        else CHUNKED + chunk(b"%d;" % n) + chunk(b"")
        for n, body in enumerate(bodies)
    )
    async with await RawClient.connect(server.port) as client:
        for at in range(0, len(whole), size):
            await client.send(whole[at : at + size])
            await turn()
        told = [await client.read_answer() for _ in bodies]

    expected = [repr(body if n % 3 else b"%d;" % n) for n, body in enumerate(bodies)]
    assert [answer.body.decode("latin-1").rpartition(", ")[2] for answer in told] == [
        f"{body})" for body in expected
    ]
    assert handler.most_at_once == 1


async def test_what_is_sent_ahead_waits_at_the_client(start: Start) -> None:
    """One connection holds one segment of it here, however much its client pipelines."""
    go_on, served = asyncio.Event(), 0

    async def handler(exchange: Exchange) -> None:
        nonlocal served
        await go_on.wait()
        served += 1
        await exchange.respond(200, (), b"")

    server = await start(handler)
    count = 500
    one = GET[:-2] + (b"X: " + b"x" * 30_000 + b"\r\n") * 2 + b"\r\n"
    async with await RawClient.connect(server.port) as client:
        client.writer.write(one * count)
        waiting = await stands_still(client)
        go_on.set()
        for _ in range(count):
            await client.read_answer()

    assert waiting > len(one) * count / 2  # the rest is in the buffers of two kernels
    assert served == count


async def test_each_request_served_lets_in_no_more_than_itself(start: Start) -> None:
    """A segment is a thousand requests: were the next one read for each, memory would fill."""
    served = 0

    async def handler(exchange: Exchange) -> None:
        nonlocal served
        served += 1
        if served > 100:
            await asyncio.Event().wait()
        await exchange.respond(200, (), b"")

    server = await start(handler)
    size = 60_000_000
    async with await RawClient.connect(server.port) as client:
        client.writer.write(GET * (size // len(GET)))
        while served <= 100:
            await turn()
        waiting = await stands_still(client)

    assert size - waiting < 15_000_000  # what the buffers of two kernels hold, and little of ours


async def test_a_body_that_is_not_read_waits_at_the_client(start: Start) -> None:
    """A slow provider slows the client down."""
    go_on, size = asyncio.Event(), 30_000_000

    async def handler(exchange: Exchange) -> None:
        await go_on.wait()
        got = 0
        async for part in exchange.stream_body():
            got += len(part)
        await exchange.respond(200, (), b"%d" % got)

    server = await start(handler)
    async with await RawClient.connect(server.port) as client:
        client.writer.write(post(b"Content-Length: %d" % size, body=b"x" * size))
        waiting = await stands_still(client)
        go_on.set()
        answer = await client.read_answer()

    assert waiting > size / 2
    assert answer.body == b"%d" % size


async def stands_still(client: RawClient) -> int:
    """Bytes that the client cannot get rid of, once that does not change any more."""
    before = -1
    while before != (now := client.writer.transport.get_write_buffer_size()):
        before = now
        for _ in range(TURNS):
            await turn()
    return now


async def test_a_wait_for_the_reader_of_a_body_is_not_the_clients_fault(start: Start) -> None:
    """What counts is how long we waited for the client, not how long it had to wait for us."""
    slept: list[float] = []

    async def handler(exchange: Exchange) -> None:
        parts = exchange.stream_body()
        await anext(parts)
        began = asyncio.get_running_loop().time()
        await asyncio.get_running_loop().run_in_executor(None, threading.Event().wait, 0.3)
        slept.append(asyncio.get_running_loop().time() - began)
        async for _ in parts:
            pass
        await exchange.respond(200, (), b"")

    server = await start(handler, Bounds(body_seconds=0.15, body_bytes_per_second=10**9))
    async with await RawClient.connect(server.port) as client:
        await client.send(CHUNKED + chunk(b"a"))
        while not slept:
            await turn()
        await client.send(chunk(b"b") + chunk(b""))

        assert (await client.read_answer()).status == 200


async def test_nothing_after_a_refused_request_is_served(start: Start) -> None:
    """What it was is not known, so nobody knows where the next one begins."""
    handler = Echo()
    server = await start(handler)
    data = await exchange_all(server.port, [post(b"Content-Length : 4", body=b"abcd") + GET + LAST])

    assert data.startswith(b"HTTP/1.1 400 ")
    assert data.count(b"HTTP/1.1 ") == 1
    assert handler.served == 0


async def test_a_refused_body_is_not_read_as_the_next_request(start: Start) -> None:
    """The handler answered without reading what looks like one."""

    async def handler(exchange: Exchange) -> None:
        await exchange.respond(413, (), b"")

    server = await start(handler)
    hidden = post(b"Content-Length: %d" % (len(LAST) + 5), body=LAST)
    data = await exchange_all(server.port, [hidden])

    assert data.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in data


# --- too much of it -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10**9, 1_000, 1], ids=["in one", "in some", "byte by byte"])
async def test_ten_thousand_bytes_in_one_header_are_taken(start: Start, size: int) -> None:
    """Some sign their requests at length."""
    server = await start(Echo())
    whole = GET[:-2] + b"X: " + b"x" * 10_000 + b"\r\nConnection: close\r\n\r\n"
    pieces = (whole[at : at + size] for at in range(0, len(whole), size))
    data = await exchange_all(server.port, pieces)

    assert data.startswith(b"HTTP/1.1 200 ")
    assert b"x" * 10_000 in data


FLOODS: Final = {
    "a thousand headers": GET[:-2] + b"".join(b"X-%d: 1\r\n" % n for n in range(1_000)) + b"\r\n",
    "a target without end": b"GET /" + b"x" * 100_000,
    "a name without end": GET[:-2] + b"X" * 100_000,
    "a value without end": GET[:-2] + b"X: " + b"x" * 100_000,
    "headers without end": GET[:-2] + b"X: x\r\n" * 20_000,
    "blank lines without end": b"\r\n" * 100_000 + GET[:-2] + b"X: " + b"x" * 100_000,
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS.keys())
@pytest.mark.parametrize("size", [10**9, 1_000], ids=["in one", "in some"])
async def test_a_head_without_end_is_refused_before_it_has_come(
    start: Start, flood: bytes, size: int
) -> None:
    """What is held of it is bounded, and so is the time."""
    handler = Echo()
    server = await start(handler)
    data = await exchange_all(
        server.port, (flood[at : at + size] for at in range(0, len(flood), size))
    )

    assert data.startswith(b"HTTP/1.1 431 ")
    assert handler.served == 0


FRAMING_FLOODS: Final = {
    "a chunk extension": b"1;" + b"a" * 100_000,
    "a chunk size": b"0" * 100_000,
    "a trailer's name": b"0\r\n" + b"X" * 100_000,
    "a trailer's value": b"0\r\nX: " + b"x" * 100_000,
    "trailers": b"0\r\n" + b"X: x\r\n" * 20_000,
}


@pytest.mark.parametrize("flood", FRAMING_FLOODS.values(), ids=FRAMING_FLOODS.keys())
async def test_framing_without_end_is_refused(start: Start, flood: bytes) -> None:
    """It is no body, so no bound on bodies meets it."""
    handler = Echo()
    server = await start(handler)
    pieces = [CHUNKED, *(flood[at : at + 1_000] for at in range(0, len(flood), 1_000))]
    data = await exchange_all(server.port, pieces)

    assert data.startswith(b"HTTP/1.1 400 ")
    assert handler.served == 0


async def test_a_body_in_a_hundred_thousand_chunks_is_one_body(start: Start) -> None:
    """Dearer than one, but no more than in proportion."""
    server = await start(Echo())
    body = (chunk(b"x") * 100_000) + chunk(b"")
    data = await exchange_all(server.port, [CHUNKED + body, LAST])

    assert b"x" * 100_000 in data


# --- answers --------------------------------------------------------------------------------------


async def test_a_header_that_would_be_two_is_an_error_of_ours(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing of it is sent."""

    async def handler(exchange: Exchange) -> None:
        await exchange.respond(200, (("x-relayed", "a\r\nset-cookie: b"),), b"")

    server = await start(handler)
    data = await exchange_all(server.port, [GET])

    assert data.startswith(b"HTTP/1.1 500 ")
    assert b"set-cookie" not in data
    assert "line break" in caplog.text


async def test_send_says_whether_the_client_reads(start: Start) -> None:
    """And `drained` waits for it."""
    told: list[bool] = []
    stuck = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        await exchange.start(200, ())
        told.append(exchange.send(b"x"))
        while exchange.send(b"x" * 100_000):
            pass
        stuck.set()
        await exchange.drained()
        told.append(exchange.send(b"last"))
        await exchange.finish()

    server = await start(handler)
    async with await RawClient.connect(server.port) as client:
        await client.send(GET)
        await stuck.wait()
        answer = await client.read_answer()

    assert answer.whole
    assert answer.body.endswith(b"last")
    assert told == [True, True]


@pytest.mark.parametrize(
    ("whole", "asked"),
    [
        (post(b"Expect: 100-continue", b"Content-Length: 2", body=b"ab"), False),
        (b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab", False),
        (post(b"Expect: 100-Continue", b"Content-Length: 2", body=b"ab")[:-2], True),
        (post(b"Expect: 100-continue", b"Content-Length: 2", body=b"ab")[:-1], False),
        (b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", False),
    ],
    ids=["all is here", "all is here in 1.0", "nothing is", "some is", "nothing is in 1.0"],
)
async def test_a_client_is_asked_for_its_body_only_if_it_waits_for_that(
    start: Start, whole: bytes, asked: bool
) -> None:
    """An HTTP/1.0 client takes it for the answer (RFC 9110 section 10.1.1)."""
    server = await start(Echo(), Bounds(body_seconds=0.05))
    async with await RawClient.connect(server.port) as client:
        await client.send(whole)
        first = await client.read_until(b"\r\n\r\n")

    assert first.startswith(b"HTTP/1.1 100 ") == asked


async def test_a_closed_server_cancels_handlers_wherever_they_are(start: Start) -> None:
    """In the body, in the answer, and where the client does not read; none is left."""
    handlers = [Waits(), Waits(answering=True)]
    tasks = len(asyncio.all_tasks())
    servers = [await start(handler) for handler in handlers]
    whole = post(b"Content-Length: 2", body=b"ab")
    async with (
        await RawClient.connect(servers[0].port) as reading,
        await RawClient.connect(servers[1].port) as answering,
    ):
        await reading.send(whole[:-1])
        await answering.send(whole)
        await answering.read_until(b"first")
        for server in servers:
            await server.close()

    assert [handler.cancelled for handler in handlers] == [1, 1]
    assert len(asyncio.all_tasks()) == tasks
