"""The client's end against scripted providers: bytes out, bytes in, and every way to break off."""

import asyncio
import gzip
import os
import socket
import ssl
import struct
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from proxy.errors import MalformedRequest, UpstreamUnavailable
from proxy.wire import Headers, Outgoing, Timeouts
from proxy.wire.client import UpstreamPool
from tests.fakes_loop import at_once_seconds
from tests.fakes_tls import CERTIFICATE, TlsUpstream, trusting
from tests.fakes_wire import End, Script, ScriptedUpstream, answer, chunk, chunked_head, turn

PATIENT = Timeouts(connect=5, head=5, idle=5, total=10)
Open = Callable[..., UpstreamPool]


@pytest.fixture
async def open_pool() -> AsyncIterator[Open]:
    """Makes pools, and closes them at the end."""
    pools: list[UpstreamPool] = []

    def opened(
        environ: dict[str, str] | None = None, tls: ssl.SSLContext | None = None
    ) -> UpstreamPool:
        pools.append(UpstreamPool(environ or {}, tls=tls))
        return pools[-1]

    yield opened
    for pool in pools:
        await pool.close()


@pytest.fixture
async def pool(open_pool: Open) -> UpstreamPool:
    return open_pool()


def post(url: str, body: bytes | AsyncIterator[bytes] = b"{}", headers: Headers = ()) -> Outgoing:
    return Outgoing("POST", url, headers, body)


def get(url: str, headers: Headers = ()) -> Outgoing:
    return Outgoing("GET", url, headers, b"")


async def parts(*chunks: bytes | asyncio.Event | Exception) -> AsyncIterator[bytes]:
    """A body that comes in parts, and waits or breaks between them."""
    for part in chunks:
        if isinstance(part, Exception):
            raise part
        if isinstance(part, bytes):
            yield part
        else:
            await part.wait()


async def body_of(pool: UpstreamPool, request: Outgoing, timeouts: Timeouts = PATIENT) -> bytes:
    incoming = await pool.send(request, timeouts)
    return await incoming.read(10_000_000)


async def collect(pool: UpstreamPool, url: str) -> tuple[bytes, UpstreamUnavailable | None]:
    """What came, and what broke it off."""
    data = b""
    try:
        incoming = await pool.send(get(url), PATIENT)
        async for part in incoming.chunks():
            data += part
    except UpstreamUnavailable as exc:
        return data, exc
    return data, None


async def test_what_goes_out_is_what_was_given_and_the_framing(pool: UpstreamPool) -> None:
    """No header of the library's own, no cookie, nothing requoted or re-encoded."""
    given = (("X-Two", "1"), ("authorization", "Bearer k"), ("X-Two", "2"), ("x-raw", "\xe9\xff"))
    async with ScriptedUpstream() as upstream:
        target = "/a//b/../%7e?q=%zz&a=b+c&&=;@:'!"
        await body_of(pool, post(upstream.url + target, b"\0\xff", given))

        assert upstream.received[0].lines == [
            f"POST {target} HTTP/1.1".encode(),
            f"Host: 127.0.0.1:{upstream.port}".encode(),
            b"X-Two: 1",
            b"authorization: Bearer k",
            b"X-Two: 2",
            b"x-raw: \xe9\xff",
            b"content-length: 2",
        ]
        assert upstream.received[0].body == b"\0\xff"


@pytest.mark.parametrize(
    ("url", "line"),
    [("", b"GET / HTTP/1.1"), ("?a", b"GET /?a HTTP/1.1"), ("/x", b"GET /x HTTP/1.1")],
)
async def test_a_target_begins_with_a_slash(pool: UpstreamPool, url: str, line: bytes) -> None:
    """A base URL may have no path."""
    async with ScriptedUpstream() as upstream:
        await body_of(pool, get(upstream.url + url))

        assert upstream.received[0].lines[0] == line


