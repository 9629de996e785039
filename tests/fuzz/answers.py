"""What providers do: heads, framing, compression, figures, streams spoilt in every way."""

import gzip
import json
import zlib
from random import Random

from proxy.core.request import DialectName
from tests.fakes_wire import End, chunk
from tests.fuzz.cases import Case, Leave, Plan, post, session_of
from tests.fuzz.mutations import bomb, spoilt_bytes, spoilt_events, spoilt_json
from tests.fuzz.seeds import (
    INPUT_TOKENS,
    OUTPUT_WORDS,
    PATHS,
    honest_answer,
    honest_events,
    request_of,
    seeds,
)

_OK = "200 OK"
_STREAM, _JSON = "text/event-stream", "application/json"


def _asked(rng: Random, number: int, dialect: DialectName, stream: bool, model: str = "m") -> bytes:
    request = request_of(dialect, stream=stream) | {"model": model}
    if stream and dialect in ("chat", "completions") and rng.random() < 0.5:
        request["stream_options"] = {"include_usage": True}
    return post(number, f"/s/{session_of(number)}{PATHS[dialect]}", json.dumps(request).encode())


def _head(status: str, *lines: str) -> bytes:
    return "\r\n".join((f"HTTP/1.1 {status}", "x-up: 1", *lines, "", "")).encode("latin-1")


def _framed(rng: Random, body: bytes, *lines: str, status: str = _OK) -> bytes:
    """A whole answer in one of the two framings."""
    if rng.random() < 0.5:
        return _head(status, f"content-length: {len(body)}", *lines) + body
    return _head(status, "transfer-encoding: chunked", *lines) + _chunks(rng, body) + chunk(b"")


def body_of(raw: bytes) -> bytes:
    """The body of an answer that was made by `_framed`, as far as it goes."""
    head, _, rest = raw.partition(b"\r\n\r\n")
    if b"chunked" not in head:
        return rest
    body = b""
    while size := int(rest.partition(b"\r\n")[0] or b"0", 16) if b"\r\n" in rest else 0:
        data = rest.partition(b"\r\n")[2]
        body += data[:size]
        rest = data[size + 2 :]
    return body


def _chunks(rng: Random, body: bytes) -> bytes:
    size = rng.choice((7, 60, 900, 50_000))
    return b"".join(chunk(body[at : at + size]) for at in range(0, len(body), size))


def _segments(rng: Random, raw: bytes) -> list[bytes | float | End]:
    """Sent in a few pieces, some of them late."""
    steps: list[bytes | float | End] = []
    for _ in range(rng.choice((0, 0, 1, 3))):
        at = rng.randint(0, len(raw))
        steps += [raw[:at], rng.choice((0.0, 0.001, 0.01))]
        raw = raw[at:]
    return [*steps, raw]


def streams(rng: Random, number: int) -> Case:
    """A recorded or made stream with its events spoilt, whole in its framing, or cut."""
    told = [seed for seed in seeds() if seed.stream]
    seed = rng.choice(told)
    body = spoilt_events(rng, seed.answer)
    raw = _framed(rng, body, f"content-type: {_STREAM}")
    ends: tuple[End, ...] = ()
    if rng.random() < 0.3:
        raw = raw[: rng.randint(0, len(raw))]
        ends = (rng.choice((End.CLOSE, End.RESET)),)
    return Case(
        number,
        _asked(rng, number, seed.dialect, stream=True),
        dialect=seed.dialect,
        session=session_of(number),
        plan=[*_segments(rng, raw), *ends],
        said=body_of(raw),
        all_came=End.RESET not in ends,
    )


def answers(rng: Random, number: int) -> Case:
    """Everything else that a provider may get wrong, or do to us."""
    dialect = rng.choice(tuple(PATHS))
    stream = dialect != "embeddings" and rng.random() < 0.5
    if rng.random() < 0.03:
        asked = _asked(rng, number, dialect, stream, "nobody")
        return Case(number, asked, Leave.WAIT, dialect, session_of(number), plan=())
    asked = _asked(rng, number, dialect, stream)
    ends, billed = True, 0
    kind = rng.random()
    if kind < 0.25:
        plan, ends, billed = _cut(rng, dialect, stream)
    elif kind < 0.3:
        plan, billed = _unmetered(rng, dialect, stream)
    else:
        plan = rng.choice(_ATTACKS)(rng, dialect, stream)
    leave = Leave.RESET if rng.random() < 0.03 else Leave.WAIT
    session = session_of(number)
    return Case(number, asked, leave, dialect, session, plan, ends, billed)


