"""Makes up a value that a JSON Schema allows: arguments for tools, structured answers."""

import re

from proxy.simulator.conversation import listing, mapping, string
from proxy.simulator.tokens import Json

_DEEPEST = 8
_FORMATS = {
    "date": "2026-01-15",
    "date-time": "2026-01-15T12:00:00Z",
    "time": "12:00:00Z",
    "email": "user@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
}


def invent_object(schema: Json, step: int) -> dict[str, object]:
    """Arguments with every required property, or the first one where none is required.

    Free strings and numbers depend on `step`, so that two steps do not ask for the same.
    """
    value = _invent(schema, schema, step, "", 0)
    return value if isinstance(value, dict) else {}


def _invent(schema: Json, root: Json, step: int, name: str, depth: int) -> object:
    schema = _resolved(schema, root)
    allowed = [schema["const"]] if "const" in schema else listing(schema.get("enum"))
    if allowed:
        return allowed[0]
    if branches := _branches(schema):
        return _invent(branches[0], root, step, name, depth + 1)
    match _kind(schema):
        case "object":
            return _object(schema, root, step, depth)
        case "array":
            size = _whole(schema, "minItems", 1) if depth < _DEEPEST else 0
            items = mapping(schema.get("items"))
            return [_invent(items, root, step, name, depth + 1) for _ in range(size)]
        case "integer" | "number":
            return _number(schema, step)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return _string(schema, step, name)


def _branches(schema: Json) -> list[Json]:
    """The alternatives of a schema; null is the last resort."""
    every = [
        mapping(branch)
        for key in ("anyOf", "oneOf", "allOf")
        for branch in listing(schema.get(key))
    ]
    return sorted(every, key=lambda branch: branch.get("type") == "null")


def _resolved(schema: Json, root: Json) -> Json:
    """Follows `#/$defs/…` references, as far as they go."""
    for _ in range(_DEEPEST):
        reference = string(schema.get("$ref"))
        if not reference.startswith("#/"):
            break
        target: Json = root
        for part in reference[2:].split("/"):
            target = mapping(target.get(part))
        schema = target
    return schema


def _kind(schema: Json) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((k for k in kind if k != "null"), "null")
    if kind is None and "properties" in schema:
        return "object"
    return string(kind)


def _object(schema: Json, root: Json, step: int, depth: int) -> dict[str, object]:
    properties = mapping(schema.get("properties"))
    required = [string(name) for name in listing(schema.get("required"))]
    names = [name for name in properties if name in required] or list(properties)[:1]
    if depth >= _DEEPEST:
        return {}
    return {name: _invent(mapping(properties[name]), root, step, name, depth + 1) for name in names}


def _number(schema: Json, step: int) -> int | float:
    lowest = _whole(schema, "minimum", 1)
    highest = schema.get("maximum")
    value = lowest + step
    if isinstance(highest, int | float) and not isinstance(highest, bool) and value > highest:
        return highest
    return value


def _string(schema: Json, step: int, name: str) -> str:
    if made := _FORMATS.get(string(schema.get("format"))):
        return made
    word = re.sub(r"[^A-Za-z0-9]+", " ", name).strip() or "value"
    text = f"{word} {step + 1}"
    text = text.ljust(_whole(schema, "minLength", 0), ".")
    longest = schema.get("maxLength")
    return text[:longest] if isinstance(longest, int) else text


def _whole(schema: Json, key: str, default: int) -> int:
    value = schema.get(key)
    return int(value) if isinstance(value, int | float) else default
