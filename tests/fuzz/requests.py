"""What clients do: bodies, framing, headers, paths."""

import gzip
import json
import zlib
from random import Random

from tests.fuzz.cases import Case, Leave, head, post, session_of
from tests.fuzz.mutations import bomb, spoilt_bytes, spoilt_json
from tests.fuzz.seeds import PATHS, request_of, seeds


def bodies(rng: Random, number: int) -> Case:
    """A well-framed request whose body is a spoilt one; one in eight is a lie in its framing."""
    if rng.random() < 0.12:
        return framing(rng, number)
    seed = rng.choice(seeds())
    session = session_of(number)
    target = f"/s/{session}{PATHS[seed.dialect]}"
    request = seed.request | {"stream": seed.stream} if rng.random() < 0.5 else seed.request
    body = spoilt_json(rng, request)
    if rng.random() < 0.25:
        body = spoilt_bytes(rng, body)
    lines: tuple[str, ...] = ()
    if rng.random() < 0.1:
        body, coding = _packed(rng, body)
        lines = (f"content-encoding: {coding}",)
    raw = post(number, target, body, *lines)
    return Case(number, raw, Leave.WAIT, seed.dialect, session)


def _packed(rng: Random, body: bytes) -> tuple[bytes, str]:
    """Compressed, wrongly compressed, twice, cut off, to a thousand times its size, or a lie."""
    match rng.randrange(7):
        case 0:
            return gzip.compress(body), "gzip"
        case 1:
            return zlib.compress(body), "deflate"
        case 2:
            return spoilt_bytes(rng, gzip.compress(body)), "gzip"
        case 3:
            return gzip.compress(gzip.compress(body)), "gzip, gzip"
        case 4:
            return bomb(), "gzip"
        case 5:
            return body, rng.choice(("gzip", "br", "zstd", "identity", "x", "gzip,", "", "*"))
        case _:
            return gzip.compress(body) + gzip.compress(body), "gzip"


def framing(rng: Random, number: int) -> Case:
    """Lengths that lie, chunks that do not add up, two requests at once, a client that leaves."""
    dialect = rng.choice(tuple(PATHS))
    session = session_of(number)
    target = f"/s/{session}{PATHS[dialect]}"
    stream = dialect != "embeddings" and rng.random() < 0.5
    body = json.dumps(request_of(dialect, stream=stream)).encode()
    raw = post(number, target, body)
    leave = rng.choice((Leave.DRAIN, Leave.FIN))
    match rng.randrange(7):
        case 0:  # whole, and the client leaves at once
            leave = rng.choice((Leave.FIN, Leave.RESET))
        case 1:  # cut at any byte
            raw = raw[: rng.randint(0, len(raw))]
            leave = rng.choice((Leave.FIN, Leave.RESET))
        case 2:
            lie = rng.choice((len(body) - 1, len(body) + 1, 0, 2**31, 2**64, -1))
            raw = head(number, "POST", target, (f"content-length: {lie}",)) + body
        case 3:
            raw = head(number, "POST", target, ("transfer-encoding: chunked",))
            raw += _chunked(rng, body)
        case 4:  # the next request comes before the answer
            raw *= rng.randint(2, 4)
        case 5:
            lines = rng.sample(_FRAMING, 2)
            raw = head(number, "POST", target, lines) + rng.choice((body, _chunked(rng, body)))
        case _:
            raw = raw.replace(session.encode(), b"wild")
            return Case(number, spoilt_bytes(rng, raw), leave)
    return Case(number, raw, leave, None, session)


_FRAMING = (
    *("content-length: 5", "content-length: 05", "content-length: +5", "content-length: 5, 5"),
    *("content-length : 5", "content-length: ", "content-length: 0x5", "content-length: 5 "),
    *("transfer-encoding: chunked", "transfer-encoding: chunked, chunked", "te: trailers"),
    *("transfer-encoding: identity", "transfer-encoding: xchunked", "transfer-encoding : chunked"),
    *("Transfer-Encoding: gzip, chunked", "transfer-encoding:\tchunked", " folded: yes"),
    "expect: x",
    *("connection: close, content-length", "connection: host", "upgrade: h2c", "trailer: x-a"),
    *("expect: 100-continue", "connection: upgrade", "upgrade: websocket"),
    "connection: keep-alive",
)


def _chunked(rng: Random, body: bytes) -> bytes:
    made, rest = b"", body
    while rest:
        size = rng.choice((1, 3, 40, 400))
        made += b"%x\r\n%b\r\n" % (len(rest[:size]), rest[:size])
        rest = rest[size:]
    made += rng.choice((b"0\r\n\r\n", b"0\r\n\r\n", b"0\r\nx: y\r\n\r\n", b"0\r\n", b"0\n\n", b""))
    return spoilt_bytes(rng, made, 1) if rng.random() < 0.6 else made