def _whole(rng: Random, dialect: DialectName, stream: bool) -> bytes:
    if stream:
        return _framed(rng, b"".join(honest_events(dialect)), f"content-type: {_STREAM}")
    return _framed(rng, honest_answer(dialect), f"content-type: {_JSON}")


def _cut(rng: Random, dialect: DialectName, stream: bool) -> tuple[Plan, bool, int]:
    """Cut at any byte. What had been said by then is billed."""
    raw = _whole(rng, dialect, stream)
    at = rng.randrange(len(raw))
    begun = raw.index(b"\r\n\r\n") + 4
    words = raw[:at].count(b"word ") if stream else OUTPUT_WORDS
    words = 0 if dialect == "embeddings" else words
    billed = INPUT_TOKENS + 2 * words if at >= begun else INPUT_TOKENS
    ends = at >= raw.rindex(b"}")
    return [*_segments(rng, raw[:at]), rng.choice((End.CLOSE, End.RESET))], ends, billed


def _unmetered(rng: Random, dialect: DialectName, stream: bool) -> tuple[Plan, int]:
    """A whole answer that says nothing of what it is billed."""
    raw = _whole(rng, dialect, stream).replace(b'"usage"', b'"image"')
    return _segments(rng, raw), INPUT_TOKENS + (0 if dialect == "embeddings" else 2 * OUTPUT_WORDS)


def _spoilt(rng: Random, dialect: DialectName, stream: bool) -> Plan:
    return [*_segments(rng, spoilt_bytes(rng, _whole(rng, dialect, stream))), End.CLOSE]


def _noise(rng: Random, dialect: DialectName, stream: bool) -> Plan:
    return [rng.randbytes(rng.choice((0, 1, 20, 3_000))), rng.choice((End.CLOSE, End.RESET))]


def _statuses(rng: Random, dialect: DialectName, stream: bool) -> Plan:
    status = rng.choice(
        (*range(199, 210), *range(300, 309), *range(400, 452), *range(500, 512), 999)
    )
    bare = status in (204, 304)
    body = rng.choice(
        (b"", b"{}", b"<html>", b'{"error": {"message": "x"}}', honest_answer(dialect))
    )
    kind = rng.choice((_JSON, "text/html", _STREAM, ""))
    lines = [f"content-type: {kind}", *rng.sample(_ERROR_LINES, 2)]
    if bare:
        return [_head(f"{status} X", *lines) + rng.choice((b"", b"x"))]
    return _segments(rng, _framed(rng, body, *lines, status=f"{status} X"))


_ERROR_LINES = (
    *("retry-after: 1", "retry-after: -1", "retry-after: x", "x-should-retry: true", "location: /"),
    *("x-ratelimit-reset-requests: 1e99", "set-cookie: a=b", "connection: close", "date: never"),
)


def _framings(rng: Random, dialect: DialectName, stream: bool) -> Plan:
    body = b"".join(honest_events(dialect)) if stream else honest_answer(dialect)
    lines = rng.sample(_FRAMINGS, rng.randint(1, 2))
    lines = [line.replace("N", str(len(body))) for line in lines]
    sent = rng.choice(
        (body, _chunks(rng, body) + chunk(b""), spoilt_bytes(rng, _chunks(rng, body)))
    )
    kind = f"content-type: {_STREAM if stream else _JSON}"
    return [*_segments(rng, _head(_OK, kind, *lines) + sent), rng.choice((End.CLOSE, End.RESET))]


_FRAMINGS = (
    *("content-length: N", "content-length: 5", "content-length: 999999", "content-length: -1"),
    *("content-length: N, N", "content-length: 99999999999999999999", "content-length: 0"),
    *("transfer-encoding: chunked", "transfer-encoding: gzip, chunked", "content-length : N"),
    *("transfer-encoding: chunked, identity", "trailer: x", "x: y\r\n folded", "connection: close"),
    *("a: b\nc: d", "no colon", "\x00: x", "x: \x00", "connection: upgrade", "upgrade: websocket"),
)


