"""The events of a recorded stream, and the members of what they say."""

from collections.abc import Iterator
from typing import Final

import msgspec

from proxy.core.sse import SseSplitter

Json = dict[str, object]

_DONE: Final = b"[DONE]"


class NotUnderstood(Exception):
    """An answer says something that is not known here. What is malformed may raise LookupError,
    TypeError, AttributeError or ValueError instead; `redelivered` takes all of them for the same.
    """


def events_of(body: bytes) -> Iterator[Json]:
    """What each says; comments and the `[DONE]` of OpenAI say nothing. Raises ValueError."""
    splitter = SseSplitter(len(body) + 1)
    events = splitter.feed(body)
    if (rest := splitter.close()) is not None:
        events.append(rest)
    for event in events:
        if event.data and event.data != _DONE:
            yield msgspec.json.decode(event.data, type=Json)


def member(said: Json, name: str) -> Json:
    """An object of it, to be changed. Raises NotUnderstood."""
    found = said.get(name)
    if not isinstance(found, dict):
        raise NotUnderstood(name)
    return found


def listed(said: Json, name: str) -> list[Json]:
    """A list of objects; none where there is none. Raises NotUnderstood."""
    found = said.get(name)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise NotUnderstood(name)
    return found


def text_of(said: Json, name: str) -> str:
    """Raises NotUnderstood where it is none; "" where there is none."""
    found = said.get(name)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise NotUnderstood(name)
    return found


def only(said: Json, *names: str) -> None:
    """Raises NotUnderstood where it says more than these, but for what is nothing."""
    for name, value in said.items():
        if name not in names and value is not None:
            raise NotUnderstood(name)
