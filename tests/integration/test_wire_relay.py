"""Both ends with nothing but a relay between them: what a client and a provider see of each other.

All that a governed call does more stands between `incoming.chunks()` and `exchange.write()`.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from proxy.errors import UpstreamUnavailable
from proxy.wire import Exchange, Outgoing, Timeouts
from proxy.wire.client import UpstreamPool
from proxy.wire.headers import Kind, forwarded
from proxy.wire.server import Server, serve
from tests.fakes_loop import at_once_seconds
from tests.fakes_wire import (
    End,
    RawClient,
    Script,
    ScriptedUpstream,
    Step,
    answer,
    chunk,
    chunked_head,
    turn,
)

GET = b"GET /v1/models HTTP/1.1\r\nHost: holdfast\r\n\r\n"
Start = Callable[..., Awaitable[Server]]


class Relay:
    """Passes everything on, streaming both ways if told so."""

    def __init__(self, pool: UpstreamPool, base: str, *, stream_up: bool) -> None:
        self._pool = pool
        self._base = base
        self._stream_up = stream_up

    async def __call__(self, exchange: Exchange) -> None:
        head = exchange.head
        body = exchange.stream_body() if self._stream_up else await exchange.read_body(10_000_000)
        headers = forwarded(
            head.headers, Kind.ANSWERED_HERE | (0 if self._stream_up else Kind.LENGTH)
        )
        request = Outgoing(head.method, self._base + head.target, headers, body)
        try:
            incoming = await self._pool.send(request, Timeouts())
        except UpstreamUnavailable as exc:
            await exchange.respond(502, (), exc.kind.encode())
            return
        try:
            await exchange.start(incoming.status, forwarded(incoming.headers))
            async for part in incoming.chunks():
                await exchange.write(part)
            await exchange.finish()
        except UpstreamUnavailable:
            exchange.abort()
        finally:
            incoming.close()


@pytest.fixture
async def relay() -> AsyncIterator[Start]:
    """Starts relays before providers, and ends them."""
    servers: list[Server] = []
    pool = UpstreamPool({})

    async def started(upstream: ScriptedUpstream, *, stream_up: bool = False) -> Server:
        servers.append(await serve(Relay(pool, upstream.url, stream_up=stream_up)))
        return servers[-1]

    yield started
    for server in servers:
        await server.close()
    await pool.close()


def pieces(data: bytes, seed: int) -> Iterator[bytes]:
    """Cuts at random places."""
    source = random.Random(seed)
    while data:
        size = source.choice((1, 2, 7, 100, 5_000, 70_000))
        yield data[:size]
        data = data[size:]


async def test_each_chunk_reaches_the_client_before_the_provider_sends_the_next(
    relay: Start,
) -> None:
    """A token that waits for the next is a token late."""
    gates = [asyncio.Event() for _ in range(20)]
    steps: list[Step] = [chunked_head()]
    for number, gate in enumerate(gates):
        steps += [chunk(b"data: %d\n\n" % number), gate]
    async with ScriptedUpstream([*steps, chunk(b"")]) as upstream:
        server = await relay(upstream)
        async with await RawClient.connect(server.port) as client:
            await client.send(GET)
            await client.read_until(b"\r\n\r\n")
            for number, gate in enumerate(gates):
                data = b"data: %d\n\n" % number
                assert await client.read_until(data + b"\r\n") == chunk(data)
                gate.set()
            assert await client.read_until(b"\r\n\r\n") == chunk(b"")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("stream_up", [False, True], ids=["whole body", "streamed body"])
async def test_any_bytes_pass_both_ways_however_they_are_cut(
    relay: Start, seed: int, chunked: bool, stream_up: bool
) -> None:
    """Segments and chunks are nobody's business but TCP's and HTTP's."""
    up, down = random.Random(seed).randbytes(200_000), random.Random(-seed).randbytes(300_000)
    if chunked:
        script = [chunked_head(), *(chunk(part) for part in pieces(down, seed)), chunk(b"")]
        sent = [b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"]
        sent += [*(chunk(part) for part in pieces(up, seed)), chunk(b"")]
    else:
        script = list(pieces(answer(down), seed))
        sent = [*pieces(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" + up, seed)]
    async with ScriptedUpstream(script) as upstream:
        server = await relay(upstream, stream_up=stream_up)
        async with await RawClient.connect(server.port) as client:
            for part in sent:
                await client.send(part)
                await turn()
            received = await client.read_answer()

        assert received.body == down
        assert upstream.received[0].body == up
        has_length = upstream.received[0].header("content-length") == b"200000"
        assert has_length == (not (chunked and stream_up))


async def test_headers_pass_both_ways_as_they_are(relay: Start) -> None:
    """All but hop-by-hop ones and our own: spelling, order, repetitions, bytes."""
    down = (
        b"X-Request-ID: r\xe9\xff\r\nserver: s\r\nDATE: then\r\nSet-Cookie: a\r\nset-cookie: b\r\n"
    )
    up = b"authorization: Bearer k\r\nX-B: 1\r\nx-a: \xc3\xa9 \xff\r\nX-B: 2\r\n"
    hop = b"Keep-Alive: timeout=5\r\nConnection: Keep-Alive, X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\n"
    script = (
        b"HTTP/1.1 200 OK\r\n" + hop + down + b"x-holdfast-step: 9\r\ncontent-length: 0\r\n\r\n"
    )
    async with ScriptedUpstream([script]) as upstream:
        server = await relay(upstream)
        async with await RawClient.connect(server.port) as client:
            await client.send(GET[:-2] + hop + up + b"X-Holdfast-Session: s\r\n\r\n")
            received = await client.read_answer()

        own = b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % upstream.port
        assert upstream.received[0].head == own + up + b"\r\n"
        assert received.head == b"HTTP/1.1 200 OK\r\n" + down + b"content-length: 0\r\n\r\n"


STAGES: dict[str, tuple[Script, int]] = {
    "sending its body": ([], 60),
    "waiting for the head": ([End.HOLD], 0),
    "waiting for the first chunk": ([chunked_head(), End.HOLD], 0),
    "between chunks": ([chunked_head(), chunk(b"x"), End.HOLD], 0),
    "not reading": ([chunked_head(), *[chunk(b"x" * 100_000)] * 400], 0),
}


@pytest.mark.parametrize("how", [End.CLOSE, End.RESET])
@pytest.mark.parametrize(("script", "held_back"), STAGES.values(), ids=STAGES.keys())
async def test_a_client_that_leaves_ends_the_call_at_the_provider_within_100_ms(
    relay: Start, script: Script, held_back: int, how: End
) -> None:
    """At every stage. Each token after that is billed to nobody."""
    whole = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n" + b"x" * 100
    loop = asyncio.get_running_loop()
    async with ScriptedUpstream(script) as upstream:
        server = await relay(upstream, stream_up=True)
        async with await RawClient.connect(server.port) as client:
            await client.send(whole[: len(whole) - held_back])
            await upstream.wait_for_bytes(b"x" * (100 - held_back))
            await stands_still(upstream)
            began = loop.time()
            client.close(how)
            await upstream.wait_for_disconnects()

            assert loop.time() - began < at_once_seconds()


async def stands_still(upstream: ScriptedUpstream) -> None:
    """Until nothing moves any more."""
    before = -1
    while before != upstream.sent:
        before = upstream.sent
        for _ in range(20):
            await turn()


async def test_a_slow_reader_slows_its_provider_and_nothing_is_lost(relay: Start) -> None:
    """Otherwise memory holds what the client does not take."""
    count = 400
    script: Script = [chunked_head(), *[chunk(b"x" * 100_000)] * count, chunk(b"")]
    async with ScriptedUpstream(script) as upstream:
        server = await relay(upstream)
        async with await RawClient.connect(server.port) as client:
            await client.send(GET)
            await stands_still(upstream)
            held = upstream.sent
            received = await client.read_answer()

        assert held < count * 100_000 * 0.75  # four kernel buffers; of ours some 300 KB
        assert len(received.body) == count * 100_000


async def test_200_streams_at_once_stay_apart_and_whole(relay: Start) -> None:
    """No limit of the pool makes one wait for another."""
    gate = asyncio.Event()
    scripts: list[Script] = [
        [chunked_head(), chunk(b"%03d;" % n), gate, chunk(b"%03d;" % n), chunk(b"")]
        for n in range(200)
    ]
    async with ScriptedUpstream(*scripts) as upstream:
        server = await relay(upstream)
        clients = await asyncio.gather(*(RawClient.connect(server.port) for _ in range(200)))
        for client in clients:
            await client.send(GET)
        await upstream.wait_for_requests(200)
        gate.set()
        bodies = [(await client.read_answer()).body for client in clients]
        for client in clients:
            client.close()

        assert sorted(bodies) == sorted(b"%03d;%03d;" % (n, n) for n in range(200))


@pytest.mark.parametrize("how", [End.CLOSE, End.RESET])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_an_answer_cut_at_any_byte_is_seen_to_be_cut(
    relay: Start, chunked: bool, how: End
) -> None:
    """A client that takes it for whole acts on half of it."""
    body = b"data: 1\n\n"
    whole = chunked_head() + chunk(body) + chunk(b"") if chunked else answer(body)
    scripts: list[Script] = [[whole[:cut], how] for cut in range(1, len(whole))]
    async with ScriptedUpstream(*scripts) as upstream:
        server = await relay(upstream)
        for _ in scripts:
            async with await RawClient.connect(server.port) as client:
                await client.send(GET)
                received = await client.read_answer()

            assert received.status == 502 or not received.whole
            assert received.status == 502 or body.startswith(received.body)


async def test_draining_lets_a_relayed_stream_end(relay: Start) -> None:
    """The agent whose sidecar is replaced keeps its answer."""
    gate = asyncio.Event()
    script: Script = [chunked_head(), chunk(b"a"), gate, chunk(b"b"), chunk(b"")]
    async with ScriptedUpstream(script) as upstream:
        server = await relay(upstream)
        async with await RawClient.connect(server.port) as client:
            await client.send(GET)
            await client.read_until(b"a\r\n")
            draining = asyncio.ensure_future(server.drain(5))
            await turn()
            gate.set()

            assert await client.read_to_end() == chunk(b"b") + chunk(b"")
            assert await draining
