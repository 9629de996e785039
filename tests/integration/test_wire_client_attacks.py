"""What a hostile or broken provider does to the client's end, one by one, over real sockets."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from proxy.errors import UpstreamUnavailable
from proxy.wire import Incoming, Outgoing, Timeouts
from proxy.wire.client import UpstreamPool
from tests.fakes_answers import SAMPLES, Sample
from tests.fakes_wire import End, Script, ScriptedUpstream, Step, answer, chunk, chunked_head, turn

PATIENT = Timeouts(connect=5, head=5, idle=5, total=10)
PLAIN = answer(b"next")


@pytest.fixture
async def pool() -> AsyncIterator[UpstreamPool]:
    pool = UpstreamPool({})
    yield pool
    await pool.close()


def request(url: str, method: str = "POST") -> Outgoing:
    return Outgoing(method, url, (), b"{}" if method == "POST" else b"")


class Read(asyncio.Event):
    """A step of a script: what was sent before it has been read when it is over."""

    async def wait(self) -> bool:  # type: ignore[override]  # the base class promises a Literal
        await turn()
        await turn()
        return True


def segments(*parts: bytes) -> list[Step]:
    """Sent one by one, each seen alone."""
    return [step for part in parts for step in (part, Read())]


async def by_chunks(incoming: Incoming) -> bytes:
    return b"".join([part async for part in incoming.chunks()])


async def by_reading(incoming: Incoming) -> bytes:
    return await incoming.read(1_000_000)


async def by_passing_on(incoming: Incoming) -> bytes:
    """Asks to be waited for after every third piece."""
    came: list[bytes] = []

    def take(piece: bytes) -> bool:
        came.append(piece)
        return len(came) % 3 != 0

    while await incoming.pass_on(take):
        await turn()
    return b"".join(came)


WAYS = {"chunks": by_chunks, "read": by_reading, "pass_on": by_passing_on}
Way = Callable[[Incoming], Awaitable[bytes]]


async def exchange(
    pool: UpstreamPool, url: str, method: str = "POST", way: Way = by_chunks
) -> tuple[int, bytes, str | None]:
    """Status, what came of the body, and the kind of fault."""
    status, came = 0, b""
    try:
        incoming = await pool.send(request(url, method), PATIENT)
        status = incoming.status
        if way is by_chunks:
            async for part in incoming.chunks():
                came += part
        else:
            came = await way(incoming)
    except UpstreamUnavailable as fault:
        return status, came, fault.kind if fault.sent else "not sent"
    return status, came, None


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES.keys())
async def test_an_answer_split_at_any_byte_is_the_same(
    pool: UpstreamPool, sample: Sample, way: Way
) -> None:
    """And byte by byte; and the connection serves the next request if it should."""
    last: Script = [End.CLOSE] if sample.until_close else []
    cuts = (segments(sample.raw[:cut], sample.raw[cut:]) for cut in range(0, len(sample.raw), 3))
    single = segments(*(sample.raw[place : place + 1] for place in range(len(sample.raw))))
    scripts: list[Script] = [[*steps, *last] for steps in (*cuts, single)]
    async with ScriptedUpstream(*scripts) as upstream:
        for _ in scripts:
            incoming = await pool.send(request(upstream.url, sample.method), PATIENT)

            assert (incoming.status, incoming.headers) == (sample.status, sample.headers)
            assert await way(incoming) == sample.body
        assert upstream.connections == (1 if sample.reusable else len(scripts))


def expected(sample: Sample, cut: int, how: End) -> tuple[int, str | None]:
    """Status and fault of an answer that is cut after so many bytes."""
    if cut < sample.head:
        return 0, "reset"
    if sample.until_close:
        return sample.status, "reset" if how is End.RESET else None
    return sample.status, "reset" if how is End.RESET else "truncated"


@pytest.mark.parametrize("how", [End.CLOSE, End.RESET], ids=["FIN", "RST"])
@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES.keys())
async def test_an_answer_aborted_at_any_byte_is_never_a_clean_end(
    pool: UpstreamPool, sample: Sample, how: End
) -> None:
    """Except where the end of the connection is the end of the body. (A reset may overtake what was
    sent before it, the head too.)"""
    cuts = range(len(sample.raw) + sample.until_close)
    scripts: list[Script] = [[sample.raw[:cut], Read(), how] if cut else [how] for cut in cuts]
    async with ScriptedUpstream(*scripts) as upstream:
        for cut in cuts:
            status, came, kind = await exchange(pool, upstream.url, sample.method)

            assert (status, kind) == expected(sample, cut, how)
            assert sample.body.startswith(came)
        assert upstream.connections == len(scripts)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
async def test_a_cut_in_the_segment_of_the_last_piece_is_seen(pool: UpstreamPool, way: Way) -> None:
    """Data and FIN together."""
    async with ScriptedUpstream([chunked_head() + chunk(b"abc"), End.CLOSE]) as upstream:
        incoming = await pool.send(request(upstream.url), PATIENT)
        with pytest.raises(UpstreamUnavailable) as fault:
            await way(incoming)

        assert fault.value.kind == "truncated"


def endless(start: bytes, more: bytes) -> Script:
    return [start, *([more] * 2_000)]


OK = b"HTTP/1.1 200 OK\r\n"
ENDLESS = {
    "a header": (OK + b"A: ", b"a" * 5_000),
    "headers": (OK, b"A: b\r\n" * 800),
    "interim answers": (b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 200),
    "trailers": (chunked_head() + chunk(b"abc") + b"0\r\n", b"A: b\r\n" * 800),
    "a chunk extension": (chunked_head() + b"3;", b"a" * 5_000),
}


@pytest.mark.parametrize(("start", "more"), ENDLESS.values(), ids=ENDLESS.keys())
async def test_what_never_ends_is_cut_off(pool: UpstreamPool, start: bytes, more: bytes) -> None:
    """Ten megabytes without a byte of body; the provider is not let send them."""
    async with ScriptedUpstream(endless(start, more)) as upstream:
        _, _, kind = await exchange(pool, upstream.url)

        assert kind == "malformed"
        await upstream.wait_for_disconnects()
        assert upstream.sent < 9_000_000


AMBIGUOUS = {
    "lengths that differ": b"Content-Length: 3\r\nContent-Length: 6\r\n",
    "a length and a coding": b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
    "a coding and a length": b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
    "a negative length": b"Content-Length: -3\r\n",
    "a length beyond 64 bits": b"Content-Length: 18446744073709551619\r\n",
    "a length of letters": b"Content-Length: three\r\n",
    "a coding that is not one": b"Transfer-Encoding: chunked, gzip\r\n",
    "a blank before the colon": b"Content-Length : 3\r\n",
    "a folded length": b"Content-Length: 3\r\n 0\r\n",
}
BAD_CHUNKS = {
    "a size beyond 64 bits": b"fffffffffffffffff\r\n",
    "a negative size": b"-3\r\nabc\r\n",
    "more than its size": b"3\r\nabcdef\r\n",
    "no size": b"\r\n",
}


@pytest.mark.parametrize("headers", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
async def test_an_answer_that_could_be_read_in_two_ways_is_malformed(
    pool: UpstreamPool, headers: bytes
) -> None:
    """And nothing is sent on its connection again."""
    async with ScriptedUpstream([OK + headers + b"\r\nabcdef"], [PLAIN]) as upstream:
        assert await exchange(pool, upstream.url) == (0, b"", "malformed")
        await upstream.wait_for_disconnects()
        assert await exchange(pool, upstream.url) == (200, b"next", None)


@pytest.mark.parametrize("bad", BAD_CHUNKS.values(), ids=BAD_CHUNKS.keys())
async def test_a_bad_chunk_ends_the_body_with_what_came_before_it(
    pool: UpstreamPool, bad: bytes
) -> None:
    """In its own segment or the head's."""
    scripts: list[Script] = [
        [chunked_head() + chunk(b"first") + bad],
        segments(chunked_head(), chunk(b"first"), bad),
    ]
    async with ScriptedUpstream(*scripts) as upstream:
        for _ in scripts:
            status, came, kind = await exchange(pool, upstream.url)

            assert (status, kind) == (200, "malformed")
            assert came.startswith(b"first")
        await upstream.wait_for_disconnects(2)


