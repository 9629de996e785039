"""The kinds of single values. Each reads a node and says the same of itself as JSON Schema."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Protocol

from proxy.config.nodes import Node, Scalar
from proxy.config.problems import Path
from proxy.config.reading import INVALID, Reading, Value
from proxy.core.policy import MICRO

Schema = dict[str, object]

MAX_WHOLE: Final = 2**53 - 1
"""Whole numbers beyond it differ between JSON readers."""
MAX_USD: Final = 1_000_000_000
ENVIRONMENT: Final[Schema] = {"$ref": "#/$defs/environment"}
"""A text with a ${NAME} in it, which may become anything."""
NOT_AVAILABLE: Final = "not available in this version"


class Kind(Protocol):
    """What a key takes. `read` returns INVALID once it has reported why."""

    @property
    def allowed(self) -> str:
        """Completes the sentence: allowed are …"""

    def read(self, node: Node, reading: Reading, path: Path) -> object: ...

    def schema(self, default: Node | None) -> Schema:
        """default: what the shipped policy has here."""


def _read(
    kind: Kind,
    convert: Callable[[Value], object],
    node: Node,
    reading: Reading,
    path: Path,
    *,
    hidden: bool = False,
    unbuilt: tuple[str, ...] = (),
) -> object:
    if not isinstance(node, Scalar):
        return reading.refuse(node, path, kind.allowed)
    value = reading.value(node, path)
    if value is INVALID:
        return INVALID
    for start in unbuilt:
        if value.text.startswith(start):
            reading.report(path, f"{start}: {NOT_AVAILABLE} (allowed: {kind.allowed})", node.place)
            return INVALID
    converted = convert(value)
    if converted is INVALID:
        return reading.refuse(node, path, kind.allowed, hidden=hidden)
    return converted


@dataclass(frozen=True, slots=True)
class Number:
    """A number of seconds, or a share."""

    minimum: float = 0
    maximum: float = MAX_WHOLE
    above: bool = False  # the minimum itself is not allowed

    @property
    def allowed(self) -> str:
        return f"a number {_range(self.minimum, self.maximum, above=self.above)}"

    def fits(self, number: Decimal) -> bool:
        if self.above and number <= self.minimum:
            return False
        return self.minimum <= number <= self.maximum

    def read(self, node: Node, reading: Reading, path: Path) -> object:
        return _read(self, self._convert, node, reading, path)

    def _convert(self, value: Value) -> object:
        number = value.typed
        return float(number) if isinstance(number, Decimal) and self.fits(number) else INVALID

    def schema(self, default: Node | None) -> Schema:
        low = "exclusiveMinimum" if self.above else "minimum"
        return _or_environment({"type": "number", low: self.minimum, "maximum": self.maximum})


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number."""

    minimum: int = 0
    maximum: int = MAX_WHOLE

    @property
    def allowed(self) -> str:
        if self.minimum == self.maximum:
            return str(self.minimum)
        return f"a whole number {_range(self.minimum, self.maximum)}"

    def read(self, node: Node, reading: Reading, path: Path) -> object:
        return _read(self, self._convert, node, reading, path)

    def _convert(self, value: Value) -> object:
        number = value.typed
        if not isinstance(number, Decimal) or not self.minimum <= number <= self.maximum:
            return INVALID
        return int(number) if number == number.to_integral_value() else INVALID

    def schema(self, default: Node | None) -> Schema:
        return _or_environment(
            {"type": "integer", "minimum": self.minimum, "maximum": self.maximum}
        )


@dataclass(frozen=True, slots=True)
class Usd:
    """Money in decimal USD, read exactly, as integer micro-USD."""

    @property
    def allowed(self) -> str:
        return f"USD from 0 to {MAX_USD}, with up to 6 decimals"

    def read(self, node: Node, reading: Reading, path: Path) -> object:
        return _read(self, self._convert, node, reading, path)

    def _convert(self, value: Value) -> object:
        number = value.typed
        if not isinstance(number, Decimal) or not 0 <= number <= MAX_USD:
            return INVALID
        micro = number * MICRO
        return int(micro) if micro == micro.to_integral_value() else INVALID

    def schema(self, default: Node | None) -> Schema:
        return _or_environment({"type": "number", "minimum": 0, "maximum": MAX_USD})


