"""The kinds that hold others: mappings with known keys, mappings with free names, lists."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal

from proxy.config.nodes import Broken, Entry, ListNode, MapNode, Node, Scalar
from proxy.config.problems import Path
from proxy.config.reading import INVALID, Reading, resolve
from proxy.config.scalars import NOT_AVAILABLE, Kind, Schema, Text

_NULL_SCHEMA: Final[Schema] = {"type": "null"}


@dataclass(frozen=True, slots=True)
class Unbuilt:
    """Takes nothing: the contract names the key, but its feature is still to come."""

    @property
    def allowed(self) -> str:
        return "nothing yet"

    def read(self, node: Node, reading: Reading, path: Path) -> object:
        return INVALID

    def schema(self, default: Node | None) -> Schema:
        return {"not": {}}


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of the table of keys.

    field: its name in the value made, where that differs; None: only checked, not kept.
    nullable: null is a value of its own, such as "no limit".
    """

    name: str
    kind: Kind
    about: str
    field: str | None = ""
    nullable: bool = False
    required: bool = False

    @property
    def is_unbuilt(self) -> bool:
        return isinstance(self.kind, Unbuilt)

    @property
    def target(self) -> str | None:
        return self.name if self.field == "" else self.field

    def read(self, entry: Entry, reading: Reading, path: Path) -> object:
        if self.is_unbuilt:
            reading.report(path, NOT_AVAILABLE, entry.key_place)
            return INVALID
        reading.places[path] = entry.value.place
        if self.nullable and is_null(entry.value, reading, path):
            return None
        return self.kind.read(entry.value, reading, path)

    def schema(self, default: Node | None) -> Schema:
        schema = self.kind.schema(default)
        if self.nullable:
            schema = {"anyOf": [schema, _NULL_SCHEMA]}
        described: Schema = {"description": self.about, **schema}
        if isinstance(default, Scalar):
            described["default"] = _json_value(default)
        return described


def _json_value(node: Scalar) -> object:
    value = resolve(node.text) if node.plain else node.text
    if not isinstance(value, Decimal):
        return value
    return int(value) if value == value.to_integral_value() else float(value)


def unbuilt(*names: str) -> tuple[Key, ...]:
    """Keys of the contract that this version does not have."""
    return tuple(Key(name, Unbuilt(), f"{NOT_AVAILABLE}.") for name in names)


class Struct:
    """A mapping whose keys are known; `make` is called with the good ones, by field."""

    def __init__(self, make: Callable[..., object], keys: tuple[Key, ...]) -> None:
        self.keys: Final = keys
        self.make: Final = make
        self._by_name: Final = {key.name: key for key in keys}

    @property
    def allowed(self) -> str:
        return f"a mapping with {', '.join(k.name for k in self.keys if not k.is_unbuilt)}"

    def read(self, node: Node, reading: Reading, path: Path) -> object:
        if not isinstance(node, MapNode):
            return reading.refuse(node, path, self.allowed)
        reading.places.setdefault(path, node.place)
        values: dict[str, object] = {}
        for name, entry in node.entries.items():
            key = self._by_name.get(name)
            if key is None:
                self._unknown(name, entry, reading, path)
                continue
            value = key.read(entry, reading, (*path, name))
            if value is not INVALID and key.target is not None:
                values[key.target] = value
        if not self._is_complete(node, values, reading, path):
            return INVALID
        made = self.make(**values)
        reading.values[path] = made
        return made

    def _is_complete(
        self, node: MapNode, values: Mapping[str, object], reading: Reading, path: Path
    ) -> bool:
        for key in self.keys:
            if key.required and key.name not in node.entries:
                reading.report((*path, key.name), "missing", node.place)
        return all(key.target in values for key in self.keys if key.required)

    def _unknown(self, name: str, entry: Entry, reading: Reading, path: Path) -> None:
        import difflib  # 7 ms that only a typing error should cost

        names = [key.name for key in self.keys if not key.is_unbuilt]
        word = name.lower().replace("-", "_")
        close = difflib.get_close_matches(word, names, n=1)
        close = close or [known for known in names if word and known.startswith(word)]
        hint = f', did you mean "{close[0]}"?' if close else ""
        message = f"unknown key{hint} (allowed: {', '.join(names)})"
        reading.report((*path, name[:60]), message, entry.key_place)

    def schema(self, default: Node | None) -> Schema:
        within = default.entries if isinstance(default, MapNode) else {}
        properties = {
            key.name: key.schema(within[key.name].value if key.name in within else None)
            for key in self.keys
        }
        schema: Schema = {"type": "object", "additionalProperties": False}
        required = [k.name for k in self.keys if k.required and k.name not in within]
        return {**schema, "properties": properties, **({"required": required} if required else {})}