EXTRA = {
    "another answer": (answer(b"one") + answer(b"two"), "POST"),
    "half of one": (answer(b"one") + b"HTTP/1.1 2", "POST"),
    "bytes": (answer(b"one") + b"x", "POST"),
    "a body after 204": (b"HTTP/1.1 204 No\r\n\r\nx", "POST"),
    "a body after 304": (b"HTTP/1.1 304 No\r\ncontent-length: 1\r\n\r\nx", "POST"),
    "a body in answer to HEAD": (answer(b"one"), "HEAD"),
    "chunks in answer to HEAD": (chunked_head() + chunk(b"a") + chunk(b""), "HEAD"),
}


@pytest.mark.parametrize("together", [True, False], ids=["one segment", "two segments"])
@pytest.mark.parametrize(("raw", "method"), EXTRA.values(), ids=EXTRA.keys())
async def test_what_follows_an_answer_is_given_to_nobody(
    pool: UpstreamPool, raw: bytes, method: str, together: bool
) -> None:
    """The next request would be answered with it: another tenant's, perhaps."""
    split = raw.index(b"\r\n\r\n") + 4 + (3 if b"one" in raw and method == "POST" else 0)
    first = [raw] if together else segments(raw[:split], raw[split:])
    async with ScriptedUpstream(first, [PLAIN]) as upstream:
        status, came, kind = await exchange(pool, upstream.url, method)
        await turn()
        await turn()

        assert (kind, came) == (None, b"one" if status == 200 and method == "POST" else b"")
        assert await exchange(pool, upstream.url) == (200, b"next", None)
        assert upstream.connections == 2