@dataclass(frozen=True, slots=True)
class UsdPerMillion:
    """A price, as the decimal text that `PriceOverride` keeps."""

    maximum: int = 1_000_000

    @property
    def allowed(self) -> str:
        return f"USD per million tokens from 0 to {self.maximum}, with up to 6 decimals"

    def read(self, node: Node, reading: Reading, path: Path) -> object:
        return _read(self, self._convert, node, reading, path)

    def _convert(self, value: Value) -> object:
        number = value.typed
        if not isinstance(number, Decimal) or not 0 <= number <= self.maximum:
            return INVALID
        micro = number * MICRO
        return format(number, "f") if micro == micro.to_integral_value() else INVALID

    def schema(self, default: Node | None) -> Schema:
        return _or_environment({"type": "number", "minimum": 0, "maximum": self.maximum})


@dataclass(frozen=True, slots=True)
class Flag:
    """true or false; `yes`, `no`, `on` and `off` are text in YAML 1.2."""

    @property
    def allowed(self) -> str:
        return "true, false"

    def read(self, node: Node, reading: Reading, path: Path) -> object:
        return _read(self, self._convert, node, reading, path)

    def _convert(self, value: Value) -> object:
        return value.typed if isinstance(value.typed, bool) else INVALID

    def schema(self, default: Node | None) -> Schema:
        return _or_environment({"type": "boolean"})


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words. unbuilt: words of the contract whose feature is still to come."""

    words: tuple[str, ...]
    unbuilt: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        return ", ".join(self.words)

    def read(self, node: Node, reading: Reading, path: Path) -> object:
        return _read(self, self._convert, node, reading, path, unbuilt=self.unbuilt)

    def _convert(self, value: Value) -> object:
        return value.text if value.is_text and value.text in self.words else INVALID

    def schema(self, default: Node | None) -> Schema:
        return _or_environment({"enum": list(self.words)})


@dataclass(frozen=True, slots=True)
class Text:
    """Text of a form. `form` says in words what `pattern` says; hidden: never shown again.

    make: what becomes of it. unbuilt: beginnings whose feature is still to come.
    """

    form: str
    pattern: str
    maximum: int = 2048
    hidden: bool = False
    unbuilt: tuple[str, ...] = ()
    make: Callable[[str], object] = str

    @property
    def allowed(self) -> str:
        return self.form

    def read(self, node: Node, reading: Reading, path: Path) -> object:
        return _read(
            self,
            self._convert,
            node,
            reading,
            path,
            hidden=self.hidden,
            unbuilt=self.unbuilt,
        )

    def _convert(self, value: Value) -> object:
        if not value.is_text or len(value.text) > self.maximum:
            return INVALID
        return self.make(value.text) if re.fullmatch(self.pattern, value.text) else INVALID

    def schema(self, default: Node | None) -> Schema:
        text: Schema = {"type": "string", "maxLength": self.maximum}
        return _or_environment({**text, "pattern": f"^(?:{self.pattern})$"})


@dataclass(frozen=True, slots=True)
class Secret:
    """A credential: never shown, and better not written out in the file."""

    maximum: int = 4096

    @property
    def allowed(self) -> str:
        return "printable ASCII without spaces"

    def read(self, node: Node, reading: Reading, path: Path) -> object:
        def convert(value: Value) -> object:
            good = value.is_text and re.fullmatch(r"[!-~]+", value.text)
            if not good or len(value.text) > self.maximum:
                return INVALID
            if not value.is_expanded:
                reading.warn(path, "a key written out; take it from the environment: ${NAME}")
            return value.text

        return _read(self, convert, node, reading, path, hidden=True)

    def schema(self, default: Node | None) -> Schema:
        text: Schema = {"type": "string", "maxLength": self.maximum, "pattern": "^[!-~]+$"}
        return _or_environment(text)


def _or_environment(schema: Schema) -> Schema:
    return {"anyOf": [schema, ENVIRONMENT]}


def _range(low: float, high: float, *, above: bool = False) -> str:
    if high == MAX_WHOLE:
        return f"above {low}" if above else f"of {low} or more"
    return f"above {low}, up to {high}" if above else f"from {low} to {high}"
