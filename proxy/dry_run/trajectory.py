"""One recorded run as people export it from their traces: a JSON object on a line.

    {"messages": [...], "id"?, "success"?, "model"?, "system"?, "usage"?, "cost"?}

messages: as a client of chat completions or of Anthropic's API sends them, answers included.
success: true or false (1 and 0 will do); anything else is not known. usage: a list, of each answer
in turn or of the message `i` ({"i": 3, "usage": {...}, "cost": 0.01}), as providers report it; or
one object for all. cost: USD for all. Anything else on the line is not looked at.
"""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from proxy.core.dialects.base import Bounds
from proxy.core.dialects.chat import CHAT
from proxy.core.dialects.chat_usage import read_usage
from proxy.core.dialects.messages import MESSAGES
from proxy.core.dialects.messages_answer import read_figures
from proxy.core.dialects.reported import billed_micro_usd
from proxy.core.request import DialectName, Message
from proxy.core.usage import Usage
from proxy.errors import MalformedRequest

BOUNDS: Final = Bounds(values=20_000_000)
"""Of one run: what a proxy reads in many requests stands here at once."""

_MOST_NAME: Final = 200
_ABSENT: Final = msgspec.Raw()
_BLOCKS: Final = re.compile(rb'"type"\s*:\s*"tool_(?:use|result)"')
"""What only Anthropic's form has; inside a text its quotes would be escaped."""


class Trajectory(msgspec.Struct, frozen=True):
    """A line, as far as it was read.

    spent: of each answer, by the place of its message where the line says it, else in their order.
    total, cost_micro_usd: of all answers together, where the line says no more."""

    name: str | None
    model: str
    success: bool | None
    dialect: DialectName
    messages: tuple[Message, ...]
    spent: tuple["Spent", ...]
    total: Usage | None
    cost_micro_usd: int | None


class Spent(msgspec.Struct, frozen=True):
    """What one answer came to, as far as the line says. at: which message it is."""

    usage: Usage | None
    cost_micro_usd: int | None = None
    at: int | None = None


class _Line(msgspec.Struct):
    messages: msgspec.Raw
    id: object = None
    model: object = None
    success: object = None
    system: msgspec.Raw = _ABSENT
    usage: msgspec.Raw = _ABSENT
    cost: object = None


class _Entry(msgspec.Struct):
    usage: msgspec.Raw = _ABSENT
    cost: object = None
    i: int | None = None


_LINE = msgspec.json.Decoder(_Line)
_RAWS = msgspec.json.Decoder(list[msgspec.Raw])
_ENTRY = msgspec.json.Decoder(_Entry)


def read_trajectory(line: bytes) -> Trajectory:
    """One line. Raises MalformedRequest, saying what is wrong with it."""
    try:
        found = _LINE.decode(line.decode())
    except UnicodeDecodeError as error:
        raise MalformedRequest(f"not UTF-8 at byte {error.start}") from error
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(_said(error)) from error
    dialect, messages = _messages(found)
    spent = _spent(found.usage)
    return Trajectory(
        name=_name(found.id),
        model=found.model[:_MOST_NAME] if isinstance(found.model, str) else "",
        success=_flag(found.success),
        dialect=dialect,
        messages=messages,
        spent=spent,
        total=None if spent else _usage(found.usage),
        cost_micro_usd=_usd(found.cost),
    )


def _messages(found: _Line) -> tuple[DialectName, tuple[Message, ...]]:
    raw = bytes(found.messages)
    if _BLOCKS.search(raw) or memoryview(found.system):
        system = bytes(found.system) or b'""'
        body = b'{"model":"-","max_tokens":1,"system":%b,"messages":%b}' % (system, raw)
        return "messages", MESSAGES.parse(body, BOUNDS).messages
    return "chat", CHAT.parse(b'{"model":"-","messages":%b}' % raw, BOUNDS).messages


def _spent(raw: msgspec.Raw) -> tuple[Spent, ...]:
    """Nothing where it is no list of such: then it is as if it had not been there."""
    if not memoryview(raw):
        return ()
    try:
        return tuple([_entry(one) for one in _RAWS.decode(raw)])
    except (ValueError, RecursionError):
        return ()


def _entry(raw: msgspec.Raw) -> Spent:
    entry = _ENTRY.decode(raw)
    if not memoryview(entry.usage):
        return Spent(_usage(raw), _usd(entry.cost), entry.i)
    usage = _usage(entry.usage)
    billed = None if usage is None else usage.billed_cost_micro_usd
    return Spent(usage, _usd(entry.cost) if billed is None else billed, entry.i)


def _usage(raw: msgspec.Raw) -> Usage | None:
    if not memoryview(raw):
        return None
    usage = read_usage(raw)
    return read_figures(raw).usage() if usage is None else usage


def _usd(value: object) -> int | None:
    """Nought is what tools write who know no price: unknown."""
    micro = billed_micro_usd(value) if isinstance(value, int | float) else None
    return micro or None


def _flag(value: object) -> bool | None:
    return bool(value) if value in (0, 1) and isinstance(value, bool | int | float) else None


def _name(value: object) -> str | None:
    return str(value)[:_MOST_NAME] if isinstance(value, str | int) else None


def _said(error: Exception) -> str:
    """msgspec's words, as a reader of the file would say them."""
    if isinstance(error, msgspec.ValidationError):
        said = str(error).replace("Object missing", "missing").replace("`", '"')
        return said[:1].lower() + said[1:]
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return f"not JSON: {error}"


def steps_of(messages: Sequence[Message]) -> list[int]:
    """Where the model's own answers are: a greeting before anything was asked is not one."""
    asked = False
    steps: list[int] = []
    for at, message in enumerate(messages):
        if message.role == "assistant":
            if asked:
                steps.append(at)
        elif message.role != "system":
            asked = True
    return steps