class BlockingProvider:
    """A provider without a loop: what it does is in the kernel before the client's loop turns."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self.accepted: list[socket.socket] = []

    async def serve(self, raw: bytes) -> None:
        """Answers one request on a new connection, which stays open."""
        loop = asyncio.get_running_loop()
        self.listening.setblocking(False)
        connection, _ = await loop.sock_accept(self.listening)
        connection.setblocking(False)
        self.accepted.append(connection)
        await loop.sock_recv(connection, 65_536)
        await loop.sock_sendall(connection, raw)

    def close(self) -> None:
        for connection in (*self.accepted, self.listening):
            connection.close()


@pytest.fixture
def provider() -> Iterator[BlockingProvider]:
    provider = BlockingProvider()
    yield provider
    provider.close()


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


RACES: dict[str, Callable[[socket.socket], object]] = {
    "closes it": socket.socket.close,
    "resets it": reset,
    "ends its side": lambda connection: connection.shutdown(socket.SHUT_WR),
    "says something": lambda connection: connection.send(answer(b"late", "408 Request Timeout")),
}


@pytest.mark.parametrize("act", RACES.values(), ids=RACES.keys())
async def test_a_kept_connection_is_not_used_once_the_provider(
    pool: UpstreamPool, provider: BlockingProvider, act: Callable[[socket.socket], object]
) -> None:
    """Even if the loop has not read it yet: the request would be lost, and booked as sent."""
    first, _ = await asyncio.gather(exchange(pool, provider.url), provider.serve(answer(b"1")))
    act(provider.accepted[0])
    second, _ = await asyncio.gather(exchange(pool, provider.url), provider.serve(answer(b"2")))

    assert (first, second) == ((200, b"1", None), (200, b"2", None))


async def test_the_connection_used_last_is_used_first(pool: UpstreamPool) -> None:
    """So that those a burst has left over reach their time-out."""
    gate = asyncio.Event()
    async with ScriptedUpstream([gate, PLAIN], [gate, PLAIN], [PLAIN]) as upstream:
        burst = [asyncio.ensure_future(exchange(pool, upstream.url)) for _ in range(2)]
        await upstream.wait_for_requests(2)
        gate.set()
        await asyncio.gather(*burst)
        for _ in range(3):
            await exchange(pool, upstream.url)

        last = {received.connection for received in upstream.received[2:]}
        assert (len(last), upstream.connections) == (1, 2)


async def test_an_idle_connection_is_closed_in_time() -> None:
    """Whoever keeps connections for ever runs out of them."""
    pool = UpstreamPool({}, keepalive_seconds=0.1)
    async with ScriptedUpstream([PLAIN]) as upstream:
        await exchange(pool, upstream.url)
        await upstream.wait_for_disconnects()
        await exchange(pool, upstream.url)

        assert upstream.connections == 2
    await pool.close()


async def test_an_answer_before_the_whole_request_is_not_the_last_word_on_its_connection(
    pool: UpstreamPool,
) -> None:
    """The rest of the request would be read as the next."""
    gone: asyncio.Queue[int] = asyncio.Queue()

    async def refuse_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(b"no", "413 Too Large"))
        size = 0
        try:
            while data := await reader.read(65_536):
                size += len(data)
        except ConnectionError:
            pass
        writer.transport.abort()
        gone.put_nowait(size)

    listening = await asyncio.start_server(refuse_early, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    body = b"x" * 30_000_000
    for _ in range(2):
        incoming = await pool.send(Outgoing("POST", url, (), body), PATIENT)

        assert (incoming.status, await incoming.read(10)) == (413, b"no")
        assert await gone.get() < len(body)
    listening.close()


async def test_a_body_that_nobody_reads_makes_the_provider_wait(pool: UpstreamPool) -> None:
    """And nothing of it is lost; being slow ourselves is no time-out of the provider's."""
    parts = [bytes([number % 256]) * 100_000 for number in range(300)]
    script = [chunked_head(), *map(chunk, parts), chunk(b"")]
    async with ScriptedUpstream(script) as upstream:
        incoming = await pool.send(request(upstream.url), Timeouts(idle=0.2, total=10))
        loop = asyncio.get_running_loop()
        until = loop.time() + 0.5
        while loop.time() < until:
            await turn()
        stuck_at = upstream.sent

        assert stuck_at < 15_000_000
        assert await by_chunks(incoming) == b"".join(parts)


