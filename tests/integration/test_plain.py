"""What is only passed on, what is refused instead, and how paths and heads reach the provider."""

import asyncio
import gzip
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes_wire import (
    Answer,
    End,
    RawClient,
    Received,
    Script,
    ScriptedUpstream,
    answer,
    chunk,
    chunked_head,
    turn,
)
from tests.integration.kit import Sidecar, body_of, sidecar

CHAT = json.dumps(body_of("chat", model="gpt-4o")).encode()
MESSAGES = json.dumps(body_of("messages", model="claude-haiku-4-5")).encode()
CHAT_ANSWER = json.dumps(
    {
        "id": "c1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }
).encode()
MESSAGES_ANSWER = json.dumps(
    {
        "id": "m1",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": "hi"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 2},
    }
).encode()


@dataclass(frozen=True, slots=True)
class Line:
    """A sidecar between a raw client and a scripted provider."""

    on: Sidecar
    client: RawClient
    upstream: ScriptedUpstream

    async def ask(self, method: str, target: str, *headers: str, body: bytes = b"") -> Answer:
        """One request; its answer by its framing."""
        await self.client.send(request(method, target, *headers, body=body))
        return await self.client.read_answer(head_only=method == "HEAD")

    @property
    def received(self) -> Received:
        """The one request that the provider got."""
        (only,) = self.upstream.received
        return only


def request(method: str, target: str, *headers: str, body: bytes = b"") -> bytes:
    """A request; its content-length is added where there is a body."""
    length = [f"Content-Length: {len(body)}"] if body else []
    lines = [f"{method} {target} HTTP/1.1", "Host: sidecar", *headers, *length, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


@asynccontextmanager
async def line(folder: Path, *scripts: Script, policy: str = "") -> AsyncIterator[Line]:
    async with (
        ScriptedUpstream(*scripts) as upstream,
        sidecar(folder, policy, upstream=upstream.url) as on,
        await RawClient.connect(on.app.port) as client,
    ):
        client.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield Line(on, client, upstream)


def forwarded(line: Line) -> str:
    return line.received.lines[0].decode()


def url_of(server: asyncio.Server) -> str:
    return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def error_of(answer: Answer) -> dict[str, object]:
    error = json.loads(answer.body)["error"]
    assert isinstance(error, dict)
    return error


# --- paths ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "sent", "target"),
    [
        ("GET", "/v1/models", "/v1/models"),
        ("GET", "/v1/models/gpt-4o", "/v1/models/gpt-4o"),
        ("GET", "/v1/models/openai%2Fgpt-4o", "/v1/models/openai%2Fgpt-4o"),
        ("GET", "/v1/models/Qwen/Qwen3:free", "/v1/models/Qwen/Qwen3:free"),
        ("GET", "/v1/models?limit=2&after=a%2Fb+c&&x", "/v1/models?limit=2&after=a%2Fb+c&&x"),
        ("GET", "/v1/files/file-1/content", "/v1/files/file-1/content"),
        ("GET", "/v1/responses/resp_1?include[]=a", "/v1/responses/resp_1?include[]=a"),
        ("GET", "/v1/chat/completions/c_1?", "/v1/chat/completions/c_1?"),
        ("DELETE", "/v1/files/file-1", "/v1/files/file-1"),
        ("DELETE", "/v1/responses/resp_1", "/v1/responses/resp_1"),
        ("POST", "/v1/responses/resp_1/cancel", "/v1/responses/resp_1/cancel"),
        ("POST", "/v1/moderations", "/v1/moderations"),
        ("POST", "/v1/messages/count_tokens?beta=true", "/v1/messages/count_tokens?beta=true"),
        ("POST", "/v1/v1/messages/count_tokens", "/v1/messages/count_tokens"),
        ("HEAD", "/v1/models", "/v1/models"),
        ("OPTIONS", "/v1/chat/completions", "/v1/chat/completions"),
        ("GET", "/models", "/v1/models"),
        ("GET", "/v1/v1/models", "/v1/models"),
        ("GET", "/s/x/v1/models?a=b", "/v1/models?a=b"),
        ("GET", "/a/agent/s/x/v1/models", "/v1/models"),
        ("GET", "/v1beta/models", "/v1beta/models"),
    ],
)
async def test_a_free_request_reaches_the_provider_as_it_was_sent(
    tmp_path: Path, method: str, sent: str, target: str
) -> None:
    """Only the prefix that is ours is taken off; a query is nobody's business."""
    body = b'{"odd" :  "spacing"}' if method == "POST" else b""
    headers = (
        "Authorization: Bearer k",
        "X-Custom: caf\xe9  x",
        "x-Custom:",
        "Accept-Encoding: br",
    )
    body_back = b"" if method == "HEAD" else b"[]"
    async with line(tmp_path, [answer(body_back, "200 OK", "X-Odd-Case: Yes")]) as on:
        got = await on.ask(method, sent, *headers, "X-Holdfast-Agent: a", body=body)

        assert (got.status, got.body) == (200, body_back)
        assert b"\r\nX-Odd-Case: Yes\r\n" in got.head
        assert forwarded(on) == f"{method} {target} HTTP/1.1"
        lines = [h.decode("latin-1") for h in on.received.lines[1:]]
        kept = [h for h in lines if not h.lower().startswith(("host:", "content-length:"))]
        assert kept == [h if h != "x-Custom:" else "x-Custom: " for h in headers]
        assert on.received.body == body


@pytest.mark.parametrize(
    ("sent", "target", "session"),
    [
        ("/v1/chat/completions", "/v1/chat/completions", None),
        ("/chat/completions", "/v1/chat/completions", None),
        ("/v1/v1/chat/completions", "/v1/chat/completions", None),
        ("//v1//chat/completions/", "/v1/chat/completions", None),
        ("/v1/chat/completions?api-version=1%2F2", "/v1/chat/completions?api-version=1%2F2", None),
        ("/s/x/v1/chat/completions", "/v1/chat/completions", "x"),
        ("/s/x/chat/completions", "/v1/chat/completions", "x"),
        ("/s/x/v1/v1/chat/completions", "/v1/chat/completions", "x"),
        ("/s/root/child/v1/chat/completions", "/v1/chat/completions", "child"),
        ("/a/agent/v1/chat/completions", "/v1/chat/completions", None),
        ("/a/agent/s/x/v1/chat/completions", "/v1/chat/completions", "x"),
        ("/a/agent/s/root/child/v1/chat/completions", "/v1/chat/completions", "child"),
    ],
)
async def test_every_spelling_of_a_base_url_is_governed(
    tmp_path: Path, sent: str, target: str, session: str | None
) -> None:
    """Users put /v1 into a base URL that has it already, or leave it out."""
    async with line(tmp_path, [answer(CHAT_ANSWER)]) as on:
        got = await on.ask("POST", sent, "Authorization: Bearer k", body=CHAT)

        assert (got.status, got.body) == (200, CHAT_ANSWER)
        assert forwarded(on) == f"POST {target} HTTP/1.1"
        assert on.received.body == CHAT
        assert got.header("x-holdfast-step") == "1"
        if session is not None:
            assert got.header("x-holdfast-session") == session
            assert got.header("x-holdfast-session-source") == "path"


@pytest.mark.parametrize("path", ["/v1/messages?beta=true", "/v1/v1/messages", "/messages"])
@pytest.mark.parametrize("credential", ["Authorization: Bearer k", "x-api-key: k"])
async def test_both_credentials_of_anthropics_clients_pass(
    tmp_path: Path, path: str, credential: str
) -> None:
    """anthropic-python 2.12 sends a bearer, all others x-api-key; one caller either way."""
    async with line(tmp_path, [answer(MESSAGES_ANSWER)]) as on:
        got = await on.ask("POST", path, credential, "anthropic-beta: a,b", body=MESSAGES)

        assert (got.status, got.body) == (200, MESSAGES_ANSWER)
        assert credential.encode() in on.received.lines
        assert b"anthropic-beta: a,b" in on.received.lines
        query = "?beta=true" if "?" in path else ""
        assert forwarded(on) == f"POST /v1/messages{query} HTTP/1.1"


async def test_a_governed_body_in_chunks_arrives_with_its_length(tmp_path: Path) -> None:
    """It was read whole; also from a client that asks before it sends."""
    async with line(tmp_path, [answer(CHAT_ANSWER)]) as on:
        framing = ("Transfer-Encoding: chunked", "Expect: 100-continue")
        await on.client.send(request("POST", "/v1/chat/completions", *framing))
        assert (await on.client.read_answer()).status == 100
        await on.client.send(chunk(CHAT[:9]) + chunk(CHAT[9:]) + chunk(b""))
        got = await on.client.read_answer()

        assert (got.status, got.body) == (200, CHAT_ANSWER)
        assert on.received.body == CHAT
        assert on.received.header("content-length") == str(len(CHAT)).encode()
        assert on.received.header("transfer-encoding") is None


async def test_a_base_url_without_v1_is_taken_as_it_is(tmp_path: Path) -> None:
    """Azure's deployments, DeepSeek: what stands for /v1 is the policy's to say."""
    async with ScriptedUpstream([answer(b"[]")]) as upstream:
        env = {"HOLDFAST_OPENAI_URL": f"{upstream.url}/openai/deployments/d/"}
        async with (
            sidecar(tmp_path, env=env) as on,
            await RawClient.connect(on.app.port) as client,
        ):
            for sent in ("/v1/models?api-version=1", "/v1beta/models", "/v1?x=1"):
                await client.send(request("DELETE", sent))
                await client.read_answer()

            targets = [r.lines[0].split(b" ")[1] for r in upstream.received]
            base = b"/openai/deployments/d"
            assert targets == [
                base + b"/models?api-version=1",
                base + b"/v1beta/models",
                base + b"?x=1",
            ]


async def test_the_upstreams_own_key_takes_the_place_of_the_callers(tmp_path: Path) -> None:
    async with ScriptedUpstream([answer(b"[]")]) as upstream:
        policy = (
            f"upstreams: {{openai: {{base_url: '{upstream.url}/v1', api_key: ours}}, "
            f"anthropic: {{base_url: '{upstream.url}', api_key: ours, dialect: anthropic}}}}"
        )
        async with (
            sidecar(tmp_path, policy) as on,
            await RawClient.connect(on.app.port) as client,
        ):
            names = ("Cookie", "OpenAI-Organization", "openai-project", "x-amz-security-token")
            more = (*names, "ocp-apim-subscription-key", "x-goog-api-key", "proxy-authorization")
            openai = ("Authorization: Bearer t", *(f"{name}: t" for name in more))
            anthropic = ("x-api-key: t", "anthropic-version: 1")
            for headers in (openai, anthropic):
                await client.send(request("GET", "/v1/models", *headers))
                await client.read_answer()

            first, second = upstream.received
            assert first.header("authorization") == b"Bearer ours"
            assert (second.header("x-api-key"), second.header("authorization")) == (b"ours", None)
            assert b": t\r\n" not in upstream.seen_bytes
            assert b"Bearer t" not in upstream.seen_bytes


# --- uploads --------------------------------------------------------------------------------------


def multipart(size: int) -> tuple[str, bytes]:
    """A file upload with a body that no two places of are the same."""
    data = b"".join(b"%07d\n" % number for number in range(size // 8))
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    return "Content-Type: multipart/form-data; boundary=b", head + data + b"\r\n--b--\r\n"


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_large_upload_passes_in_the_framing_that_it_has(
    tmp_path: Path, framing: str
) -> None:
    """Providers refuse a file whose length they are not told."""
    kind, body = multipart(6_000_000)
    async with line(tmp_path, [answer(b'{"id":"file-1"}')]) as on:
        if framing == "length":
            got = await on.ask("POST", "/v1/files", kind, body=body)
        else:
            head = request("POST", "/v1/files", kind, "Transfer-Encoding: chunked")
            parts = (chunk(body[i : i + 100_000]) for i in range(0, len(body), 100_000))
            await on.client.send(head + b"".join(parts) + chunk(b""))
            got = await on.client.read_answer()

        assert got.status == 200
        assert on.received.body == body
        length = None if framing == "chunked" else str(len(body)).encode()
        assert on.received.header("content-length") == length
        assert on.received.header("transfer-encoding") == (b"chunked" if length is None else None)


async def test_an_upload_waits_for_the_provider_to_read(tmp_path: Path) -> None:
    """A slow provider slows the client; the file is not gathered in between."""
    kind, body = multipart(40_000_000)
    whole = request("POST", "/v1/files", kind, body=body)
    got = ahead = 0

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal got, ahead
        await reader.readuntil(b"\r\n\r\n")
        while got < len(body):
            got += len(await reader.read(65_536))
            for _ in range(4):
                await turn()
            ahead = max(ahead, len(whole) - transport.get_write_buffer_size() - got)
        writer.write(answer(b"{}"))
        writer.close()

    async with (
        await asyncio.start_server(slow, "127.0.0.1", 0) as upstream,
        sidecar(tmp_path, upstream=url_of(upstream)) as on,
        await RawClient.connect(on.app.port) as client,
    ):
        transport = client.writer.transport
        await client.send(whole)

        assert (await client.read_answer()).status == 200
    assert got == len(body)
    assert ahead < len(body) // 2


async def test_an_early_answer_to_an_upload_is_passed_and_ends_the_connection(
    tmp_path: Path,
) -> None:
    """The rest of the body must not be taken for the next request."""
    kind, body = multipart(2_000_000)
    early = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"

    async def impatient(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(early)
        await reader.read()
        writer.close()

    async with (
        await asyncio.start_server(impatient, "127.0.0.1", 0) as upstream,
        sidecar(tmp_path, upstream=url_of(upstream)) as on,
        await RawClient.connect(on.app.port) as client,
    ):
        await client.send(request("POST", "/v1/files", kind, body=body)[:1_000_000])
        got = await client.read_answer()

        assert (got.status, got.header("connection")) == (413, "close")


async def test_a_client_that_asks_before_it_sends_is_told_to_go_on(tmp_path: Path) -> None:
    async with line(tmp_path, [answer()]) as on:
        head = request("POST", "/v1/files", "Expect: 100-continue", "Content-Length: 3")
        await on.client.send(head)
        assert (await on.client.read_answer()).status == 100
        await on.client.send(b"abc")

        assert (await on.client.read_answer()).status == 200
        assert on.received.body == b"abc"
        assert on.received.header("expect") is None


# --- answers --------------------------------------------------------------------------------------


async def test_an_answer_without_a_body_stays_without(tmp_path: Path) -> None:
    head = b"HTTP/1.1 %s\r\nETag: a\r\n\r\n"
    scripts = ([head % b"204 No Content"], [head % b"304 Not Modified"], [answer(b"[]")])
    async with line(tmp_path, *scripts) as on:
        gone = await on.ask("DELETE", "/v1/files/f")
        same = await on.ask("GET", "/v1/models", "If-None-Match: a")
        after = await on.ask("GET", "/v1/models")

        assert (gone.status, gone.header("etag"), gone.header("content-length")) == (204, "a", None)
        assert (same.status, same.header("etag"), same.body) == (304, "a", b"")
        assert (after.status, after.body) == (200, b"[]")
        assert on.upstream.received[1].header("if-none-match") == b"a"


async def test_an_answer_to_head_keeps_the_length_it_would_have(tmp_path: Path) -> None:
    told = b"HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n"
    async with line(tmp_path, [told], [answer(b"[]")]) as on:
        head = await on.ask("HEAD", "/v1/files/f/content")
        after = await on.ask("GET", "/v1/models")

        assert (head.status, head.header("content-length")) == (200, "1234")
        assert after.body == b"[]"


async def test_interim_answers_of_the_provider_are_not_taken_for_the_answer(tmp_path: Path) -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
    async with line(tmp_path, [interim, answer(CHAT_ANSWER)], [interim, answer(b"[]")]) as on:
        governed = await on.ask("POST", "/v1/chat/completions", body=CHAT)
        free = await on.ask("GET", "/v1/models")

        assert (governed.status, governed.body) == (200, CHAT_ANSWER)
        assert (free.status, free.body) == (200, b"[]")


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect"])
async def test_a_redirect_is_passed_on_and_not_followed(tmp_path: Path, status: str) -> None:
    """It would take the credential to a place that the policy does not name."""
    moved = answer(b"moved", status, "Location: http://127.0.0.1:9/elsewhere")
    async with line(tmp_path, [moved]) as on:
        free = await on.ask("GET", "/v1/files/f/content")
        governed = await on.ask("POST", "/v1/chat/completions", body=CHAT)

        for got in (free, governed):
            assert (got.status, got.body) == (int(status[:3]), b"moved")
            assert got.header("location") == "http://127.0.0.1:9/elsewhere"
        assert len(on.upstream.received) == 2


async def test_a_range_is_asked_for_and_passed(tmp_path: Path) -> None:
    part = answer(b"bcd", "206 Partial Content", "Content-Range: bytes 1-3/9")
    async with line(tmp_path, [part]) as on:
        got = await on.ask("GET", "/v1/files/f/content", "Range: bytes=1-3", "If-Range: e")

        assert (got.status, got.body) == (206, b"bcd")
        assert got.header("content-range") == "bytes 1-3/9"
        assert on.received.header("range") == b"bytes=1-3"
        assert on.received.header("if-range") == b"e"


async def test_a_compressed_answer_to_a_free_request_is_untouched(tmp_path: Path) -> None:
    packed = gzip.compress(b"[]" * 999, mtime=0)
    reply = answer(packed, "200 OK", "Content-Encoding: gzip", "Vary: Accept-Encoding")
    async with line(tmp_path, [reply]) as on:
        got = await on.ask("GET", "/v1/models", "Accept-Encoding: gzip, br;q=0.5")

        assert got.body == packed
        assert got.header("content-encoding") == "gzip"
        assert on.received.header("accept-encoding") == b"gzip, br;q=0.5"


async def test_a_governed_call_does_not_ask_for_compression(tmp_path: Path) -> None:
    """Its answer has to be read as it passes."""
    async with line(tmp_path, [answer(CHAT_ANSWER)]) as on:
        await on.ask("POST", "/v1/chat/completions", "Accept-Encoding: gzip, br", body=CHAT)

        assert on.received.header("accept-encoding") is None


async def test_a_chunked_answer_passes_chunk_by_chunk(tmp_path: Path) -> None:
    """A log or an event stream of a free endpoint is not gathered."""
    go_on = asyncio.Event()
    one, two = chunk(b"one"), chunk(b"two")
    head = chunked_head("content-type: text/event-stream")
    async with line(tmp_path, [head, one, go_on, two, chunk(b"")]) as on:
        await on.client.send(request("GET", "/v1/fine_tuning/jobs/j/events?stream=true"))
        first = await on.client.read_until(b"one\r\n")
        go_on.set()
        rest = await on.client.read_until(b"0\r\n\r\n")

        assert b"two" not in first
        assert rest == chunk(b"two") + chunk(b"")


@pytest.mark.parametrize("how", [End.CLOSE, End.RESET])
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_free_answer_that_breaks_off_never_looks_whole(
    tmp_path: Path, how: End, framing: str
) -> None:
    begun = answer(b"x" * 100)[:-50]
    if framing == "chunked":
        begun = chunked_head() + chunk(b"x" * 50)
    seen = asyncio.Event()
    async with line(tmp_path, [begun, seen, how]) as on:
        await on.client.send(request("GET", "/v1/files/f/content"))
        await on.client.read_until(b"x" * 50)
        seen.set()

        assert (await on.client.read_to_end()).removeprefix(b"\r\n") == b""


async def test_a_provider_that_is_not_there_is_a_503(tmp_path: Path) -> None:
    async with (
        sidecar(tmp_path, upstream="http://127.0.0.1:9") as on,
        await RawClient.connect(on.app.port) as client,
    ):
        await client.send(request("GET", "/v1/models"))
        got = await client.read_answer()

        assert (got.status, error_of(got)["code"]) == (503, "upstream_unavailable")
        assert got.header("x-should-retry") == "false"


# --- what is refused or answered here -------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/images/generations"),
        ("POST", "/v1/images/edits"),
        ("POST", "/v1/audio/speech"),
        ("POST", "/v1/audio/transcriptions"),
        ("POST", "/v1/batches"),
        ("POST", "/v1/messages/batches"),
        ("POST", "/v1/fine_tuning/jobs"),
        ("POST", "/v1/videos"),
        ("POST", "/v1/threads/t/runs"),
        ("POST", "/v1/responses/compact"),
        ("POST", "/v1beta/models/gemini:generateContent"),
        ("POST", "/v1/chat/completions/extra"),
        ("POST", "/never/heard/of"),
        ("PUT", "/v1/chat/completions"),
        ("PATCH", "/v1/responses"),
    ],
)
async def test_what_is_billed_and_cannot_be_priced_is_refused_or_relayed(
    tmp_path: Path, method: str, path: str
) -> None:
    """Else the budget ends where the next endpoint begins."""
    body = b'{"model": "m", "prompt": "x"}'
    async with line(tmp_path) as on:
        got = await on.ask(method, path, "Authorization: Bearer k", body=body)

        error = error_of(got)
        assert (got.status, error["code"]) == (422, "ungoverned_endpoint")
        assert path in str(error["message"])
        assert got.header("x-should-retry") == "false"
        assert ("request_id" in json.loads(got.body)) is path.startswith("/v1/messages")
        assert on.upstream.seen_bytes == b""
    async with line(tmp_path, policy="ungoverned: relay") as on:
        got = await on.ask(method, path, "Authorization: Bearer k", body=body)

        assert got.status == 200
        assert forwarded(on) == f"{method} {path} HTTP/1.1"
        assert on.received.body == body


async def test_a_background_response_is_refused_or_relayed(tmp_path: Path) -> None:
    """It is billed after the answer."""
    body = json.dumps({"model": "gpt-5", "input": "hi", "background": True}).encode()
    queued = b'{"id":"resp_1","object":"response","status":"queued","output":[],"usage":null}'
    async with line(tmp_path) as on:
        got = await on.ask("POST", "/v1/responses", body=body)

        assert (got.status, error_of(got)["code"]) == (422, "ungoverned_endpoint")
        assert on.upstream.seen_bytes == b""
    async with line(tmp_path, [answer(queued)], policy="ungoverned: relay") as on:
        got = await on.ask("POST", "/v1/responses", body=body)

        assert (got.status, got.body) == (200, queued)
        assert on.received.body == body


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("path", ["/", "/v1", "/v1/", "/s/x", "/s/x/v1"])
async def test_a_probe_of_the_base_url_is_answered_here(
    tmp_path: Path, method: str, path: str
) -> None:
    """Claude Code sends HEAD to its base URL at start, without a credential."""
    async with line(tmp_path) as on:
        got = await on.ask(method, path, "User-Agent: Bun/1.4.0")

        assert got.status == 200
        assert on.upstream.seen_bytes == b""


@pytest.mark.parametrize("path", ["/v1/responses", "/s/x/v1/responses", "/v1/realtime"])
async def test_a_websocket_is_told_to_use_http(tmp_path: Path, path: str) -> None:
    """Codex falls back after one 426; after 404, 405 or 501 it tries seven times."""
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    async with line(tmp_path) as on:
        got = await on.ask("GET", path, *upgrade, "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")

        assert got.status == 426
        assert error_of(got)["code"] == "invalid_request"
        assert got.header("x-should-retry") == "false"
        assert on.upstream.seen_bytes == b""


async def test_options_for_the_server_itself_is_not_sent_on(tmp_path: Path) -> None:
    """`*` is no path of a provider."""
    async with line(tmp_path) as on:
        got = await on.ask("OPTIONS", "*")

        assert got.status in (200, 204, 400)
        assert on.upstream.seen_bytes == b""
