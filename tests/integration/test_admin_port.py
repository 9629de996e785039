"""The admin port as a client of HTTP meets it: who may ask, what is asked, and how it is told."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.fakes_wire import RawClient, turn
from tests.integration.kit import TOKEN, sidecar


async def asked(
    port: int,
    line: str,
    *lines: str,
    host: str = "localhost",
    bearer: str = TOKEN,
    body: bytes = b"",
) -> tuple[int, bytes, bytes]:
    """Status, head and body of the answer."""
    given = [f"{line} HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {bearer}", *lines]
    if body:
        given.append(f"Content-Length: {len(body)}")
    async with await RawClient.connect(port) as client:
        await client.send("\r\n".join((*given, "", "")).encode() + body)
        answer = await client.read_answer(head_only=line.startswith("HEAD "))
    return answer.status, answer.head.lower(), answer.body


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET /healthz", 200),
        ("GET /healthz?x=y", 200),
        ("HEAD /healthz", 200),
        ("GET http://localhost/healthz", 200),
        ("POST /healthz", 405),
        ("GET /healthz/", 404),
        ("GET //healthz", 404),
        ("GET /", 404),
        ("GET /api/v1/sessions/s1", 200),
        ("GET /api/v1/sessions/%731", 200),
        ("GET /api/v1/sessions/s1%2Fevents", 404),
        ("GET /api/v1/sessions/", 404),
        ("GET /api/v1/sessions//events", 404),
        ("GET /api/v1/sessions/{session}", 404),
        ("GET /api/v1/sessions/unknown", 404),
        ("DELETE /api/v1/sessions/s1", 405),
        ("GET /api/v1/sessions/s1/kill", 405),
        ("GET /api/v1/sessions/s1/events?after=0", 200),
        ("GET /api/v1/sessions/s1/events?after=-1", 400),
        ("GET /api/v1/sessions?state=active&state=nonsense", 200),
        ("GET /api/v1/sessions?state=", 400),
        ("GET /api/v1/sessions?state=%61ctive", 200),
        ("GET /api/v1/sessions/s1/no/such", 404),
    ],
)
async def test_each_path_has_its_answer(tmp_path: Path, line: str, status: int) -> None:
    """And every error the shape that errors have here."""
    async with sidecar(tmp_path) as on:
        await on.call(session="s1")
        said, head, body = await asked(on.app.admin_port, line)

        assert said == status, body
        if status >= 400:
            assert json.loads(body)["error"]["type"] == "admin_error"
            assert b"content-type: application/json" in head
        if status == 405:
            assert b"\r\nallow: " in head


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/api/v1/policy", "/nothing"])
async def test_only_the_bearer_of_the_token_gets_in(tmp_path: Path, path: str) -> None:
    """What a probe or a scraper asks for is open, under a name that cannot be rebound; of the rest
    not even what there is."""
    async with sidecar(tmp_path) as on:
        port = on.app.admin_port
        is_open = path in ("/healthz", "/readyz", "/metrics")

        assert (await asked(port, f"GET {path}", bearer="x"))[0] == (200 if is_open else 401)
        assert (await asked(port, f"GET {path}", bearer="é"))[0] == (200 if is_open else 401)
        assert (await asked(port, f"GET {path}", host="evil.example"))[0] == 421
        assert (await asked(port, f"GET {path}", host="127.0.0.1:9"))[0] != 421
        assert (await asked(port, f"GET {path}", host="[::1]:9"))[0] != 421
        unauthorized = await asked(port, "GET /api/v1/policy", bearer="")
        assert b"\r\nwww-authenticate: bearer" in unauthorized[1]


async def test_what_is_not_http_is_told_so_in_the_same_shape(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as on:
        status, head, body = await asked(on.app.admin_port, "GET /healthz", "A : b")

        assert status == 400
        assert json.loads(body)["error"]["code"] == "invalid_request"
        assert b"connection: close" in head


@pytest.mark.parametrize(
    ("body", "status"),
    [(b'{"steps": 1}', 200), (b"{", 400), (b"[]", 400), (b" " * 70_000 + b"{}", 413)],
)
async def test_a_body_is_bounded_and_has_to_be_an_object(
    tmp_path: Path, body: bytes, status: int
) -> None:
    async with sidecar(tmp_path) as on:
        await on.call(session="s1")
        line = "POST /api/v1/sessions/s1/extend"

        assert (await asked(on.app.admin_port, line, body=body))[0] == status


async def test_a_stream_of_events_ends_with_its_client_or_the_port(tmp_path: Path) -> None:
    """A watcher that nobody reads would hold every event."""
    async with sidecar(tmp_path) as on:
        head = f"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}"
        clients = [await RawClient.connect(on.app.admin_port) for _ in range(2)]
        for client in clients:
            await client.send(f"{head}\r\n\r\n".encode())
            assert b"text/event-stream" in await client.read_until(b"\r\n\r\n")
        await on.call(session="s1")
        for client in clients:
            assert b'"session":"s1"' in (await client.read_until(b"\n\n")).replace(b" ", b"")
        server = on.app._admin._server
        assert server.handlers == 2

        clients[0].writer.transport.abort()
        async with asyncio.timeout(5):
            while server.handlers > 1:
                await turn()
        await server.close()
        assert server.handlers == 0
        await clients[1].read_to_end()
        clients[1].writer.transport.abort()