Nulls = Literal["refuse", "drop", "keep"]


@dataclass(frozen=True, slots=True)
class MapOf:
    """A mapping from free names to values of one kind.

    nulls: what a null does: nothing good; takes an entry of the defaults away; is kept.
    """

    names: Text
    kind: Kind
    nulls: Nulls = "refuse"

    @property
    def allowed(self) -> str:
        return f"a mapping from {self.names.allowed} to {self.kind.allowed}"

    def read(self, node: Node, reading: Reading, path: Path) -> object:
        if not isinstance(node, MapNode):
            return reading.refuse(node, path, self.allowed)
        values: dict[object, object] = {}
        for name, entry in node.entries.items():
            child = (*path, name)
            if "${" in name:
                reading.report(child, "the environment is not expanded in keys", entry.key_place)
                continue
            good_name = self.names.read(Scalar(entry.key_place, name, False), reading, child)
            nothing = self.nulls != "refuse" and is_null(entry.value, reading, child)
            if nothing and self.nulls == "drop":
                continue
            reading.places[child] = entry.value.place
            value = None if nothing else self.kind.read(entry.value, reading, child)
            if good_name is not INVALID and value is not INVALID:
                values[good_name] = reading.values[child] = value
        return values

    def schema(self, default: Node | None) -> Schema:
        schema: Schema = {
            "type": "object",
            "propertyNames": {
                "pattern": rf"^(?!.*\$\{{)(?:{self.names.pattern})$",
                "maxLength": self.names.maximum,
            },
            "additionalProperties": self._entry_schema(None),
        }
        if isinstance(default, MapNode) and default.entries:
            schema["properties"] = {
                name: self._entry_schema(entry.value) for name, entry in default.entries.items()
            }
        return schema

    def _entry_schema(self, default: Node | None) -> Schema:
        schema = self.kind.schema(default)
        return schema if self.nulls == "refuse" else {"anyOf": [schema, _NULL_SCHEMA]}


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list of values of one kind."""

    kind: Kind
    least: int = 0

    @property
    def allowed(self) -> str:
        return f"a list of: {self.kind.allowed}"

    def read(self, node: Node, reading: Reading, path: Path) -> object:
        if not isinstance(node, ListNode):
            return reading.refuse(node, path, self.allowed)
        if len(node.items) < self.least:
            reading.report(path, f"too few (allowed: {self.least} or more)", node.place)
        values = []
        for index, item in enumerate(node.items):
            child = (*path, index)
            reading.places[child] = item.place
            value = self.kind.read(item, reading, child)
            if value is not INVALID:
                reading.values[child] = value
                values.append(value)
        return tuple(values)

    def schema(self, default: Node | None) -> Schema:
        return {"type": "array", "items": self.kind.schema(None), "minItems": self.least}


def is_null(node: Node, reading: Reading, path: Path) -> bool:
    """Whether a scalar is null: written so, or expanded to nothing."""
    if isinstance(node, Broken) or not isinstance(node, Scalar):
        return False
    if not node.plain and "${" not in node.text:
        return False
    value = reading.value(node, path)
    return value is not INVALID and value.typed is None