async def test_a_taker_that_says_no_makes_the_provider_wait(pool: UpstreamPool) -> None:
    """As often as it says it; all comes in order."""
    parts = [bytes([number % 256]) * 50_000 for number in range(100)]
    script = [chunked_head(), *map(chunk, parts), chunk(b"")]
    async with ScriptedUpstream(script) as upstream:
        incoming = await pool.send(request(upstream.url), PATIENT)

        assert await by_passing_on(incoming) == b"".join(parts)


async def test_what_is_passed_on_is_passed_on_in_the_callback_that_read_it(
    pool: UpstreamPool,
) -> None:
    """No task is woken for it: the taker of one stream runs between those of others."""
    gate = asyncio.Event()
    script = [chunked_head(), gate, *segments(*(chunk(b"%d" % n) for n in range(20))), chunk(b"")]
    running: list[asyncio.Task[object] | None] = []

    def take(piece: bytes) -> bool:
        running.append(asyncio.current_task())
        return True

    async with ScriptedUpstream(script) as upstream:
        incoming = await pool.send(request(upstream.url), PATIENT)
        asyncio.get_running_loop().call_soon(gate.set)

        assert await incoming.pass_on(take) is False
        assert set(running) == {None}


async def test_an_error_of_the_taker_ends_the_call_and_is_raised(pool: UpstreamPool) -> None:
    """Not in the loop's log, where nobody would connect it with the call."""

    def take(piece: bytes) -> bool:
        raise ZeroDivisionError

    scripts: list[Script] = [[chunked_head(), Read(), chunk(b"a"), End.HOLD], [answer(b"whole")]]
    for script in scripts:
        async with ScriptedUpstream(script) as upstream:
            incoming = await pool.send(request(upstream.url), PATIENT)
            with pytest.raises(ZeroDivisionError):
                await incoming.pass_on(take)
            incoming.close()


