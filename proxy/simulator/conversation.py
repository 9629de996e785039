"""What a request says, whatever its dialect: the view that scripts choose by and bills count."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from proxy.simulator.tokens import Json

Dialect = Literal["chat", "responses", "messages", "completions", "embeddings"]
Role = Literal["system", "user", "assistant", "tool"]


@dataclass
class Rejected(Exception):
    """The request is one that the real provider answers with an error."""

    message: str
    param: str | None = None
    code: str | None = None
    status: int = 400
    type: str = "invalid_request_error"


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool on offer; `parameters` is its JSON Schema."""

    name: str
    parameters: Json


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of the history. `calls` are (id, name) pairs; `answers` the id of a result."""

    role: Role
    text: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    answers: str = ""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A request, read.

    step: assistant turns since the last user message. user: the text of that message. last_tool:
    the tool whose result ends the history, or "". tool_choice: auto, none, required or a tool's
    name. parts: what is billed as input, in order. schema: the JSON Schema the answer must have.
    thinks: False where the request leaves no room for reasoning.
    """

    dialect: Dialect
    model: str
    step: int = 0
    user: str = ""
    last_tool: str = ""
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    stream: bool = False
    max_output_tokens: int | None = None
    choices: int = 1
    parts: tuple[object, ...] = ()
    schema: Json | None = None
    thinks: bool = True
    body: Json | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """Where in a conversation a history stands."""

    step: int
    user: str
    last_tool: str


def position(items: Sequence[Item]) -> Position:
    """Counts assistant turns since the last user message; a run of assistant items is one turn."""
    start = max((i for i, item in enumerate(items) if item.role == "user"), default=-1)
    tail = items[start + 1 :]
    step = sum(
        1
        for i, item in enumerate(tail)
        if item.role == "assistant" and (i == 0 or tail[i - 1].role != "assistant")
    )
    user = items[start].text if start >= 0 else ""
    return Position(step, user, _last_tool(items))


def _last_tool(items: Sequence[Item]) -> str:
    if not items or items[-1].role != "tool":
        return ""
    names = {call_id: name for item in items for call_id, name in item.calls}
    return names.get(items[-1].answers, "")


def mapping(value: object) -> Json:
    """The value if it is a JSON object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def listing(value: object) -> Sequence[object]:
    """The value if it is a JSON array, else an empty one."""
    return value if isinstance(value, list) else ()


def string(value: object) -> str:
    """The value if it is a string, else an empty one."""
    return value if isinstance(value, str) else ""


def text_of(content: object) -> str:
    """The text of a content field: a string, or the texts of a list of parts."""
    if isinstance(content, str):
        return content
    return "\n".join(_texts(listing(content)))


def _texts(parts: Iterable[object]) -> Iterable[str]:
    for part in parts:
        text = mapping(part).get("text")
        if isinstance(text, str):
            yield text


def bound(body: Json, name: str, minimum: int = 1) -> int | None:
    """An optional output bound. Raises Rejected as OpenAI does for one that is no positive int."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise Rejected(
            f"Invalid type for '{name}': expected an integer, but got {kind_of(value)} instead.",
            name,
            "invalid_type",
        )
    if value < minimum:
        raise Rejected(
            f"Invalid '{name}': integer below minimum value. "
            f"Expected a value >= {minimum}, but got {value} instead.",
            name,
            "integer_below_min_value",
        )
    return value


def kind_of(value: object) -> str:
    """The JSON type of a value, as OpenAI's error messages name it."""
    names: tuple[tuple[type, str], ...] = (
        (bool, "a boolean"),
        (str, "a string"),
        (int, "an integer"),
        (float, "a decimal"),
        (list, "an array"),
        (Mapping, "an object"),
    )
    return next((name for kind, name in names if isinstance(value, kind)), "null")
