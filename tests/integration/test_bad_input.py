"""What a hostile or broken client can send: a 4xx in its dialect, at no cost, and never a 500."""

import asyncio
import gzip
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.admin.shapes import Json
from proxy.core.request import DialectName
from tests.fakes_wire import Answer, RawClient, ScriptedUpstream, answer, chunk, chunked_head
from tests.integration.kit import ONCE, Sidecar, sidecar

PATHS: Mapping[DialectName, str] = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "embeddings": "/v1/embeddings",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
}
CONTENT: Mapping[DialectName, str] = {
    "chat": "messages",
    "completions": "prompt",
    "embeddings": "input",
    "responses": "input",
    "messages": "messages",
}
BOUND: Mapping[DialectName, str] = {
    "chat": "max_completion_tokens",
    "completions": "max_tokens",
    "responses": "max_output_tokens",
    "messages": "max_tokens",
}
POLICY = f"{ONCE}bounds: {{body_bytes: 20000, json_depth: 20}}"
every_dialect = pytest.mark.parametrize("dialect", PATHS)


def good(dialect: DialectName) -> dict[str, Json]:
    """A body that is taken."""
    turns: Json = [{"role": "user", "content": "hi"}]
    content = turns if CONTENT[dialect] == "messages" else "hi"
    body: dict[str, Json] = {"model": "sim-model", CONTENT[dialect]: content}
    return body if dialect == "embeddings" else body | {BOUND[dialect]: 10}


def spelt(dialect: DialectName, member: str) -> bytes:
    """The good body with one more member, spelt by hand, at its end."""
    key = member.split('"')[1]
    kept = {k: v for k, v in good(dialect).items() if k != key}
    return json.dumps(kept).encode()[:-1] + b", " + member.encode() + b"}"


def bodies(dialect: DialectName) -> dict[str, bytes]:
    """Bodies that no provider could be charged for."""
    whole = json.dumps(good(dialect)).encode()
    text = whole.decode()
    content = CONTENT[dialect]
    deep = "[" * 5000 + "]" * 5000
    found = {
        "empty": b"",
        "blank": b" \n",
        "null": b"null",
        "array": b"[]",
        "string": b'"x"',
        "number": b"1",
        "cut": whole[:-1],
        "cut in a string": whole[:5],
        "followed by more": whole + b"{}",
        "byte order mark": b"\xef\xbb\xbf" + whole,
        "UTF-16": text.encode("utf-16"),
        "not UTF-8": whole.replace(b"sim-model", b"sim\xff\xfemodel"),
        "overlong UTF-8": whole.replace(b"sim-model", b"sim\xc0\xafmodel"),
        "raw control character": whole.replace(b"sim-model", b"sim\x00model"),
        "single quotes": whole.replace(b'"', b"'"),
        "form": b"model=sim-model&prompt=hi",
        "no model": json.dumps({content: "hi"}).encode(),
        "content a number": spelt(dialect, f'"{content}": 7'),
        "nested at the top": b'{"a":' + deep.encode() + b"}",
        "nested objects": b'{"a":' * 3000 + b"1" + b"}" * 3000,
        "nested in an unknown member": spelt(dialect, f'"x": {deep}'),
        "nested in the content": spelt(dialect, f'"{content}": [{deep}]'),
        "nested just too deep": spelt(dialect, '"x": ' + "[" * 20 + "]" * 20),
        "nested and never closed": b'{"a":' + b"[" * 9000,
        "model null": spelt(dialect, '"model": null'),
        "model empty": spelt(dialect, '"model": ""'),
        "model a number": spelt(dialect, '"model": 5'),
        "model a list": spelt(dialect, '"model": ["sim-model"]'),
        "NaN": spelt(dialect, '"temperature": NaN'),
        "Infinity": spelt(dialect, '"temperature": -Infinity'),
        "model twice": spelt(dialect, '"model": "cheap", "model": "dear"'),
        "model twice, once escaped": spelt(dialect, '"model": "a", "mod\\u0065l": "b"'),
        "content twice": spelt(dialect, f'"{content}": "a", "{content}": "b"'),
    }
    if dialect != "embeddings":
        found["stream a string"] = spelt(dialect, '"stream": "true"')
        found["stream a number"] = spelt(dialect, '"stream": 1')
        found["stream twice"] = spelt(dialect, '"stream": false, "stream": true')
        bound = BOUND[dialect]
        for value in ("-1", "1.5", "true", '"10"', "1e400", "9" * 400, "4294967296", "[]", "{}"):
            found[f"bound {value[:12]}"] = spelt(dialect, f'"{bound}": {value}')
        found["bound twice"] = spelt(dialect, f'"{bound}": 1, "{bound}": 100000')
    if content == "messages":
        for value in ("{}", "[null]", "[1]", '["hi"]', "[[]]", "[{}]", '[{"role": 1}]', '"hi"'):
            found[f"messages {value}"] = spelt(dialect, f'"messages": {value}')
    if dialect in ("chat", "completions"):
        for value in ("0", "-1", "1.5", '"2"', "99999999999", "{}"):
            found[f"n {value}"] = spelt(dialect, f'"n": {value}')
        found["n twice"] = spelt(dialect, '"n": 1, "n": 100')
        found["stream_options a list"] = spelt(dialect, '"stream_options": [], "stream": true')
    return found


