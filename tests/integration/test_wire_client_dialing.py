"""How the client's end comes to a connection: addresses, TLS, outgoing proxies, and giving up."""

import asyncio
import socket
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest

from proxy.errors import UpstreamUnavailable
from proxy.wire import Outgoing, Timeouts
from proxy.wire.client import UpstreamPool
from tests.fakes_tls import CERTIFICATE, TlsUpstream, trusting
from tests.fakes_wire import End, ScriptedUpstream, answer, end, turn

PATIENT = Timeouts(connect=5, head=5, idle=5, total=10)
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Open = Callable[..., UpstreamPool]
Listen = Callable[..., Awaitable[int]]


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
async def listen() -> AsyncIterator[Listen]:
    """Starts servers on free ports."""
    servers: list[asyncio.Server] = []

    async def listening(
        serve: Serve, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
    ) -> int:
        servers.append(await asyncio.start_server(serve, host, 0, ssl=tls))
        port: int = servers[-1].sockets[0].getsockname()[1]
        return port

    yield listening
    for server in servers:
        server.close()


async def fetch(pool: UpstreamPool, url: str, timeouts: Timeouts = PATIENT) -> bytes:
    incoming = await pool.send(Outgoing("GET", url, (("A", "b"),), b""), timeouts)
    return await incoming.read(1_000)


async def fault_of(
    pool: UpstreamPool, url: str, timeouts: Timeouts = PATIENT
) -> UpstreamUnavailable:
    """Nothing may have been sent."""
    with pytest.raises(UpstreamUnavailable) as fault:
        await fetch(pool, url, timeouts)
    assert not fault.value.sent
    return fault.value


async def test_a_name_leads_to_whichever_of_its_addresses_answers(open_pool: Open) -> None:
    """`localhost` is ::1 first on many machines, and most servers listen on 127.0.0.1."""
    async with ScriptedUpstream([answer(b"ok")]) as upstream:
        assert await fetch(open_pool(), f"http://localhost:{upstream.port}/") == b"ok"


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
async def test_an_ipv6_address_is_an_address(open_pool: Open, listen: Listen) -> None:
    """In brackets, as in every URL."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer(b"ok"))
        writer.close()

    port = await listen(serve, host="::1")

    assert await fetch(open_pool(), f"http://[::1]:{port}/") == b"ok"
    assert b"Host: [::1]:%d\r\n" % port in heads[0]


@pytest.mark.parametrize("error", [socket.gaierror(-2, "unknown"), UnicodeError("too long")])
async def test_a_name_that_is_not_found_is_a_fault_of_its_own(
    open_pool: Open, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The operator looks elsewhere for it than for a refused connection. It is asked again next
    time, and once for those who ask together."""
    asked: list[str] = []

    async def getaddrinfo(host: str, *rest: object, **more: object) -> None:
        asked.append(host)
        await turn()
        raise error

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    pool = open_pool()
    faults = await asyncio.gather(*(fault_of(pool, "http://model.example/") for _ in range(20)))
    assert asked == ["model.example"]
    faults.append(await fault_of(pool, "http://model.example/"))

    assert {fault.kind for fault in faults} == {"dns"}
    assert len(asked) == 2


