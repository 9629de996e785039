"""YAML or JSON as plain values that know the line and column where each of them stands.

Read through PyYAML's nodes: after construction marks are lost and duplicate keys have vanished, and
`no` or `12:30:45` would not be the texts that YAML 1.2 says they are.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

Where = tuple[str | int, ...]

_INTEGER = re.compile(r"[-+]?[0-9]+")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_WORDS: dict[str, object] = {"": None, "~": None, "null": None, "true": True, "false": False}


@dataclass
class Located:
    """A document being checked: its value, where everything is, and what is wrong with it."""

    name: str
    value: object = None
    broken: bool = False
    _found: list[tuple[int, int, str]] = field(default_factory=list)
    _marks: dict[Where, tuple[int, int]] = field(default_factory=dict)

    @staticmethod
    def parse(text: str, name: str) -> "Located":
        """Reads a text; one that is no YAML has that as its only problem, and is `broken`."""
        document = Located(name)
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            at = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            document._marks[()] = at
            document.problem((), f"neither YAML nor JSON: {error.problem}")
            document.broken = True
        else:
            document.value = None if node is None else document._plain(node, ())
        return document

    def problem(self, where: Where, what: str) -> None:
        """Notes what is wrong with the value at a place."""
        line, column = self._mark(where)
        key = ".".join(str(part) for part in where)
        told = f"{self.name}:{line}:{column}: {key + ': ' if key else ''}{what}"
        self._found.append((line, column, told))

    @property
    def problems(self) -> tuple[str, ...]:
        """All of them, in the order of the text: `FILE:LINE:COL: key: what is wrong`."""
        return tuple(told for _, _, told in sorted(self._found))

    def _mark(self, where: Where) -> tuple[int, int]:
        while where and where not in self._marks:
            where = where[:-1]
        return self._marks.get(where, (1, 1))

    def _plain(self, node: yaml.Node, where: Where) -> object:
        self._marks.setdefault(where, (node.start_mark.line + 1, node.start_mark.column + 1))
        if isinstance(node, yaml.MappingNode):
            return dict(self._pairs(node, where))
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(item, (*where, index)) for index, item in enumerate(node.value)]
        return _scalar(node)

    def _pairs(self, node: yaml.MappingNode, where: Where) -> Iterator[tuple[str, object]]:
        seen: set[str] = set()
        for key_node, value_node in node.value:
            key = str(key_node.value)
            at = (*where, key)
            mark = key_node.start_mark
            self._marks[at] = (mark.line + 1, mark.column + 1)
            if key in seen:
                self.problem(at, "stands here twice")
            seen.add(key)
            yield key, self._plain(value_node, at)


def _scalar(node: yaml.Node) -> object:
    text = str(node.value)
    if isinstance(node, yaml.ScalarNode) and node.style in ("'", '"', "|", ">"):
        return text
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text