@dataclass(frozen=True, slots=True)
class Door:
    """A sidecar whose provider must not hear of anything."""

    on: Sidecar
    upstream: ScriptedUpstream

    async def send(self, data: bytes) -> Answer:
        """One request on a connection of its own."""
        async with await RawClient.connect(self.on.app.port) as client:
            await client.send(data)
            return await client.read_answer()

    async def post(self, path: str, body: bytes, *headers: str) -> Answer:
        return await self.send(request("POST", path, *headers, body=body))

    async def left_nothing(self) -> bool:
        """No session, no hold, no byte at the provider."""
        listed = await self.on.admin("GET", "/sessions")
        holds = await self.on.app.store.open_holds()
        return (listed["sessions"], holds, self.upstream.seen_bytes) == ([], [], b"")


@asynccontextmanager
async def door(folder: Path, policy: str = POLICY, script: bytes = answer()) -> AsyncIterator[Door]:
    async with (
        ScriptedUpstream([script]) as upstream,
        sidecar(folder, policy, upstream=upstream.url) as on,
    ):
        yield Door(on, upstream)


def request(method: str, path: str, *headers: str, body: bytes = b"") -> bytes:
    length = [] if any("chunked" in h for h in headers) else [f"Content-Length: {len(body)}"]
    lines = [f"{method} {path} HTTP/1.1", "Host: h", "Authorization: Bearer k", *headers, *length]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def wrong(got: Answer, dialect: DialectName, *statuses: int) -> str | None:
    """What is wrong with a refusal, None if it is as it should be."""
    if got.status not in (statuses or (400,)):
        return f"status {got.status}: {got.body[:100]!r}"
    if got.header("x-should-retry") != "false" or got.header("retry-after") is not None:
        return "it invites a retry"
    told = json.loads(got.body)
    error = told["error"]
    if (dialect == "messages") != (told.get("type") == "error" and "request_id" in told):
        return f"not in the dialect: {told}"
    if not {"message", "type", "code"} <= error.keys() or error["code"] != "invalid_request":
        return f"not an invalid_request: {error}"
    return None if error["message"] else "it says nothing"


@every_dialect
async def test_a_bad_body_is_a_400_that_costs_nothing(tmp_path: Path, dialect: DialectName) -> None:
    found = {}
    async with door(tmp_path) as on:
        for name, body in bodies(dialect).items():
            complaint = wrong(await on.post(PATHS[dialect], body), dialect)
            if complaint is not None:
                found[name] = complaint

        assert found == {}
        assert await on.left_nothing()


