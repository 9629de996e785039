"""Reads a script from YAML or JSON, and tells every problem at once with what is allowed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import cast, get_args

from proxy.simulator.control import read_fault
from proxy.simulator.faults import BadFault, Fault
from proxy.simulator.located import Located, Where
from proxy.simulator.script import (
    After,
    Finish,
    Match,
    Price,
    Script,
    ToolCall,
    Turn,
    UsageOverride,
)

_TOP = ("turns", "after", "prices")
_SECONDS = ("latency_seconds", "first_token_seconds", "chunk_gap_seconds")
_COUNTS = ("text_tokens", "chunk_tokens", "step")
_TURN = (
    *("text", "reasoning", "tool_calls", "finish", "usage", "match", "fault", "faults"),
    *_SECONDS,
    *_COUNTS,
)
_USAGE = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)
_MATCH = ("model", "user", "tool", "offers")


@dataclass
class ScriptError(Exception):
    """The file is no script. `problems`: lines `FILE:LINE:COL: key: what is wrong (allowed: …)`."""

    problems: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(self.problems)


def load_script(path: Path) -> Script:
    """Reads a file. Raises ScriptError, OSError."""
    return parse_script(path.read_text(encoding="utf-8"), str(path))


def parse_script(text: str, name: str = "script") -> Script:
    """Reads a text. Raises ScriptError."""
    document = Located.parse(text, name)
    script = Script(()) if document.broken else _Reader(document).script()
    if document.problems:
        raise ScriptError(document.problems)
    return script


class _Reader:
    """Makes values of the script's types; what cannot be is noted in the document."""

    def __init__(self, document: Located) -> None:
        self._document = document

    def script(self) -> Script:
        top = self._object(self._document.value, (), _TOP)
        turns = tuple(
            self._turn(turn, ("turns", index))
            for index, turn in enumerate(self._list(top.get("turns"), ("turns",)))
        )
        if not turns:
            self._problem(("turns",), "needs a list of at least one turn")
        after = self._choice(top.get("after", "last"), ("after",), get_args(After))
        return Script(turns, cast(After, after), self._prices(top.get("prices")))

    def _turn(self, value: object, at: Where) -> Turn:
        turn = self._object(value, at, _TURN)
        seconds = {key: self._number(turn.get(key, 0), (*at, key)) for key in _SECONDS}
        finish = turn.get("finish")
        if finish is not None:
            finish = self._choice(finish, (*at, "finish"), get_args(Finish))
        step = turn.get("step")
        return Turn(
            text=self._text(turn, "text", at),
            text_tokens=self._count(turn.get("text_tokens", 0), (*at, "text_tokens")),
            tool_calls=self._tool_calls(turn, at),
            reasoning=self._text(turn, "reasoning", at),
            finish=cast(Finish | None, finish),
            usage=self._usage(turn.get("usage"), (*at, "usage")),
            chunk_tokens=self._count(turn.get("chunk_tokens", 1), (*at, "chunk_tokens"), 1),
            faults=self._faults(turn, at),
            match=self._match(turn.get("match", {}), (*at, "match")),
            step=None if step is None else self._count(step, (*at, "step")),
            **seconds,
        )

    def _tool_calls(self, turn: Mapping[str, object], at: Where) -> tuple[ToolCall, ...]:
        at = (*at, "tool_calls")
        calls = []
        for index, value in enumerate(self._list(turn.get("tool_calls", []), at)):
            where = (*at, index)
            call = self._object(value, where, ("name", "arguments"))
            arguments = call.get("arguments", {})
            if not isinstance(arguments, dict | str):
                self._problem((*where, "arguments"), "must be a mapping, or a text sent as it is")
                arguments = {}
            name = self._text(call, "name", where)
            if not name:
                self._problem(where, "needs a name")
            calls.append(ToolCall(name, arguments))
        return tuple(calls)

    def _usage(self, value: object, at: Where) -> UsageOverride:
        if value is None:
            return UsageOverride()
        if value == "omit":
            return UsageOverride(omit=True)
        usage = self._object(value, at, _USAGE)
        counts = {key: self._count(count, (*at, key)) for key, count in usage.items()}
        return UsageOverride(
            counts.get("input_tokens"),
            counts.get("output_tokens"),
            counts.get("cache_read_tokens"),
            counts.get("cache_write_tokens"),
            counts.get("reasoning_tokens"),
        )

    def _match(self, value: object, at: Where) -> Match:
        match = self._object(value, at, _MATCH)
        texts = {key: self._text(match, key, at) for key in _MATCH}
        try:
            re.compile(texts["user"])
        except re.error as error:
            self._problem((*at, "user"), f"is no regular expression: {error}")
        return Match(**texts)

    def _faults(self, turn: Mapping[str, object], at: Where) -> tuple[Fault, ...]:
        key = "faults" if "faults" in turn else "fault"
        asked = turn.get(key, [])
        faults: list[Fault] = []
        for one in asked if isinstance(asked, list) else [asked]:
            try:
                faults += read_fault(one)
            except BadFault as error:
                self._problem((*at, key), str(error))
        return tuple(faults)

    def _prices(self, value: object) -> Mapping[str, Price] | None:
        if value is None:
            return None
        at: Where = ("prices",)
        prices = {}
        for glob, entry in self._object(value, at, None).items():
            where = (*at, glob)
            price = self._object(entry, where, ("input", "output"))
            usd = [self._number(price.get(k, 0), (*where, k)) for k in ("input", "output")]
            prices[glob] = Price(*(Decimal(str(amount)) for amount in usd))
        return prices

    def _object(
        self, value: object, at: Where, allowed: tuple[str, ...] | None
    ) -> Mapping[str, object]:
        if not isinstance(value, dict):
            keys = f" (allowed: {', '.join(allowed)})" if allowed else ""
            self._problem(at, f"must be a mapping{keys}")
            return {}
        for key in value:
            if allowed is not None and key not in allowed:
                self._problem((*at, key), f"unknown key (allowed: {', '.join(allowed)})")
        return value

    def _list(self, value: object, at: Where) -> list[object]:
        if isinstance(value, list):
            return value
        if value is not None:
            self._problem(at, "must be a list")
        return []

    def _text(self, holder: Mapping[str, object], key: str, at: Where) -> str:
        value = holder.get(key, "")
        if not isinstance(value, str):
            self._problem((*at, key), f"must be a text, got {value!r}")
            return ""
        return value

    def _number(self, value: object, at: Where) -> float:
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            return value
        self._problem(at, f"must be a number that is not negative, got {value!r}")
        return 0.0

    def _count(self, value: object, at: Where, least: int = 0) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and value >= least:
            return value
        self._problem(at, f"must be a whole number from {least}, got {value!r}")
        return least

    def _choice(self, value: object, at: Where, allowed: tuple[str, ...]) -> str:
        if value not in allowed:
            self._problem(at, f"cannot be {value!r} (allowed: {', '.join(allowed)})")
            return allowed[0]
        return str(value)

    def _problem(self, at: Where, what: str) -> None:
        self._document.problem(at, what)
