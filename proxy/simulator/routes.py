"""Which endpoint a path names. Any prefix is accepted, and `/v1` may be missing or doubled."""

import re
from dataclasses import dataclass
from typing import Literal

from proxy.simulator.conversation import Dialect

Kind = Literal["call", "count", "models", "response", "conversations"]

_POST = re.compile(
    r"^.*?/(chat/completions|messages/count_tokens|messages|responses|completions"
    r"|embeddings|conversations)$"
)
_READ = re.compile(r"^.*?/(models|responses)(?:/(.+))?$")
_CALLS: dict[str, Dialect] = {
    "chat/completions": "chat",
    "responses": "responses",
    "messages": "messages",
    "completions": "completions",
    "embeddings": "embeddings",
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What is asked for. `argument`: the id behind `/models/` or `/responses/`."""

    kind: Kind
    dialect: Dialect
    argument: str = ""


def resolve(method: str, path: str) -> Endpoint | None:
    """The endpoint, or None where there is none."""
    if method == "POST":
        found = _POST.match(path)
        return None if found is None else _to_post(found[1])
    found = _READ.match(path) if method in ("GET", "DELETE") else None
    if found is None:
        return None
    name, argument = found[1], found[2] or ""
    if name == "models":
        return Endpoint("models", "chat", argument) if method == "GET" else None
    return Endpoint("response", "responses", argument) if argument else None


def _to_post(name: str) -> Endpoint:
    if name == "messages/count_tokens":
        return Endpoint("count", "messages")
    if name == "conversations":
        return Endpoint("conversations", "responses")
    return Endpoint("call", _CALLS[name])