@every_dialect
async def test_what_we_need_not_understand_is_the_providers_to_refuse(
    tmp_path: Path, dialect: DialectName
) -> None:
    """A provider that takes what another refuses is not held back; its refusal passes, unbilled."""
    refusal = b'{"error": "theirs"}'
    async with door(tmp_path, script=answer(refusal, "400 Bad Request")) as on:
        for odd in ('"temperature": "hot"', '"seed": 1e400', '"unknown": {"a": [1]}'):
            got = await on.post(PATHS[dialect], spelt(dialect, odd))

            assert (got.status, got.body) == (400, refusal)
        listed = await on.on.admin("GET", "/sessions")
        sessions = listed["sessions"]
        assert isinstance(sessions, list)
        assert all(isinstance(s, dict) and s["cost_usd"] == 0 for s in sessions)


@every_dialect
async def test_the_same_body_is_good_without_what_is_bad(
    tmp_path: Path, dialect: DialectName
) -> None:
    """Else the test above would show nothing."""
    async with door(tmp_path) as on:
        await on.post(PATHS[dialect], json.dumps(good(dialect)).encode())

        assert len(on.upstream.received) == 1


@every_dialect
async def test_a_bad_head_is_a_4xx_that_costs_nothing(tmp_path: Path, dialect: DialectName) -> None:
    body = json.dumps(good(dialect)).encode()
    path = PATHS[dialect]
    long_id = "x" * 129
    cases: dict[str, tuple[bytes, tuple[int, ...]]] = {
        "session in the header": (request("POST", path, "x-holdfast-session: a b", body=body), ()),
        "empty session": (request("POST", path, "x-holdfast-session:", body=body), ()),
        "session with bytes": (request("POST", path, "x-holdfast-session: \xff", body=body), ()),
        "long session": (request("POST", path, f"x-holdfast-session: {long_id}", body=body), ()),
        "parent": (request("POST", path, "x-holdfast-parent: a/b", body=body), ()),
        "agent": (request("POST", path, "x-holdfast-agent: <b>", body=body), ()),
        "budget": (request("POST", path, "x-holdfast-budget-usd: NaN", body=body), ()),
        "budget below nought": (request("POST", path, "x-holdfast-budget-usd: -1", body=body), ()),
        "huge budget": (request("POST", path, "x-holdfast-budget-usd: 1e999999", body=body), ()),
        "steps": (request("POST", path, "x-holdfast-steps: 1.5", body=body), ()),
        "huge steps": (request("POST", path, "x-holdfast-steps: " + "9" * 99, body=body), ()),
        "two credentials": (request("POST", path, "x-api-key: other", body=body), ()),
        "unknown coding": (request("POST", path, "content-encoding: br", body=body), (415,)),
        "not gzip": (request("POST", path, "content-encoding: gzip", body=body), ()),
        "too large": (request("POST", path, body=b" " * 20_001), (413,)),
    }
    found = {}
    async with door(tmp_path) as on:
        for name, (data, statuses) in cases.items():
            complaint = wrong(await on.send(data), dialect, *statuses)
            if complaint is not None:
                found[name] = complaint

        assert found == {}
        assert await on.left_nothing()


@every_dialect
async def test_a_body_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, dialect: DialectName
) -> None:
    """A kilobyte can stand for a gigabyte; it is unpacked no further than the bound."""
    bomb = gzip.compress(b" " * 10_000_000 + json.dumps(good(dialect)).encode())
    packed = gzip.compress(json.dumps(good(dialect)).encode())
    async with door(tmp_path) as on:
        coding = "content-encoding: gzip"
        too_much = await on.post(PATHS[dialect], bomb, coding)
        cut = await on.post(PATHS[dialect], packed[:-9], coding)

        assert wrong(too_much, dialect, 413) is None
        assert wrong(cut, dialect, 400, 413) is None
        assert await on.left_nothing()


async def test_a_compressed_body_of_two_members_is_refused(tmp_path: Path) -> None:
    """The provider would read what was not counted here."""
    packed = gzip.compress(json.dumps(good("chat")).encode())
    async with door(tmp_path) as on:
        got = await on.post(
            PATHS["chat"], packed + gzip.compress(b" " * 99), "content-encoding: gzip"
        )

        assert wrong(got, "chat") is None
        assert await on.left_nothing()