async def test_a_taker_may_end_the_call(pool: UpstreamPool) -> None:
    """A kill cuts a stream from within."""
    async with ScriptedUpstream([chunked_head(), *segments(chunk(b"a"), chunk(b"b"))]) as upstream:
        incoming = await pool.send(request(upstream.url), PATIENT)
        came: list[bytes] = []

        def take(piece: bytes) -> bool:
            came.append(piece)
            incoming.close()
            return True

        assert await incoming.pass_on(take) is False
        assert came == [b"a"]
        await upstream.wait_for_disconnects()


async def test_cancelling_who_passes_on_ends_the_call(pool: UpstreamPool) -> None:
    """The client has left; the provider must not go on, and nobody is handed more."""
    async with ScriptedUpstream([chunked_head(), chunk(b"a"), End.HOLD]) as upstream:
        incoming = await pool.send(request(upstream.url), PATIENT)
        passing = asyncio.ensure_future(incoming.pass_on(lambda piece: True))
        for _ in range(5):
            await turn()
        passing.cancel()
        await upstream.wait_for_disconnects()

        assert passing.cancelled() or passing.cancelling()


async def test_a_read_has_its_limit_to_the_byte(pool: UpstreamPool) -> None:
    """However the body comes."""
    scripts = (
        [answer(b"x" * 1_000)],
        segments(chunked_head(), chunk(b"x" * 999), chunk(b"x") + chunk(b"")),
    )
    for script in scripts:
        async with ScriptedUpstream(script) as upstream:
            incoming = await pool.send(request(upstream.url), PATIENT)
            assert len(await incoming.read(1_000)) == 1_000
            incoming = await pool.send(request(upstream.url), PATIENT)
            with pytest.raises(UpstreamUnavailable) as fault:
                await incoming.read(999)

            assert fault.value.kind == "malformed"


async def test_a_call_cancelled_at_any_turn_of_the_loop_leaves_nothing_behind(
    pool: UpstreamPool,
) -> None:
    """While it connects, sends, waits or reads: no task, and no connection with a call on it."""
    async with ScriptedUpstream([*segments(chunked_head(), chunk(b"a")), End.HOLD]) as upstream:
        async with ScriptedUpstream() as quiet:
            await exchange(pool, quiet.url)
        for turns in range(40):
            tasks = asyncio.all_tasks()
            calling = asyncio.ensure_future(exchange(pool, upstream.url, way=by_reading))
            for _ in range(turns):
                await turn()
            calling.cancel()
            await asyncio.wait([calling])
            await upstream.wait_for_disconnects(upstream.connections)

            assert calling.cancelled()
            assert {
                task for task in asyncio.all_tasks() - tasks if "/proxy/" in repr(task)
            } == set()


async def test_on_sent_is_called_just_before_the_first_byte_leaves(pool: UpstreamPool) -> None:
    """Not while it connects, and not after: what it says is what may be billed."""
    async with ScriptedUpstream() as upstream:
        seen: list[tuple[int, bytes]] = []
        for _ in range(2):
            incoming = await pool.send(
                request(upstream.url),
                PATIENT,
                lambda: seen.append((upstream.connections, upstream.seen_bytes)),
            )
            await incoming.read(10)
            upstream.seen_bytes = b""

        assert seen == [(0, b""), (1, b"")] or seen == [(1, b""), (1, b"")]


async def test_on_sent_that_fails_sends_nothing(pool: UpstreamPool) -> None:
    """A hold that cannot be marked as sent must not be spent."""

    def fail() -> None:
        raise ZeroDivisionError

    async with ScriptedUpstream() as upstream:
        with pytest.raises(ZeroDivisionError):
            await pool.send(request(upstream.url), PATIENT, fail)
        async with asyncio.timeout(5):
            await upstream.wait_for_disconnects()

        assert upstream.seen_bytes == b""


async def test_a_closed_pool_sends_nothing(pool: UpstreamPool) -> None:
    """A call that comes too late is told so."""
    async with ScriptedUpstream() as upstream:
        await exchange(pool, upstream.url)
        await pool.close()
        with pytest.raises(UpstreamUnavailable) as fault:
            await pool.send(request(upstream.url), PATIENT)

        assert not fault.value.sent
        assert len(upstream.received) == 1
