"""Server-sent events, read strictly: an end in the middle of an event is seen, and so is an
unreadable line. Shares no code with the proxy."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from proxy.admin.shapes import Json

Fields = Mapping[str, Json]
"""A JSON object."""
_FIELDS = ("event", "data", "id", "retry")


class Broken(Exception):
    """Not what this dialect may say; the text says why."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One event. data: what it holds, None for `[DONE]`."""

    event: str
    data: Fields | None


def frames(body: bytes, *, garbage: int = 0) -> list[Frame]:
    """All events of a stream; so many unreadable ones may be among them. Raises Broken."""
    text = body.decode().replace("\r\n", "\n")
    if not text.endswith("\n\n"):
        raise Broken(f"ends inside an event: {text[-40:]!r}")
    read = []
    for block in text[:-2].split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if not lines:
            continue
        try:
            read.append(_frame(lines))
        except ValueError as error:
            garbage -= 1
            if garbage < 0:
                raise Broken(f"an unreadable event: {block[:60]!r}") from error
    return read


def _frame(lines: list[str]) -> Frame:
    fields: dict[str, list[str]] = {}
    for line in lines:
        name, found, value = line.partition(":")
        if not found or name not in _FIELDS:
            raise ValueError(line)
        fields.setdefault(name, []).append(value.removeprefix(" "))
    data = "\n".join(fields.get("data", []))
    event = "".join(fields.get("event", []))
    if data == "[DONE]":
        return Frame(event, None)
    decoded = json.loads(data)
    if not isinstance(decoded, dict):
        raise ValueError(data)
    return Frame(event, decoded)


def members(value: object) -> Fields:
    """A JSON object. Raises Broken."""
    if not isinstance(value, dict):
        raise Broken(f"no object: {value!r:.60}")
    return value


def entries(value: Json) -> list[Json]:
    """A JSON array. Raises Broken."""
    if not isinstance(value, list):
        raise Broken(f"no array: {value!r:.60}")
    return value


def text(value: Json) -> str:
    """A JSON string. Raises Broken."""
    if not isinstance(value, str):
        raise Broken(f"no text: {value!r:.60}")
    return value


def number(value: Json) -> int:
    """A whole number. Raises Broken."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise Broken(f"no number: {value!r:.60}")
    return value


def must(holds: bool, why: str) -> None:
    """Raises Broken where it does not."""
    if not holds:
        raise Broken(why)