@pytest.mark.parametrize("target", ["/s/a%20b/v1/messages", "/s/x/v1/%2e/messages"])
async def test_a_bad_path_is_refused_in_the_dialect_that_it_names(
    tmp_path: Path, target: str
) -> None:
    async with door(tmp_path) as on:
        got = await on.post(target, json.dumps(good("messages")).encode())

        assert wrong(got, "messages") is None


@every_dialect
async def test_a_chunked_body_is_bounded_and_must_be_well_framed(
    tmp_path: Path, dialect: DialectName
) -> None:
    async with door(tmp_path) as on:
        head = request("POST", PATHS[dialect], "transfer-encoding: chunked")
        large = await on.send(head + chunk(b" " * 15_000) + chunk(b" " * 15_000) + chunk(b""))
        bad = await on.send(head + b"zz\r\n{}\r\n0\r\n\r\n")

        assert wrong(large, dialect, 413) is None
        assert bad.status == 400
        assert bad.header("x-should-retry") == "false"
        assert await on.left_nothing()


@pytest.mark.parametrize(
    "target",
    [
        "/s/a%20b/v1/chat/completions",
        "/s/<b>/v1/chat/completions",
        "/s//v1/chat/completions",
        f"/s/{'x' * 129}/v1/chat/completions",
        "/s/../v1/chat/completions",
        "/s/v1/chat/completions",
        "/s/a/b%2Fc/v1/chat/completions",
        "/a/a%20b/v1/chat/completions",
        "/a//s/x/v1/chat/completions",
        "/r/a;b/v1/chat/completions",
        "/V1/chat/completions",
        "/v1/Chat/completions",
        "/v1/chat%2Fcompletions",
        "/v1/chat/./completions",
        "/v1/files/../chat/completions",
        "/v1/files/%2e%2e/chat/completions",
        "/v1\\chat\\completions",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_bad_path_is_a_400(tmp_path: Path, method: str, target: str) -> None:
    """No other spelling of a governed path gets by, and no id that is not one."""
    async with door(tmp_path) as on:
        got = await on.send(request(method, target, body=json.dumps(good("chat")).encode()))

        assert wrong(got, "chat") is None
        assert await on.left_nothing()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request("GET", "/v1/models", "X-Long: " + "x" * 70_000), 431),
        (request("GET", "/v1/models", *(f"X-{n}: 1" for n in range(500))), 431),
        (request("GET", "/" + "x" * 70_000), 431),
        (b"GARBAGE\r\n\r\n", 400),
        (b"GET /v1/models HTTP/9.9\r\nHost: h\r\n\r\n", 400),
        (b"GET /v1/models HTTP/1.1\r\n\r\n", 400),
        (b"GET /v1/models HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /v1/models HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100 + b"\r\n\r\n", 400),
        (request("CONNECT", "h:443"), 405),
    ],
    ids=lambda value: repr(value[:24]) if isinstance(value, bytes) else str(value),
)
async def test_a_head_that_is_none_is_refused(tmp_path: Path, data: bytes, status: int) -> None:
    async with door(tmp_path) as on:
        got = await on.send(data)

        assert got.status == status
        assert got.header("x-should-retry") == "false"
        assert json.loads(got.body)["error"]["code"] == "invalid_request"
        assert await on.left_nothing()


@pytest.mark.parametrize("dialect", ["chat", "responses", "messages"])
async def test_a_line_over_the_bound_passes_unread(tmp_path: Path, dialect: DialectName) -> None:
    """A provider may send an image in one line; it is not kept to be understood."""
    end = {
        "chat": b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
        b"data: [DONE]\n\n",
        "responses": b'data: {"type":"response.completed","response":{"output":[]}}\n\n',
        "messages": b'data: {"type":"message_stop"}\n\n',
    }[dialect]
    body = b": hello\n\n" + b'data: {"x": "' + b"x" * 300_000 + b'"}\n\n' + end
    script = chunked_head("content-type: text/event-stream") + chunk(body) + chunk(b"")
    async with door(tmp_path, "bounds: {sse_line_bytes: 65536}", script) as on:
        stream = json.dumps(good(dialect) | {"stream": True}).encode()
        got = await on.post(PATHS[dialect], stream)

        assert (got.status, got.body == body, got.whole) == (200, True, True)