async def test_a_long_target_is_sent_and_not_remembered(pool: UpstreamPool) -> None:
    """A thousand queries of a client would be all our memory."""
    async with ScriptedUpstream() as upstream:
        for query in ("?short", "?" + "x" * 10_000):
            await body_of(pool, get(upstream.url + query))

        assert [len(r.lines[0]) for r in upstream.received] == [20, 10_015]
        assert pool._known_route.cache_info().currsize == 1


async def test_a_target_that_would_be_two_lines_is_refused(pool: UpstreamPool) -> None:
    """Before anything is sent."""
    async with ScriptedUpstream() as upstream:
        for target in ("/a b", "/a\r\nX: y", "/a\x7f"):
            with pytest.raises(MalformedRequest):
                await pool.send(get(upstream.url + target), PATIENT)

        assert upstream.connections == 0


async def test_the_framing_is_ours_whatever_was_given(pool: UpstreamPool) -> None:
    """A relayed length or coding beside our own would be two requests to somebody."""
    given = (("content-length", "99"), ("Transfer-Encoding", "chunked"), ("Host", "evil"))
    async with ScriptedUpstream() as upstream:
        await body_of(pool, post(upstream.url, b"{}", given))
        await body_of(pool, post(upstream.url, b"", given))
        await body_of(pool, get(upstream.url, given))

        lines = [received.lines[2:] for received in upstream.received]
        assert lines == [[b"content-length: 2"], [b"content-length: 0"], []]


async def test_a_body_in_parts_is_chunked_or_keeps_its_length(pool: UpstreamPool) -> None:
    """Some providers take no chunked uploads."""
    async with ScriptedUpstream() as upstream:
        await body_of(pool, post(upstream.url, parts(b"ab", b"", b"cd")))
        await body_of(pool, post(upstream.url, parts(b"ab", b"cd"), (("Content-Length", "4"),)))

        chunked, plain = upstream.received
        assert chunked.lines[2:] == [b"transfer-encoding: chunked"]
        assert plain.lines[2:] == [b"content-length: 4"]
        assert chunked.body == plain.body == b"abcd"


@pytest.mark.parametrize("body", [(b"ab",), (b"abc", b"de")])
async def test_a_body_that_does_not_keep_its_length_is_cut_off(
    pool: UpstreamPool, body: tuple[bytes, ...]
) -> None:
    """Sent on, the rest would be taken for the next request, or the next for the rest."""
    async with ScriptedUpstream([End.HOLD]) as upstream:
        with pytest.raises(MalformedRequest):
            await pool.send(post(upstream.url, parts(*body), (("content-length", "4"),)), PATIENT)

        await upstream.wait_for_disconnects()
        assert b"de" not in upstream.seen_bytes


async def test_an_answer_comes_back_as_it_was_sent(pool: UpstreamPool) -> None:
    """Compressed stays compressed, a redirect is the client's to follow, cookies are its own."""
    body = gzip.compress(b"hello")
    headers = ("Content-Encoding: gzip", "SET-cookie: a=1", "set-cookie: b", "X-Raw: \xe9\xff")
    script = answer(body, "307 Temporary", "Location: /elsewhere", *headers)
    async with ScriptedUpstream([script]) as upstream:
        incoming = await pool.send(get(upstream.url), PATIENT)
        read = await incoming.read(1_000)
        await body_of(pool, get(upstream.url))

        assert (incoming.status, read) == (307, body)
        assert incoming.headers == (
            ("Location", "/elsewhere"),
            ("Content-Encoding", "gzip"),
            ("SET-cookie", "a=1"),
            ("set-cookie", "b"),
            ("X-Raw", "\xe9\xff"),
            ("content-length", str(len(body))),
        )
        assert upstream.received[1].header("cookie") is None
        assert [r.lines[0] for r in upstream.received] == [b"GET / HTTP/1.1"] * 2


async def test_a_chunk_is_seen_before_the_next_is_sent(pool: UpstreamPool) -> None:
    """Each as it arrives."""
    gates = [asyncio.Event() for _ in range(3)]
    script: Script = [
        chunked_head(),
        gates[0],
        chunk(b"a"),
        gates[1],
        chunk(b"b"),
        gates[2],
        chunk(b""),
    ]
    async with ScriptedUpstream(script) as upstream:
        incoming = await pool.send(get(upstream.url), PATIENT)
        chunks = incoming.chunks()
        seen = []
        for gate in gates[:2]:
            gate.set()
            seen.append(await anext(chunks))
        gates[2].set()

        assert seen == [b"a", b"b"]
        assert [part async for part in chunks] == []