def _interim(rng: Random, dialect: DialectName, stream: bool) -> Plan:
    one = rng.choice((b"100 Continue", b"102 Processing", b"103 Early Hints\r\nlink: x", b"199 X"))
    flood = b"HTTP/1.1 %b\r\n\r\n" % one
    if rng.random() < 0.1:
        return [b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\nabc", End.CLOSE]
    return [flood * rng.choice((1, 3, 50, 4_000)), _whole(rng, dialect, stream), End.CLOSE]


def _packed(rng: Random, dialect: DialectName, stream: bool) -> Plan:
    body = b"".join(honest_events(dialect)) if stream else honest_answer(dialect)
    zipped = gzip.compress(body)
    packed, coding = rng.choice(
        (
            (zipped, "gzip"),
            (zlib.compress(body), "deflate"),
            (zipped[:-9], "gzip"),
            (spoilt_bytes(rng, zipped), "gzip"),
            (bomb(), "gzip"),
            (body, "gzip"),
            (body, "br"),
            (zipped, "identity"),
            (gzip.compress(zipped), "gzip, gzip"),
        )
    )
    kind = f"content-type: {_STREAM if stream else _JSON}"
    return _segments(rng, _framed(rng, packed, kind, f"content-encoding: {coding}"))


def _endless(rng: Random, dialect: DialectName, stream: bool) -> Plan:
    """More than any bound of the policy: a header, a line, a body, events without content."""
    size = 400_000
    kind = f"content-type: {_STREAM if stream else _JSON}"
    body = _head(_OK, kind, "transfer-encoding: chunked")
    match rng.randrange(5):
        case 0:
            return [b"HTTP/1.1 200 OK\r\nx: " + b"y" * size]
        case 1:
            return [b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * (size // 6)]
        case 2:
            return [body + chunk(b"data: " + b"x" * size), End.CLOSE]
        case 3:
            return [body + chunk(b": c\n\n" * 9_000) * 9, End.CLOSE]
        case _:
            return [body + b"1;" + b"x" * size, End.CLOSE]


def _kinds(rng: Random, dialect: DialectName, stream: bool) -> Plan:
    """Not of the type that was asked for, or that it says it is."""
    body = rng.choice((honest_answer(dialect), b"".join(honest_events(dialect)), b"", b"<html>"))
    kind = rng.choice(
        (_STREAM, _JSON, "", "text/event-stream;charset=x", "TEXT/EVENT-STREAM", "\xff")
    )
    return _segments(rng, _framed(rng, body, f"content-type: {kind}"))


def _figures(rng: Random, dialect: DialectName, stream: bool) -> Plan:
    """Usage that no model could have had."""
    absurd = rng.choice(_ABSURD)
    body = b"".join(honest_events(dialect)) if stream else honest_answer(dialect)
    for honest in rng.choice(((b": 7",), (b": 3",), (b": 7", b": 3"))):
        body = body.replace(honest, b": " + absurd)
    if rng.random() < 0.3 and not stream:
        body = spoilt_json(rng, json.loads(honest_answer(dialect)))
    return _segments(rng, _framed(rng, body, f"content-type: {_STREAM if stream else _JSON}"))


_ABSURD = (
    *(b"-1", b"0", b"1e3", b"1.5", b"1e400", b"2147483648", b"9007199254740993", b"null", b"true"),
    *(b"9223372036854775807", b"9223372036854775808", b"1" + b"0" * 300, b'"7"', b"{}", b"[7]"),
    *(b"1000000000000", b"NaN", b'{"cached_tokens": 9}', b"-9223372036854775809"),
)


def _more(rng: Random, dialect: DialectName, stream: bool) -> Plan:
    """Bytes after the end, another answer, an answer to nobody."""
    raw = _whole(rng, dialect, stream)
    extra = rng.choice(
        (b"x", b"\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx", raw, b"\0" * 9)
    )
    late = rng.choice((0.0, 0.001, 0.02))
    return [raw, late, extra] if rng.random() < 0.6 else [raw + extra]


def _silence(rng: Random, dialect: DialectName, stream: bool) -> Plan:
    """Stalls somewhere: one case in ten only, for it takes a time-out."""
    if rng.random() < 0.9:
        return _spoilt(rng, dialect, stream)
    raw = _whole(rng, dialect, stream)
    return [raw[: rng.randrange(len(raw))], End.HOLD]


_ATTACKS = (
    *(_spoilt, _spoilt, _noise, _statuses, _framings, _interim, _packed, _endless, _kinds),
    *(_figures, _figures, _more, _silence),
)