_NAMES = (
    *("x-holdfast-session", "x-holdfast-parent", "x-holdfast-agent", "x-holdfast-budget-usd"),
    *("x-holdfast-steps", "x-holdfast-resume", "x-holdfast-drill", "x-holdfast-", "X-Holdfast-Zzz"),
    *("authorization", "x-api-key", "api-key", "cookie", "proxy-authorization", "baggage"),
    *("traceparent", "tracestate", "x-session-id", "session-id", "session_id", "user-agent"),
    *("x-claude-code-session-id", "x-portkey-metadata", "x-parent-session-id", "x-request-id"),
    *("x-stainless-retry-count", "x-stainless-timeout", "content-type", "content-encoding"),
    *("accept", "accept-encoding", "connection", "keep-alive", "te", "trailer", "upgrade"),
    "expect",
    *("host", "via", "forwarded", "x-forwarded-for", "range", "if-match", "anthropic-beta"),
    "origin",
    *("openai-organization", "idempotency-key", "http2-settings", "proxy-connection", "", "a b"),
    "é",
)
_TEXTS = (
    *("", " ", "0", "1", "-1", "1e999", "NaN", "0.000001", "99999999999999999999999", "true"),
    "null",
    *("s1", "a/b", "../..", "v1", ".", "x" * 129, "x" * 4_000, "x" * 40_000, "run-1", "a:b@c", "*"),
    *("Bearer ", "Bearer k", "Basic !!!", "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "ff-0-0-0"),
    *("session.id=s1,a=b;c", "k=" + "%" * 50, '{"_user": "x"}', '{"a":' * 50, "gzip", "\xff\xfe"),
    "é",
)
_VALUES = (
    *_TEXTS,
    *("websocket", "chunked", "close", "x-case", "100-continue", "\x00", "a\x00b", "a\rb", "a\nb"),
    *("\x7f", "\t", "a\r\n b", "a\r\nx-holdfast-session: s2", "text/event-stream", "bytes=0-1"),
)
_OURS = tuple(name for name in _NAMES if name.startswith(("x-", "session", "user", "bag", "trace")))


def headers(rng: Random, number: int) -> Case:
    """A good body below a head of anything: names, values, counts, folds, and what is no text."""
    dialect = rng.choice(tuple(PATHS))
    stream = dialect != "embeddings" and rng.random() < 0.3
    body = json.dumps(request_of(dialect, stream=stream, text=f"Case {number}.")).encode()
    lines = [f"content-length: {len(body)}"]
    wild = rng.random() < 0.5
    for _ in range(rng.choice((1, 1, 2, 3, 5, 30, 140))):
        name, value = rng.choice(_NAMES if wild else _OURS), rng.choice(_VALUES if wild else _TEXTS)
        value = value[:300] if len(lines) > 6 else value
        lines.append(f"{name}{rng.choice((':', ': ', ' : ')) if wild else ': '}{value}")
    rng.shuffle(lines)
    raw = head(number, "POST", PATHS[dialect], lines) + body
    if rng.random() < 0.15:
        raw = spoilt_bytes(rng, raw[: -len(body)]) + body
    return Case(number, raw, Leave.DRAIN)


_METHODS = (
    *("POST", "POST", "POST", "POST", "GET", "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"),
    *("TRACE", "CONNECT", "post", "QUERY", "PRI", "M-SEARCH", "\xe9", "A" * 300, "", "GE T"),
    "SOURCE",
)
_SEGMENTS = (
    *("s", "a", "r", "v1", "v1", "v1", "chat", "completions", "messages", "responses"),
    "embeddings",
    *("models", "files", "count_tokens", "healthz", "readyz", "metrics", "api", "images"),
    "batches",
    *("x", "run-1", "run-2", "", ".", "..", "%2e", "%2E%2e", "%2F", "%5c", "%00", "%ff", "%"),
    "%zz",
    *("\\", "<b>", "\xe9", "~", ";", "a;b", "V1", "CHAT", "x" * 129, "a@b:c", "*", "?", "#", " "),
)
_STARTS = (
    "/",
    "/",
    "/",
    "/",
    "//",
    "",
    "http://h/",
    "https://evil:1/",
    "*",
    "\\",
    "/%2e/",
    "h:80/",
)
_QUERIES = ("", "", "", "?", "?a=b", "?%00", "?\xff", "?a=b?c#d", "?" + "q" * 3_000, "#x", ";v=1")


def paths(rng: Random, number: int) -> Case:
    """Any method on any target: prefixes, escapes, dots, absolute forms, other versions."""
    text = f"Case {number}."
    body = json.dumps(request_of("chat", text=text) | {"input": text, "prompt": text}).encode()
    if rng.random() < 0.5:
        prefix = rng.choice(("", "/s/run-1", "/s/a/b", "/a/coder", "/a/coder/s/run-1", "/r/run-1"))
        target = prefix + rng.choice(tuple(PATHS.values()))
        if rng.random() < 0.7:
            target = spoilt_bytes(rng, target.encode(), 2).decode("latin-1")
    else:
        target = rng.choice(_STARTS) + "/".join(rng.choices(_SEGMENTS, k=rng.randint(0, 6)))
    target += rng.choice(_QUERIES)
    raw = head(number, rng.choice(_METHODS), target, (f"content-length: {len(body)}",)) + body
    if rng.random() < 0.1:
        version = rng.choice((b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.2", b"http/1.1", b""))
        raw = raw.replace(b"HTTP/1.1", version, 1)
    return Case(number, raw, Leave.DRAIN)