WITHOUT_BODY = {
    "HEAD": ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"),
    "204": ("GET", b"HTTP/1.1 204 No\r\n\r\n"),
    "304": ("GET", b"HTTP/1.1 304 No\r\ncontent-length: 9\r\n\r\n"),
    "nothing": ("GET", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
}


@pytest.mark.parametrize(("method", "script"), WITHOUT_BODY.values(), ids=WITHOUT_BODY.keys())
async def test_answers_without_a_body_end_at_once(
    pool: UpstreamPool, method: str, script: bytes
) -> None:
    """And the connection is good for the next."""
    async with ScriptedUpstream([script]) as upstream:
        for _ in range(2):
            assert await body_of(pool, Outgoing(method, upstream.url, (), b"")) == b""

        assert upstream.connections == 1


async def test_interim_answers_are_passed_over(pool: UpstreamPool) -> None:
    """Providers send 103 with hints."""
    script = b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + answer(b"ok")
    async with ScriptedUpstream([script]) as upstream:
        incoming = await pool.send(post(upstream.url), PATIENT)

        assert (incoming.status, await incoming.read(10)) == (200, b"ok")


async def test_an_answer_over_the_limit_is_not_kept_in_memory(pool: UpstreamPool) -> None:
    """Nor read on: its connection is cut."""
    async with ScriptedUpstream([chunked_head(), chunk(b"x" * 600), chunk(b"x" * 600)]) as upstream:
        incoming = await pool.send(get(upstream.url), PATIENT)
        with pytest.raises(UpstreamUnavailable) as fault:
            await incoming.read(1_000)

        assert fault.value.kind == "malformed"
        await upstream.wait_for_disconnects()


async def test_a_finished_connection_is_used_again(pool: UpstreamPool) -> None:
    """However the answer was consumed; TLS handshakes are dear."""
    async with ScriptedUpstream([answer(b"ok")]) as upstream:
        await body_of(pool, get(upstream.url))
        incoming = await pool.send(get(upstream.url), PATIENT)
        assert [part async for part in incoming.chunks()] == [b"ok"]
        (await pool.send(get(upstream.url), PATIENT)).close()
        await body_of(pool, get(upstream.url))

        assert upstream.connections == 1


async def test_there_is_no_queue_for_a_connection(pool: UpstreamPool) -> None:
    """The hundred-and-first agent would wait for another's answer, and nobody would know why."""
    gate = asyncio.Event()
    async with ScriptedUpstream([gate, answer()]) as upstream:
        sending = [asyncio.ensure_future(body_of(pool, get(upstream.url))) for _ in range(150)]
        await upstream.wait_for_requests(150)
        gate.set()

        assert len(await asyncio.gather(*sending)) == 150


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
@pytest.mark.parametrize("how", [End.CLOSE, End.RESET])
async def test_nothing_is_sent_twice_by_itself(pool: UpstreamPool, method: str, how: End) -> None:
    """A kept connection that ends at the next request: it may have been served, and billed."""
    async with ScriptedUpstream([answer()], [how]) as upstream:
        await body_of(pool, get(upstream.url))
        with pytest.raises(UpstreamUnavailable) as fault:
            await pool.send(Outgoing(method, upstream.url, (), b""), PATIENT)

        assert (fault.value.kind, fault.value.sent) == ("reset", True)
        assert len(upstream.received) == 2


async def test_a_kept_connection_that_the_provider_closed_is_not_used(pool: UpstreamPool) -> None:
    """Most end this way: after five idle seconds, with nothing under way."""
    async with ScriptedUpstream([answer(), End.CLOSE], [answer()]) as upstream:
        for _ in range(3):
            await body_of(pool, get(upstream.url))
            for _ in range(3):
                await turn()

        assert upstream.connections == 2


async def test_an_answer_that_nobody_asked_for_is_given_to_nobody(pool: UpstreamPool) -> None:
    """Load balancers send a 408 before they close an idle connection. The next
    request would be given it, and the one after that one's: another tenant's, perhaps."""
    gate, done = asyncio.Event(), asyncio.Event()
    unasked = answer(b"late", "408 Request Timeout")
    async with ScriptedUpstream([answer(b"1"), gate, unasked, done], [answer(b"2")]) as upstream:
        first = await body_of(pool, get(upstream.url))
        gate.set()
        for _ in range(5):
            await turn()
        incoming = await pool.send(get(upstream.url), PATIENT)

        assert first == b"1"
        assert (incoming.status, await incoming.read(10)) == (200, b"2")


async def test_a_refused_connection_was_not_sent(pool: UpstreamPool) -> None:
    """So that it costs nothing and may go elsewhere."""
    async with ScriptedUpstream() as upstream:
        url = upstream.url
    with pytest.raises(UpstreamUnavailable) as fault:
        await pool.send(post(url), PATIENT)

    assert (fault.value.kind, fault.value.sent) == ("connect", False)


@pytest.mark.parametrize("url", ["nowhere", "ftp://h/", "http://", "http://h:port/", "http:///x"])
async def test_a_url_that_leads_nowhere_was_not_sent(pool: UpstreamPool, url: str) -> None:
    """The policy's check finds most; the rest is a fault of the provider's entry."""
    with pytest.raises(UpstreamUnavailable) as fault:
        await pool.send(get(url), PATIENT)

    assert (fault.value.kind, fault.value.sent) == ("connect", False)


async def test_a_handshake_that_never_ends_is_a_connect_timeout(open_pool: Open) -> None:
    """Names, addresses, TLS and proxy have one time-out in all."""
    async with ScriptedUpstream() as upstream:
        with pytest.raises(UpstreamUnavailable) as fault:
            await open_pool().send(
                get(upstream.url.replace("http:", "https:")), Timeouts(connect=0.05)
            )

        assert (fault.value.kind, fault.value.sent) == ("timeout", False)
        await upstream.wait_for_disconnects()


SLOW: dict[str, tuple[Script, Timeouts]] = {
    "head": ([End.HOLD], Timeouts(head=0.05)),
    "half a head": ([b"HTTP/1.1 200 OK\r\n", End.HOLD], Timeouts(head=0.05)),
    "idle": ([chunked_head(), chunk(b"a"), End.HOLD], Timeouts(idle=0.05)),
    "idle before the first": ([chunked_head(), End.HOLD], Timeouts(idle=0.05)),
    "total in the head": ([End.HOLD], Timeouts(total=0.05)),
    "total in the body": ([chunked_head(), chunk(b"a"), End.HOLD], Timeouts(total=0.05)),
}


@pytest.mark.parametrize(("script", "timeouts"), SLOW.values(), ids=SLOW.keys())
async def test_each_wait_has_its_timeout_and_ends_the_call_at_the_provider(
    pool: UpstreamPool, script: Script, timeouts: Timeouts
) -> None:
    """The request was sent, so it may be billed."""
    async with ScriptedUpstream(script) as upstream:
        with pytest.raises(UpstreamUnavailable) as fault:
            await body_of(pool, post(upstream.url), timeouts)

        assert (fault.value.kind, fault.value.sent) == ("timeout", True)
        await upstream.wait_for_disconnects()


async def test_the_total_ends_a_call_that_nobody_reads(pool: UpstreamPool) -> None:
    """A caller that waits for its client holds no provider for ever."""
    async with ScriptedUpstream([chunked_head(), End.HOLD]) as upstream:
        incoming = await pool.send(get(upstream.url), Timeouts(total=0.05))
        await upstream.wait_for_disconnects()
        with pytest.raises(UpstreamUnavailable) as fault:
            await incoming.read(10)

        assert fault.value.kind == "timeout"


async def test_a_whole_answer_can_be_read_after_its_time(pool: UpstreamPool) -> None:
    """It came in time."""
    async with ScriptedUpstream([answer(b"whole")]) as upstream:
        incoming = await pool.send(get(upstream.url), Timeouts(total=0.05, idle=0.05))
        begin = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() < begin + 0.1:
            await turn()

        assert await incoming.read(10) == b"whole"
        await body_of(pool, get(upstream.url))
        assert upstream.connections == 1


async def test_the_time_for_the_head_begins_when_the_body_has_been_sent(
    pool: UpstreamPool,
) -> None:
    """An upload may take longer than an answer."""
    gate = asyncio.Event()
    async with ScriptedUpstream() as upstream:
        asyncio.get_running_loop().call_later(0.15, gate.set)
        incoming = await pool.send(post(upstream.url, parts(b"a", gate, b"b")), Timeouts(head=0.05))

        assert incoming.status == 200
        assert upstream.received[0].body == b"ab"
        incoming.close()


async def test_an_answer_before_the_end_of_the_upload_is_given_at_once(
    pool: UpstreamPool,
) -> None:
    """A provider that refuses need not take it all; the rest is then not sent."""
    never = asyncio.Event()

    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(b"no", "413 Too Large"))
        gone.set_result(await reader.read())
        writer.close()

    gone: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    server = await asyncio.start_server(early, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    incoming = await pool.send(post(url, parts(b"begin", never)), PATIENT)

    assert (incoming.status, await incoming.read(10)) == (413, b"no")
    assert b"begin" in await gone
    server.close()


async def test_a_body_that_breaks_off_breaks_the_call_for_its_own_reason(
    pool: UpstreamPool,
) -> None:
    """The client stalled; that is no fault of the provider."""
    async with ScriptedUpstream() as upstream:
        stalled = MalformedRequest("stalled", status=408)
        with pytest.raises(MalformedRequest) as fault:
            await pool.send(post(upstream.url, parts(b"a", stalled)), PATIENT)

        assert fault.value is stalled
        await upstream.wait_for_disconnects()


LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n"
BROKEN: dict[str, tuple[Script, bytes, str | None]] = {
    "length, closed": ([LENGTH + b"abc", End.CLOSE], b"abc", "truncated"),
    "length, reset": ([LENGTH + b"abc", End.RESET], b"abc", "reset"),
    "chunked, closed": ([chunked_head() + chunk(b"abc"), End.CLOSE], b"abc", "truncated"),
    "chunked, reset": ([chunked_head() + chunk(b"abc"), End.RESET], b"abc", "reset"),
    "until close, closed": ([UNTIL_CLOSE + b"abc", End.CLOSE], b"abc", None),
    "until close, reset": ([UNTIL_CLOSE + b"abc", End.RESET], b"abc", "reset"),
    "no head, closed": ([End.CLOSE], b"", "reset"),
    "no head, reset": ([End.RESET], b"", "reset"),
    "half a head": ([LENGTH[:20], End.CLOSE], b"", "reset"),
    "bad chunk": ([chunked_head(), b"ZZ\r\n"], b"", "malformed"),
    "no HTTP": ([b"220 smtp.example\r\n\r\n"], b"", "malformed"),
    "a status of letters": ([b"HTTP/1.1 OK\r\n\r\n"], b"", "malformed"),
    "two lengths": ([LENGTH[:-2] + b"Content-Length: 7\r\n\r\nabcdefg"], b"", "malformed"),
    "length and chunked": (
        [chunked_head("Content-Length: 6") + chunk(b"abcdef")],
        b"",
        "malformed",
    ),
    "a bare CR": ([UNTIL_CLOSE[:-2] + b"A: b\rc\r\n\r\n", End.CLOSE], b"", "malformed"),
    "a NUL": ([UNTIL_CLOSE[:-2] + b"A: b\0c\r\n\r\n", End.CLOSE], b"", "malformed"),
    "a long header": ([UNTIL_CLOSE[:-2] + b"A: " + b"x" * 70_000], b"", "malformed"),
    "many headers": ([UNTIL_CLOSE[:-2] + b"A: b\r\n" * 300 + b"\r\n"], b"", "malformed"),
    "another protocol": ([b"HTTP/1.1 101 Switch\r\nUpgrade: x\r\n\r\n"], b"", "malformed"),
}


@pytest.mark.parametrize(("script", "came", "kind"), BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_answer_gives_what_came_and_says_how_it_broke(
    pool: UpstreamPool, script: Script, came: bytes, kind: str | None
) -> None:
    """Never a clean end, never a wait, and what was received is not lost: it was billed."""
    async with ScriptedUpstream(script) as upstream:
        data, fault = await collect(pool, upstream.url)

        assert (data, fault and fault.kind) == (came, kind)
        assert fault is None or fault.sent


async def test_a_bad_chunk_in_a_later_segment_is_noticed(pool: UpstreamPool) -> None:
    """A reader that waits for the rest must not wait for ever."""
    gate = asyncio.Event()
    script: Script = [chunked_head() + chunk(b"abc"), gate, b"ZZ\r\n", End.HOLD]
    async with ScriptedUpstream(script) as upstream:
        incoming = await pool.send(get(upstream.url), PATIENT)
        chunks = incoming.chunks()
        first = await anext(chunks)
        gate.set()
        with pytest.raises(UpstreamUnavailable) as fault:
            await anext(chunks)

        assert (first, fault.value.kind) == (b"abc", "malformed")
        await upstream.wait_for_disconnects()


@pytest.mark.parametrize("how", [End.CLOSE, End.RESET])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_an_answer_cut_at_any_byte_is_never_whole(
    pool: UpstreamPool, chunked: bool, how: End
) -> None:
    """And what came before the cut is a prefix of it."""
    body = b"data: 1\n\n"
    whole = chunked_head() + chunk(body) + chunk(b"") if chunked else answer(body)
    head = whole.index(b"\r\n\r\n") + 4
    for cut in range(1, len(whole)):
        async with ScriptedUpstream([whole[:cut], how]) as upstream:
            data, fault = await collect(pool, upstream.url)

        assert fault is not None
        assert fault.kind == ("truncated" if how is End.CLOSE and cut >= head else "reset")
        assert body.startswith(data)


async def seconds_to_leave(upstream: ScriptedUpstream) -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await upstream.wait_for_disconnects()
    return loop.time() - began


@pytest.mark.parametrize("chunks", [(), (chunk(b"a"),)], ids=["no byte", "some"])
async def test_closing_an_unread_answer_ends_the_call_at_once(
    pool: UpstreamPool, chunks: tuple[bytes, ...]
) -> None:
    """The provider goes on generating, and billing, until it notices."""
    async with ScriptedUpstream([chunked_head(), *chunks, End.HOLD]) as upstream:
        incoming = await pool.send(get(upstream.url), PATIENT)
        incoming.close()

        assert await seconds_to_leave(upstream) < at_once_seconds()
        assert [part async for part in incoming.chunks()] == []


@pytest.mark.parametrize("in_body", [False, True], ids=["waiting for the head", "in the body"])
async def test_cancelling_ends_the_call_at_once(pool: UpstreamPool, in_body: bool) -> None:
    """Wherever it waits; no connection is left behind."""
    script: Script = [chunked_head(), End.HOLD] if in_body else [End.HOLD]
    async with ScriptedUpstream(script) as upstream:
        calling = asyncio.ensure_future(body_of(pool, post(upstream.url)))
        await upstream.wait_for_requests()
        for _ in range(5):
            await turn()
        calling.cancel()

        assert await seconds_to_leave(upstream) < at_once_seconds()
        with pytest.raises(asyncio.CancelledError):
            await calling


async def test_cancelling_an_upload_stops_it(pool: UpstreamPool) -> None:
    """Its body is not read any further."""
    ended = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            yield b"begin"
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with ScriptedUpstream() as upstream:
        calling = asyncio.ensure_future(body_of(pool, post(upstream.url, endless())))
        await upstream.wait_for_bytes(b"begin")
        calling.cancel()

        assert await seconds_to_leave(upstream) < at_once_seconds()
        await ended.wait()


class Deaf:
    """A provider that reads nothing until it is told, and then as much as there is."""

    def __init__(self) -> None:
        self.listen = asyncio.Event()
        self.heard: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport of a socket
        await self.listen.wait()
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        size = 0
        try:
            while data := await reader.read(1_000_000):
                size += len(data)
        except ConnectionError:
            pass
        self.heard.set_result(size)
        writer.transport.abort()


@pytest.fixture
async def deaf() -> AsyncIterator[tuple[Deaf, str]]:
    provider = Deaf()
    server = await asyncio.start_server(provider, "127.0.0.1", 0)
    yield provider, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


async def test_a_cancelled_upload_does_not_wait_for_the_provider_to_take_it(
    pool: UpstreamPool, deaf: tuple[Deaf, str]
) -> None:
    """What is still unsent is thrown away: it would keep the connection for ever."""
    provider, url = deaf
    body = b"x" * 40_000_000
    calling = asyncio.ensure_future(body_of(pool, post(url, body)))
    for _ in range(20):
        await turn()
    calling.cancel()
    await asyncio.wait([calling])
    provider.listen.set()

    assert await provider.heard < len(body)


async def test_a_provider_that_does_not_take_the_request_is_a_timeout(
    pool: UpstreamPool, deaf: tuple[Deaf, str]
) -> None:
    """There is no progress that would buy it more time."""
    provider, url = deaf
    with pytest.raises(UpstreamUnavailable) as fault:
        await pool.send(post(url, b"x" * 40_000_000), Timeouts(head=0.05))
    provider.listen.set()
    await provider.heard

    assert (fault.value.kind, fault.value.sent) == ("timeout", True)


async def test_a_provider_that_hangs_up_on_an_upload_is_a_reset(pool: UpstreamPool) -> None:
    """The part of the upload that then fails is not reported a second time."""

    loop = asyncio.get_running_loop()
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"

    async def body() -> AsyncIterator[bytes]:
        accepted, _ = await loop.sock_accept(listening)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        accepted.close()
        while True:
            yield b"x"

    with pytest.raises(UpstreamUnavailable) as fault:
        await pool.send(post(url, body()), PATIENT)
    listening.close()

    assert fault.value.kind == "reset"


async def test_closing_the_pool_ends_calls_and_tells_their_readers(pool: UpstreamPool) -> None:
    """At the end of the process nobody waits on."""
    async with ScriptedUpstream([End.HOLD], [chunked_head(), End.HOLD]) as upstream:
        waiting = asyncio.ensure_future(collect(pool, upstream.url))
        await upstream.wait_for_requests(1)
        reading = asyncio.ensure_future(collect(pool, upstream.url))
        await upstream.wait_for_requests(2)
        for _ in range(5):
            await turn()
        await pool.close()

        faults = [(await reading)[1], (await waiting)[1]]
        assert [fault and fault.kind for fault in faults] == ["reset", "reset"]
        await upstream.wait_for_disconnects(2)


async def test_netrc_is_never_read(
    pool: UpstreamPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its credential would replace the caller's own."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    async with ScriptedUpstream() as upstream:
        await body_of(pool, get(upstream.url))

        assert upstream.received[0].header("authorization") is None


async def test_plain_http_goes_through_the_proxy_with_its_credential(open_pool: Open) -> None:
    """In absolute form, the host's own; the credential is for the proxy alone."""
    async with ScriptedUpstream() as proxy:
        environ = {"http_proxy": proxy.url.replace("//", "//u:p@"), "no_proxy": "direct.example"}
        pool = open_pool(environ)
        for _ in range(2):
            await body_of(pool, get("http://model.example:81/v1?x=%20", (("A", "b"),)))

        assert proxy.received[0].lines == [
            b"GET http://model.example:81/v1?x=%20 HTTP/1.1",
            b"Host: model.example:81",
            b"Proxy-Authorization: Basic dTpw",
            b"A: b",
        ]
        assert proxy.connections == 1


async def test_loopback_goes_past_the_proxy(open_pool: Open) -> None:
    """A local model is not beyond it."""
    async with ScriptedUpstream() as proxy, ScriptedUpstream() as upstream:
        await body_of(open_pool({"HTTP_PROXY": proxy.url}), get(upstream.url))

        assert (proxy.connections, upstream.connections) == (0, 1)


async def test_a_proxy_that_refuses_a_tunnel_has_sent_nothing(open_pool: Open) -> None:
    """The request, with its key, has not left."""
    async with ScriptedUpstream([answer(b"", "407 Who are you")]) as proxy:
        pool = open_pool({"https_proxy": proxy.url})
        with pytest.raises(UpstreamUnavailable) as fault:
            await pool.send(post("https://model.example/v1"), PATIENT)

        assert (fault.value.kind, fault.value.sent) == ("connect", False)
        assert "407" in fault.value.message
        assert proxy.received[0].lines[0] == b"CONNECT model.example:443 HTTP/1.1"


@pytest.fixture
async def tls() -> AsyncIterator[tuple[TlsUpstream, int]]:
    upstream = TlsUpstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0, ssl=upstream.context)
    yield upstream, server.sockets[0].getsockname()[1]
    server.close()


async def test_a_trusted_certificate_for_the_host_is_accepted(
    open_pool: Open, tls: tuple[TlsUpstream, int]
) -> None:
    """And the connection kept."""
    pool = open_pool(tls=trusting())

    for _ in range(2):
        assert await body_of(pool, get(f"https://localhost:{tls[1]}/")) == b"secret"


@pytest.mark.process
async def test_the_certificates_of_the_environment_are_trusted(
    tls: tuple[TlsUpstream, int],
) -> None:
    """Companies' proxies have their own authority."""
    code = (
        "import asyncio, sys\n"
        "from proxy.wire import Outgoing, Timeouts\n"
        "from proxy.wire.client import UpstreamPool\n"
        "async def main():\n"
        "    pool = UpstreamPool({})\n"
        "    call = await pool.send(Outgoing('GET', sys.argv[1], (), b''), Timeouts())\n"
        "    sys.stdout.write((await call.read(100)).decode())\n"
        "    await pool.close()\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, f"https://localhost:{tls[1]}/"),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"SSL_CERT_FILE": str(CERTIFICATE)},
    )

    assert (await process.communicate())[0] == b"secret"


@pytest.mark.parametrize("trust", [True, False], ids=["another name", "an unknown authority"])
async def test_a_certificate_that_does_not_verify_gets_nothing(
    open_pool: Open,
    tls: tuple[TlsUpstream, int],
    trust: bool,
) -> None:
    """There is no switch to turn this off."""
    pool = open_pool(tls=trusting() if trust else None)
    host = "127.0.0.2" if trust else "localhost"
    server = await asyncio.start_server(tls[0].serve, "127.0.0.2", 0, ssl=tls[0].context)
    port = server.sockets[0].getsockname()[1] if trust else tls[1]
    with pytest.raises(UpstreamUnavailable) as fault:
        await pool.send(post(f"https://{host}:{port}/", headers=(("A", "key"),)), PATIENT)
    server.close()

    assert (fault.value.kind, fault.value.sent) == ("tls", False)
    assert tls[0].heads == []


async def test_tls_goes_through_a_tunnel_that_sees_nothing_of_it(open_pool: Open) -> None:
    """The proxy learns the host and its own credential."""
    upstream = TlsUpstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    context = trusting()
    context.check_hostname = False  # the tunnel ends at the tests' certificate
    pool = open_pool({"https_proxy": f"http://u:p@127.0.0.1:{port}"}, context)
    for _ in range(2):
        assert await body_of(pool, get("https://model.example/v1", (("A", "b"),))) == b"secret"
    server.close()

    connect, *requests = upstream.heads
    assert connect.startswith(b"CONNECT model.example:443 HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic dTpw\r\n" in connect
    assert requests == [b"GET /v1 HTTP/1.1\r\nHost: model.example\r\nA: b\r\n\r\n"] * 2