async def test_an_answer_over_the_bound_is_a_502(tmp_path: Path) -> None:
    async with door(tmp_path, "bounds: {answer_bytes: 65536}", answer(b" " * 100_000)) as on:
        got = await on.post(PATHS["chat"], json.dumps(good("chat")).encode())

        assert got.status == 502
        assert got.header("x-should-retry") == "false"


# --- anything at all ------------------------------------------------------------------------------

ANSWER = json.dumps(
    {
        "id": "x",
        "choices": [{"index": 0, "message": {"content": "hi"}, "text": "hi"}],
        "content": [{"type": "text", "text": "hi"}],
        "output": [],
        "data": [],
        "usage": {
            "prompt_tokens": 1,
            "input_tokens": 1,
            "completion_tokens": 1,
            "output_tokens": 1,
        },
    }
).encode()
"""One in every dialect."""

KEYS = (
    *("model", "messages", "input", "prompt", "system", "instructions", "tools", "functions"),
    *("tool_choice", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n"),
    *("max_output_tokens", "best_of", "metadata", "client_metadata", "user", "thinking", "store"),
    *("previous_response_id", "conversation", "response_format", "text", "reasoning", "prediction"),
    *(
        "prompt_cache_key",
        "background",
        "modalities",
        "echo",
        "suffix",
        "dimensions",
        "mcp_servers",
    ),
)
INNER = (
    *("role", "content", "type", "text", "id", "name", "arguments", "input", "output", "call_id"),
    *(
        "tool_calls",
        "function",
        "function_call",
        "tool_call_id",
        "tool_use_id",
        "is_error",
        "source",
    ),
    *("image_url", "url", "data", "file", "thinking", "signature", "summary", "cache_control"),
    *(
        "parameters",
        "input_schema",
        "include_usage",
        "holdfast_budget_usd",
        "session_id",
        "refusal",
    ),
)
WORDS = (
    *("user", "assistant", "system", "developer", "tool", "function", "text", "image_url", "image"),
    *("input_text", "output_text", "tool_use", "tool_result", "thinking", "file", "input_image"),
    *("function_call", "function_call_output", "message", "reasoning", "item_reference", "custom"),
    *("required", "none", "auto", "base64", "data:image/png;base64,AAAA", "{}", '{"a":', "\ud800"),
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 300)
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(WORDS)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(INNER), inner, max_size=5)
    ),
    max_leaves=12,
)
members = st.dictionaries(st.sampled_from(KEYS), values, max_size=4)
damage = st.tuples(st.integers(0, 400), st.integers(0, 3), st.binary(max_size=3))


def damaged(body: bytes, places: list[tuple[int, int, bytes]]) -> bytes:
    """The body with bytes put in the place of others."""
    for place, length, put in places:
        at = place % (len(body) + 1)
        body = body[:at] + put + body[at + length :]
    return body


whole_bodies = st.builds(
    lambda dialect, more, places: (
        dialect,
        damaged(json.dumps(good(dialect) | more).encode(), places),
    ),
    st.sampled_from(tuple(PATHS)),
    members,
    st.lists(damage, max_size=1) | st.just([]),
)
no_bodies = st.tuples(
    st.sampled_from(tuple(PATHS)),
    st.binary(max_size=60) | st.builds(json.dumps, values).map(str.encode),
)