async def test_a_name_is_looked_up_once_for_a_burst_of_calls(
    open_pool: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few threads do all look-ups: a hundred would queue past their time to connect."""
    loop = asyncio.get_running_loop()
    asked: list[str] = []

    async def getaddrinfo(host: str, *rest: object, **more: object) -> list[object]:
        asked.append(host)
        await turn()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    async with ScriptedUpstream([answer(b"ok")]) as upstream:
        pool = open_pool()
        url = f"http://model.example:{upstream.port}/"

        assert await asyncio.gather(*(fetch(pool, url) for _ in range(30))) == [b"ok"] * 30
    assert asked == ["model.example"]


async def test_a_look_up_that_never_ends_is_a_connect_timeout(
    open_pool: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And closing the pool ends it."""
    ended = asyncio.Event()

    async def getaddrinfo(*rest: object, **more: object) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    pool = open_pool()

    assert (await fault_of(pool, "http://h/", Timeouts(connect=0.05))).kind == "timeout"
    await pool.close()
    assert ended.is_set()


async def test_a_tls_provider_is_told_its_name_and_the_one_protocol_we_speak(
    open_pool: Open, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With neither, a shared front end answers for another host, or in HTTP/2."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    upstream = TlsUpstream()
    port = await listen(upstream.serve, upstream.context)

    assert await fetch(open_pool(), f"https://localhost:{port}/") == b"secret"
    assert (upstream.names, upstream.protocols) == (["localhost"], ["http/1.1"])


async def test_a_large_body_goes_through_tls_whole(open_pool: Open, listen: Listen) -> None:
    """Head and body are handed over as two buffers."""
    body = bytes(range(256)) * 1_000
    came: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        came.append(await reader.readexactly(len(body)))
        writer.write(answer(b"ok", "200 OK", "Connection: close"))
        writer.close()

    port = await listen(serve, TlsUpstream().context)
    pool = open_pool(tls=trusting())
    request = Outgoing("POST", f"https://localhost:{port}/", (), body)
    incoming = await pool.send(request, PATIENT)

    assert await incoming.read(10) == b"ok"
    assert came == [body]


async def test_plain_http_where_tls_was_asked_for_is_a_tls_fault(open_pool: Open) -> None:
    """A base URL with https:// for a server without it."""

    async with ScriptedUpstream() as upstream:
        url = upstream.url.replace("http:", "https:")
        fault = await fault_of(open_pool(), url, Timeouts(connect=0.2))

        assert fault.kind == "timeout"  # ours waits for the rest of a head that is a handshake


async def test_an_answer_to_a_handshake_that_is_not_tls_is_a_tls_fault(
    open_pool: Open, listen: Listen
) -> None:
    """Most servers answer a handshake with a 400."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(answer(b"", "400 Bad Request"))
        writer.close()

    port = await listen(serve)

    assert (await fault_of(open_pool(), f"https://localhost:{port}/")).kind == "tls"


async def test_a_provider_that_hangs_up_on_a_handshake_is_a_fault_of_connecting(
    open_pool: Open, listen: Listen
) -> None:
    """In whichever way."""
    for how in (End.CLOSE, End.RESET):

        async def serve(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, how: End = how
        ) -> None:
            await reader.read(10)
            end(writer, how)

        port = await listen(serve)

        assert (await fault_of(open_pool(), f"https://localhost:{port}/")).kind in (
            "connect",
            "tls",
        )


@pytest.mark.parametrize("how", ["close_notify", "FIN", "RST"])
async def test_a_tls_body_until_close_ends_only_where_the_provider_says_so(
    open_pool: Open, how: str
) -> None:
    """Anybody on the way can send a FIN: without TLS's own end the answer may be cut."""
    loop = asyncio.get_running_loop()
    port: asyncio.Future[int] = loop.create_future()
    read = threading.Event()

    def listening(number: int) -> None:
        loop.call_soon_threadsafe(port.set_result, number)

    serving = loop.run_in_executor(None, serve_tls, how, listening, read)
    pool = open_pool(tls=trusting())
    url = f"https://localhost:{await port}/"
    incoming = await pool.send(Outgoing("GET", url, (), b""), PATIENT)
    read.set()
    if how == "close_notify":
        assert await incoming.read(100) == b"secret"
    else:
        with pytest.raises(UpstreamUnavailable) as fault:
            await incoming.read(100)
        assert fault.value.kind in ("truncated", "reset")
    await serving


def serve_tls(how: str, listening: Callable[[int], None], read: threading.Event) -> None:
    """A provider in a thread, with blocking sockets: what it sends last is exact."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    with socket.create_server(("127.0.0.1", 0)) as server:
        listening(server.getsockname()[1])
        plain, _ = server.accept()
    with context.wrap_socket(plain, server_side=True) as secure:
        secure.recv(65_536)
        secure.sendall(b"HTTP/1.1 200 OK\r\n\r\nsecret")
        read.wait(5)
        if how == "close_notify":
            with suppress(OSError):  # the client hangs up on it
                secure.unwrap()
        elif how == "RST":
            secure.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("way", ["http", "https"], ids=["plain proxy", "TLS proxy"])
@pytest.mark.parametrize("goal", ["http", "https"], ids=["plain provider", "TLS provider"])
async def test_every_kind_of_provider_is_reached_by_every_kind_of_proxy(
    open_pool: Open, listen: Listen, way: str, goal: str
) -> None:
    """TLS within TLS where both speak it."""
    upstream = TlsUpstream()
    port = await listen(upstream.serve, upstream.context if way == "https" else None)
    context = trusting()
    context.check_hostname = False  # the tunnel ends at the tests' certificate
    pool = open_pool({f"{goal}_proxy": f"{way}://u:p@localhost:{port}"}, context)
    for _ in range(2):
        assert await fetch(pool, f"{goal}://model.example/v1") == b"secret"

    secret = b"Proxy-Authorization: Basic dTpw\r\n"
    if goal == "http":
        first = b"GET http://model.example/v1 HTTP/1.1\r\nHost: model.example\r\n"
        assert upstream.heads == [first + secret + b"A: b\r\n\r\n"] * 2
    else:
        connect = b"CONNECT model.example:443 HTTP/1.1\r\nHost: model.example:443\r\n"
        inner = b"GET /v1 HTTP/1.1\r\nHost: model.example\r\nA: b\r\n\r\n"
        assert upstream.heads == [connect + secret + b"\r\n", inner, inner]


YESES = {
    "of HTTP/1.0": b"HTTP/1.0 200 Connection established\r\n\r\n",
    "with headers of a body": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "after an interim answer": b"HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    "by another number": b"HTTP/1.1 204 Fine\r\n\r\n",
}


@pytest.mark.parametrize("yes", YESES.values(), ids=YESES.keys())
async def test_a_proxy_says_yes_in_many_ways(open_pool: Open, listen: Listen, yes: bytes) -> None:
    """What follows is the provider's (RFC 9110, 9.3.6)."""
    upstream = TlsUpstream(yes=yes)
    port = await listen(upstream.serve)
    context = trusting()
    context.check_hostname = False
    pool = open_pool({"https_proxy": f"http://127.0.0.1:{port}"}, context)

    assert await fetch(pool, "https://model.example/v1") == b"secret"


NOES = {
    "refuses": b"HTTP/1.1 407 Who are you\r\nContent-Length: 3\r\n\r\nno!",
    "redirects": b"HTTP/1.1 302 Found\r\nLocation: http://evil/\r\n\r\n",
    "switches": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "speaks something else": b"SSH-2.0-OpenSSH\r\n",
    "says more than yes": b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    "hangs up": b"",
    "hangs up in its answer": b"HTTP/1.1 200 OK\r\n",
    "sends headers without end": b"HTTP/1.1 200 OK\r\nA: " + b"x" * 100_000,
}


@pytest.mark.parametrize("no", NOES.values(), ids=NOES.keys())
async def test_a_proxy_that_gives_no_tunnel_gets_nothing(
    open_pool: Open, listen: Listen, no: bytes
) -> None:
    """Neither the request nor its key has left, and its connection is not kept."""
    came: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(no)
        if no in (NOES["hangs up"], NOES["hangs up in its answer"]):
            writer.close()
        try:
            came.put_nowait(await reader.read())
        except ConnectionError:
            came.put_nowait(b"")
        writer.transport.abort()

    port = await listen(serve)
    pool = open_pool({"https_proxy": f"http://127.0.0.1:{port}"})
    fault = await fault_of(pool, "https://model.example/v1")

    assert fault.kind == "connect"
    assert "proxy" in fault.message
    assert await came.get() == b""


async def test_a_proxy_that_says_nothing_is_a_connect_timeout(open_pool: Open) -> None:
    """Its time is part of the one to connect."""
    async with ScriptedUpstream([End.HOLD]) as proxy:
        pool = open_pool({"https_proxy": proxy.url})
        fault = await fault_of(pool, "https://model.example/", Timeouts(connect=0.05))

        assert fault.kind == "timeout"
        await proxy.wait_for_disconnects()


@pytest.mark.parametrize("goal", ["http", "https"])
async def test_connecting_can_be_cancelled_at_any_turn_of_the_loop(
    open_pool: Open, listen: Listen, goal: str
) -> None:
    """Through a proxy and TLS, each step of it: no task is left and no connection open."""
    open_now = 0
    upstream = TlsUpstream(raw=b"")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now
        open_now += 1
        try:
            await upstream.serve(reader, writer)
        finally:
            open_now -= 1

    port = await listen(serve)
    context = trusting()
    context.check_hostname = False
    pool = open_pool({f"{goal}_proxy": f"http://localhost:{port}"}, context)
    before = asyncio.all_tasks()
    for turns in range(60):
        calling = asyncio.ensure_future(fetch(pool, f"{goal}://model.example/v1"))
        for _ in range(turns):
            await turn()
        calling.cancel()
        await asyncio.wait([calling])
        while open_now:
            await turn()

        assert calling.cancelled()
        left = asyncio.all_tasks() - before - {calling}
        assert {task for task in left if "/proxy/wire/" in repr(task)} <= lookups(left)


def lookups(tasks: set[asyncio.Task[object]]) -> set[asyncio.Task[object]]:
    """Those go on: others may wait for the same name."""
    return {task for task in tasks if "_found" in repr(task)}


async def test_a_pool_that_is_closed_while_it_connects_sends_nothing(open_pool: Open) -> None:
    """A process that ends does not begin to spend."""
    async with ScriptedUpstream() as upstream:
        pool = open_pool()
        calling = asyncio.ensure_future(fault_of(pool, upstream.url))
        await turn()
        await pool.close()

        assert (await calling).kind == "reset"
        assert upstream.received == []
