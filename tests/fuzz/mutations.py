"""Ways to spoil something: bytes, JSON by its structure, the lines of a stream.

What JSON cannot say through `json.dumps` (a number of 400 digits, a member given twice) is put in
as a marker, and the marker replaced in the text.
"""

import gzip
import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import cache
from random import Random

from proxy.admin.shapes import Json

_BYTES = (
    *(b"\0", b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\n\n", b" ", b"\t", b":", b",", b'"', b"{"),
    b"}",
    *(b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\x1b[2J", b"\\", b"\\u0000"),
    *(b"-1", b"0", b"null", b"true", b"1e999", b"99999999999999999999", b"%00", b"%2e%2e", b"\x7f"),
)
_RAW = (
    *("1e999", "-1e999", "1" + "0" * 400, "-" + "9" * 30, "0.1e-400", "1.0", "-0", "NaN"),
    *("Infinity", '"\\ud800"', '"\\udfff\\ud800"', '"\\u0000"', "01", "+1", "1.", "'x'"),
    "undefined",
    *("[" * 60 + "]" * 60, "[" * 400 + "]" * 400, '{"a":' * 300 + "1" + "}" * 300, "[" * 9_000),
    *('{"a":1,"a":2}', "9007199254740993", "18446744073709551616", '"' + "x" * 20_000 + '"'),
)
_SCALARS: tuple[Json, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, 10**30, 0.5, 1e308),
    *("", " ", "x", "\0", "é", "\U0001f600", "1", "true", "x" * 3_000),
)
_NESTED: tuple[Json, ...] = (
    [],
    {},
    [[]],
    [None],
    {"": ""},
    {"type": "text"},
    {"type": None},
    [{"type": "text", "text": 1}],
    [0, "a", {}],
)
_VALUES = (*_SCALARS, *_NESTED)
_MARK = "@@%d@@"

Path = tuple[str | int, ...]


@cache
def bomb() -> bytes:
    """Four kilobytes that unpack to four megabytes."""
    return gzip.compress(b"[" + b" " * 4_000_000 + b"]")


def spoilt_bytes(rng: Random, data: bytes, times: int = 3) -> bytes:
    """Some places changed: put in, taken out, flipped, doubled, cut."""
    for _ in range(rng.randint(1, times)):
        at = rng.randint(0, len(data))
        upto = min(len(data), at + rng.choice((0, 1, 1, 2, 8, 64)))
        match rng.randrange(6):
            case 0:
                data = data[:at] + rng.choice(_BYTES) + data[at:]
            case 1:
                data = data[:at] + data[upto:]
            case 2:
                data = data[:at] + rng.randbytes(upto - at) + data[upto:]
            case 3:
                data = data[:upto] + data[at:upto] * rng.choice((1, 2, 30)) + data[upto:]
            case 4:
                data = data[:at] + rng.choice(_BYTES) + data[upto:]
            case _:
                data = data[:at] if rng.random() < 0.3 else data
    return data


def spoilt_json(rng: Random, value: Json) -> bytes:
    """A document with a few members replaced, renamed, doubled, moved or taken away."""
    root: Json = deepcopy(value)
    raw: list[str] = []
    for _ in range(rng.choice((1, 1, 2, 4))):
        places = list(_places(root, ()))
        if places:
            root = _spoil(rng, root, rng.choice(places), places, raw)
    text = json.dumps(root, ensure_ascii=rng.random() < 0.5)
    for number, put in enumerate(raw):
        text = text.replace(json.dumps(_MARK % number), put)
    if rng.random() < 0.05:  # the first member twice
        text = text[0] + text[1:-1] + ", " + text[1:]
    return text.encode("utf-8", "surrogatepass")


def _spoil(rng: Random, root: Json, path: Path, places: Sequence[Path], raw: list[str]) -> Json:
    inner, key = _at(root, path[:-1]), path[-1]
    kind = rng.randrange(6)
    changed = _changed(rng, kind, root, path, places, raw)
    if isinstance(inner, list):
        if kind == 3:
            inner[:] = inner * rng.choice((0, 2, 50))
        else:
            inner[int(key)] = changed
    elif isinstance(inner, dict):
        value = inner.pop(str(key))
        if kind == 5:
            inner[rng.choice(("", str(key).upper(), f"{key}\0", "x" * 2_000))] = value
        elif kind != 4:
            inner[str(key)] = changed
    return root


def _changed(
    rng: Random, kind: int, root: Json, path: Path, places: Sequence[Path], raw: list[str]
) -> Json:
    """What comes in the place of a value."""
    if kind == 0:
        raw.append(rng.choice(_RAW))
        return _MARK % (len(raw) - 1)
    if kind == 1:
        return deepcopy(_at(root, rng.choice(places)))
    if kind == 2:
        return [deepcopy(_at(root, path))]
    return deepcopy(rng.choice(_VALUES))


def _places(value: Json, path: Path) -> list[Path]:
    found: list[Path] = []
    if isinstance(value, dict):
        items: list[tuple[str | int, Json]] = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value[:20]))
    else:
        return found
    for key, inner in items:
        found.append((*path, key))
        found += _places(inner, (*path, key))
    return found


def _at(value: Json, path: Path) -> Json:
    for key in path:
        if isinstance(value, dict):
            value = value[str(key)]
        elif isinstance(value, list):
            value = value[int(key)]
    return value


def spoilt_events(rng: Random, stream: bytes) -> bytes:
    """A stream of events with its lines, its JSON, its line ends or its bytes changed."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        stream = rng.choice(_STREAM_WAYS)(rng, stream)
    return stream


def _lines_moved(rng: Random, stream: bytes) -> bytes:
    lines = stream.split(b"\n")
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(4):
        case 0:
            del lines[at]
        case 1:
            lines[at], lines[other] = lines[other], lines[at]
        case 2:
            lines.insert(other, lines[at])
        case _:
            lines.insert(at, rng.choice(_LINES))
    return b"\n".join(lines)


_LINES = (
    *(b"", b":", b": keep-alive", b"data", b"data:", b"data: ", b"data: [DONE]", b"data: null"),
    *(b"data: {", b"data: []", b"data: 1", b'data: "x"', b"event: error", b"event:", b"id: 7"),
    *(b"retry: 0", b"\xef\xbb\xbf", b"data: \xff", b": " + b"c" * 9_000, b"data: " + b"d" * 90_000),
    *(b'data: {"error": {"message": "x"}}', b'data: {"type": "error"}', b"event: message_stop"),
    b"\0",
)


def _data_spoilt(rng: Random, stream: bytes) -> bytes:
    lines = stream.split(b"\n")
    told = [at for at, line in enumerate(lines) if line.startswith(b"data: {")]
    if not told:
        return stream
    at = rng.choice(told)
    try:
        lines[at] = b"data: " + spoilt_json(rng, json.loads(lines[at][6:]))
    except (ValueError, RecursionError):
        lines[at] = spoilt_bytes(rng, lines[at])
    return b"\n".join(lines)


def _line_ends(rng: Random, stream: bytes) -> bytes:
    return stream.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\n\r", b"\n\n")))


def _cut(rng: Random, stream: bytes) -> bytes:
    return stream[: rng.randint(0, len(stream))]


_STREAM_WAYS: tuple[Callable[[Random, bytes], bytes], ...] = (
    *(_lines_moved, _lines_moved, _data_spoilt, _data_spoilt, _data_spoilt),
    *(_line_ends, _cut, spoilt_bytes),
)
