"""One reading of a document by the table of keys: what was found where, and all that is wrong."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Final, Literal, TypeVar, assert_never

from proxy.config.environment import expand
from proxy.config.nodes import Broken, ListNode, MapNode, Node, Scalar
from proxy.config.problems import Path, Place, Problem, key_of

T = TypeVar("T")


class _Invalid(Enum):
    INVALID = "invalid"


INVALID: Final = _Invalid.INVALID
"""Instead of a value, once the reason has been reported."""

Invalid = Literal[_Invalid.INVALID]

_NULL: Final = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLEAN: Final = {word: word.lower() == "true" for word in
                   ("true", "True", "TRUE", "false", "False", "FALSE")}  # fmt: skip
_NUMBER: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,3})?")
_NUMBER_CHARACTERS: Final = 24
"""Fewer digits than a Decimal computes with, so that nothing is ever rounded."""
_SHOWN_CHARACTERS: Final = 60


@dataclass(frozen=True, slots=True)
class Value:
    """A scalar after expansion. is_text: may stand where text is asked for."""

    text: str
    typed: Decimal | bool | str | None
    is_text: bool
    is_expanded: bool


def resolve(text: str) -> Decimal | bool | str | None:
    """A plain scalar by the core schema of YAML 1.2, with every number a Decimal."""
    if text in _NULL:
        return None
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    if len(text) <= _NUMBER_CHARACTERS and _NUMBER.fullmatch(text):
        return Decimal(text)
    return text


class Reading:
    """Collects while the kinds read. values: what was made of each mapping, list item and entry."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.problems: list[Problem] = []
        self.places: dict[Path, Place] = {}
        self.values: dict[Path, object] = {}
        self._env = env

    def value(self, node: Scalar, path: Path) -> Value | Invalid:
        """The scalar's text, expanded and typed."""
        expanded = expand(node.text, self._env)
        if expanded.fault is not None:
            self.report(path, expanded.fault, node.place)
            return INVALID
        text = expanded.text
        typed = resolve(text) if node.plain or expanded.used else text
        return Value(text, typed, expanded.used or isinstance(typed, str), expanded.used)

    def is_set(self, name: str) -> bool:
        """Whether the environment has a value for it."""
        return bool(self._env.get(name))

    def lengths(self, name: str) -> list[int]:
        """Of the keys in a variable of the environment that may hold several."""
        return [len(key) for key in self._env.get(name, "").replace(",", " ").split()]

    def refuse(self, node: Node, path: Path, allowed: str, *, hidden: bool = False) -> Invalid:
        """Reports a value that its key does not take. hidden: it may be a secret."""
        if not isinstance(node, Broken):
            shown = "this value" if hidden and isinstance(node, Scalar) else _shown(node)
            self.report(path, f"{shown} is not valid (allowed: {allowed})", node.place)
        return INVALID

    def report(self, path: Path, message: str, place: Place | None = None) -> None:
        self.problems.append(Problem(place or self.place(path), key_of(path), message))

    def warn(self, path: Path, message: str) -> None:
        self.problems.append(Problem(self.place(path), key_of(path), message, is_warning=True))

    def place(self, path: Path) -> Place:
        """Of a path, or of the nearest thing around it."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places[path]

    def names(self, path: Path) -> list[str]:
        """The keys of a mapping, good or not."""
        return [str(p[-1]) for p in self.places if p and p[:-1] == path]

    def children(self, path: Path, of: type[T]) -> Iterator[tuple[Path, T]]:
        """The good items of a list or entries of a mapping, in order, with their paths."""
        for child, value in self.values.items():
            if child[:-1] == path and child and isinstance(value, of):
                yield child, value


def _shown(node: Scalar | ListNode | MapNode) -> str:
    """The value as the file has it: what it expands to may be a secret."""
    match node:
        case ListNode():
            return "a list"
        case MapNode():
            return "a mapping"
        case Scalar(text=text, plain=plain):
            if plain and resolve(text) is None:
                return "null"
            text = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
            return text if plain and text.isprintable() else json.dumps(text, ensure_ascii=False)
        case _:
            assert_never(node)