@pytest.mark.timeout(60)
def test_no_body_at_all_makes_a_5xx_of_ours(tmp_path: Path) -> None:
    """The law: the answer is a 4xx in the dialect, or what the provider said."""
    statuses: Counter[int] = Counter()
    with asyncio.Runner() as runner:
        entered = AsyncExitStack()
        policy = f"{ONCE}budgets: []\nlimits: {{cost_usd: null, tokens: null, steps: null}}"
        on = runner.run(entered.enter_async_context(door(tmp_path, policy, answer(ANSWER))))

        @settings(max_examples=2_500, deadline=None, suppress_health_check=list(HealthCheck))
        @given(whole_bodies | whole_bodies | whole_bodies | no_bodies)
        def law(drawn: tuple[DialectName, bytes]) -> None:
            dialect, body = drawn
            got = runner.run(on.post(PATHS[dialect], body))
            statuses[got.status] += 1
            if got.status == 200:
                assert got.body == ANSWER
                return
            assert 400 <= got.status < 500
            assert got.header("x-should-retry") == "false"
            assert json.loads(got.body)["error"]["message"]

        try:
            law()
            assert runner.run(on.on.app.store.open_holds()) == []
        finally:
            runner.run(entered.aclose())
    print(statuses)
    assert statuses[200] > 100
    assert statuses[400] > 100


SEGMENTS = (
    *("s", "a", "r", "x", "v1", "v1", "chat", "completions", "messages", "responses", "models"),
    *("", ".", "..", "%2e", "%2F", "%00", "%ff", "<b>", "\xe9", "~", ";", "a;b", "V1", "x" * 129),
)
HEADERS = (
    *("x-holdfast-session", "x-holdfast-parent", "x-holdfast-agent", "x-holdfast-budget-usd"),
    *("x-holdfast-steps", "x-api-key", "authorization", "content-encoding", "anthropic-version"),
    *("x-claude-code-session-id", "session-id", "x-session-id", "baggage", "x-portkey-metadata"),
    *("user-agent", "x-stainless-retry-count", "traceparent", "connection", "accept", "te"),
    *("x-parent-session-id", "content-type", "if-match", "range", "upgrade", "x-request-id"),
)
header_values = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=12)
targets = st.builds(
    lambda segments, query: "/" + "/".join(segments) + query,
    st.lists(st.sampled_from(SEGMENTS), max_size=6)
    | st.sampled_from([path.strip("/").split("/") for path in PATHS.values()]),
    st.sampled_from(("", "?", "?a=b", "?%00", "?\xff")),
)
heads = st.tuples(
    st.sampled_from(("GET", "POST", "POST", "POST", "PUT", "DELETE", "OPTIONS", "QUERY")),
    targets,
    st.dictionaries(
        st.sampled_from(HEADERS), header_values | st.sampled_from(("gzip", "1", "s1", "websocket"))
    ),
)


@pytest.mark.timeout(60)
def test_no_head_at_all_makes_a_5xx_of_ours(tmp_path: Path) -> None:
    """Paths, ids and the headers that say something to us, with whatever in them."""
    statuses: Counter[int] = Counter()
    body = json.dumps(good("chat") | {"input": "hi"}).encode()
    with asyncio.Runner() as runner:
        entered = AsyncExitStack()
        on = runner.run(entered.enter_async_context(door(tmp_path, "budgets: []", answer(ANSWER))))

        @settings(max_examples=1_000, deadline=None, suppress_health_check=list(HealthCheck))
        @given(heads)
        def law(drawn: tuple[str, str, dict[str, str]]) -> None:
            method, target, headers = drawn
            lines = [f"{name}: {value}" for name, value in headers.items()]
            lines.append(f"Content-Length: {len(body)}")
            start = "\r\n".join([f"{method} {target} HTTP/1.1", "Host: h", *lines, "", ""])
            got = runner.run(on.send(start.encode("latin-1") + body))
            statuses[got.status] += 1
            if got.status == 200:
                assert got.body in (ANSWER, b"holdfast\n", b"ok\n")
                return
            assert 400 <= got.status < 500
            assert got.header("x-should-retry") == "false"
            assert json.loads(got.body)["error"]["message"]

        try:
            law()
        finally:
            runner.run(entered.aclose())
    assert statuses[200] > 50
    assert statuses[400] > 50
