"""YAML text as nodes that know their place. Types nothing: that is for the table of keys to say.

Stands on the parser's events, not on PyYAML's own composer: that one lets duplicate keys pass,
knows only YAML 1.1 scalars (`no` is false, `12:30:45` is 45045), recurses in C as deep as the text
asks, and lets ten lines of aliases grow into millions of nodes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import yaml

from proxy.config.problems import Path, Place, Problem, key_of

MAX_CHARACTERS: Final = 1024 * 1024
MAX_DEPTH: Final = 32
MAX_NODES: Final = 50_000
"""Nodes of the document, an alias counting as all that it stands for."""

_LOADER: Final = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
_TEXT_TAGS: Final = ("!", "tag:yaml.org,2002:str")


@dataclass(frozen=True, slots=True)
class Scalar:
    """plain: written without quotes, so that its text may be a number, a boolean or null."""

    place: Place
    text: str
    plain: bool


@dataclass(frozen=True, slots=True)
class ListNode:
    place: Place
    items: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Entry:
    key_place: Place
    value: "Node"


@dataclass(frozen=True, slots=True)
class MapNode:
    place: Place
    entries: Mapping[str, Entry]


@dataclass(frozen=True, slots=True)
class Broken:
    """Stands where a problem has already been reported."""

    place: Place


Node = Scalar | ListNode | MapNode | Broken


@dataclass(frozen=True, slots=True)
class Document:
    """problems: all that could be seen without knowing the keys."""

    root: Node
    problems: tuple[Problem, ...] = ()


def compose(text: str, file: str) -> Document:
    """The one document in `text`; never raises. An empty one is an empty mapping."""
    start = Place(file, 1, 1)
    if len(text) > MAX_CHARACTERS:
        message = f"has {len(text)} characters (allowed: up to {MAX_CHARACTERS})"
        return Document(Broken(start), (Problem(Place(file), "", message),))
    composer = _Composer(file)
    try:
        root = composer.document(yaml.parse(text, Loader=_LOADER))
    except _Stop as stop:
        return Document(Broken(start), (*composer.problems, stop.problem))
    except yaml.YAMLError as error:
        return Document(Broken(start), (*composer.problems, _syntax(error, text, file)))
    return Document(root, tuple(composer.problems))


def merge(below: Node, over: Node) -> Node:
    """Mappings merge, key by key and those of `over` first; anything else of `over` replaces."""
    if not isinstance(below, MapNode) or not isinstance(over, MapNode):
        return over
    entries = dict(over.entries)
    for name, entry in below.entries.items():
        upper = entries.get(name)
        if upper is None:
            entries[name] = entry
        else:
            entries[name] = Entry(upper.key_place, merge(entry.value, upper.value))
    return MapNode(over.place, entries)


class _Stop(Exception):
    """A bound was passed: reading on would help nobody."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem


class _Composer:
    """Recursive descent over the events of one document."""

    def __init__(self, file: str) -> None:
        self.problems: list[Problem] = []
        self._file = file
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._open_anchors: set[str] = set()
        self._nodes = 0

    def document(self, events: Iterator[yaml.Event]) -> Node:
        root: Node = MapNode(Place(self._file, 1, 1), {})
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._report(event, (), "a second document (allowed: one in a file)")
                    return root
                first = self._node(next(events), events, ())
                if not (isinstance(first, Scalar) and first.plain and not first.text):
                    root = first
        return root

    def _node(self, event: yaml.Event, events: Iterator[yaml.Event], path: Path) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path)
        self._count(event, 1)
        if len(path) > MAX_DEPTH:
            raise _Stop(self._problem(event, path[:4], f"nested deeper than {MAX_DEPTH} levels"))
        anchor = getattr(event, "anchor", None)
        if anchor is None:
            return self._untold(event, events, path)
        before = self._nodes
        self._open_anchors.add(anchor)
        node = self._untold(event, events, path)
        self._open_anchors.discard(anchor)
        self._anchors[anchor] = (node, self._nodes - before + 1)
        return node

    def _untold(self, event: yaml.Event, events: Iterator[yaml.Event], path: Path) -> Node:
        place = self._place(event)
        if isinstance(event, yaml.ScalarEvent):
            plain = event.tag is None and not event.style
            node: Node = Scalar(place, event.value, plain)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = ListNode(place, self._items(events, path))
        else:
            node = MapNode(place, self._entries(events, path))
        tag = getattr(event, "tag", None)
        if tag is None or (isinstance(node, Scalar) and tag in _TEXT_TAGS):
            return node
        self._report(event, path, "a tag (allowed: none but !!str)")
        return Broken(place)

    def _alias(self, event: yaml.AliasEvent, path: Path) -> Node:
        name = event.anchor
        if name in self._open_anchors:
            self._report(event, path, f"*{name} stands inside what it names")
        elif name not in self._anchors:
            self._report(event, path, f"*{name} names no anchor above it")
        else:
            node, size = self._anchors[name]
            self._count(event, size)
            return node
        return Broken(self._place(event))

    def _items(self, events: Iterator[yaml.Event], path: Path) -> tuple[Node, ...]:
        items: list[Node] = []
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self._node(event, events, (*path, len(items))))
        return tuple(items)

    def _entries(self, events: Iterator[yaml.Event], path: Path) -> Mapping[str, Entry]:
        own: dict[str, Entry] = {}
        inherited: Mapping[str, Entry] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key = self._node(event, events, (*path, "?"))
            name = key.text if isinstance(key, Scalar) else "?"
            value = self._node(next(events), events, (*path, name))
            if not isinstance(key, Scalar):
                self._report(event, path, "a key that is not text")
            elif name in own:
                message = f"given twice, first on line {own[name].key_place.line}"
                self._report(event, (*path, name), message)
            elif name == "<<" and key.plain:
                inherited = {**self._inherited(value, (*path, name)), **inherited}
            else:
                own[name] = Entry(key.place, value)
        return {**own, **{n: e for n, e in inherited.items() if n not in own}}

    def _inherited(self, value: Node, path: Path) -> Mapping[str, Entry]:
        """What a merge key brings in; of several mappings the earlier wins."""
        entries: dict[str, Entry] = {}
        for node in value.items if isinstance(value, ListNode) else (value,):
            if isinstance(node, MapNode):
                entries = {**node.entries, **entries}
            elif not isinstance(node, Broken):
                message = "cannot be merged in (allowed: a mapping, or a list of mappings)"
                self.problems.append(Problem(node.place, key_of(path), message))
        return entries

    def _count(self, event: yaml.Event, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            message = f"more than {MAX_NODES} values, counting what aliases stand for"
            raise _Stop(self._problem(event, (), message))

    def _place(self, event: yaml.Event) -> Place:
        return _marked(getattr(event, "start_mark", None), self._file)

    def _problem(self, event: yaml.Event, path: Path, message: str) -> Problem:
        return Problem(self._place(event), key_of(path), message)

    def _report(self, event: yaml.Event, path: Path, message: str) -> None:
        self.problems.append(self._problem(event, path, message))


def _marked(mark: yaml.Mark | None, file: str) -> Place:
    return Place(file, mark.line + 1, mark.column + 1) if mark else Place(file)


def _syntax(error: yaml.YAMLError, text: str, file: str) -> Problem:
    place = _marked(getattr(error, "problem_mark", None), file)
    if isinstance(error, yaml.reader.ReaderError):  # has no mark, but an offset in UTF-8
        before = text.encode()[: error.position].decode(errors="ignore")
        place = Place(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
    said = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
    return Problem(place, "", f"not YAML: {said}")
