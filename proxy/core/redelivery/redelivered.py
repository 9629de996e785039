"""Gives a recorded answer in the form that it is asked for now.

Some clients that met a broken stream ask for the same unstreamed, and stream again when they start
again (Claude Code). Only what is understood whole is converted: an event, a delta or an end that is
not known here makes it none, and the provider is asked.
"""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from proxy.core.contents import RecordedAnswer
from proxy.core.redelivery import chat, messages, responses
from proxy.core.redelivery.events import NotUnderstood
from proxy.core.request import DialectName
from proxy.core.usage import Usage

_WHOLE: Final[Mapping[DialectName, Callable[[bytes], dict[str, object]]]] = {
    "chat": chat.whole,
    "messages": messages.whole,
    "responses": responses.whole,
}
_JSON: Final = "application/json"
_EVENTS: Final = "text/event-stream; charset=utf-8"


def redelivered(
    given: RecordedAnswer, dialect: DialectName, usage: Usage | None, *, include_usage: bool
) -> RecordedAnswer | None:
    """The same answer in the other form; None where it cannot be told for certain. usage: what was
    booked for it. include_usage: whether a stream of chat is to end with it."""
    if any(name.lower() == "content-encoding" for name, _ in given.headers):
        return None
    try:
        if given.stream:
            said = _WHOLE[dialect](given.body)
            if dialect == "chat" and said.get("usage") is None and usage is not None:
                said["usage"] = chat.usage_of(usage)
            body, kind = msgspec.json.encode(said), _JSON
        else:
            body, kind = _streamed(given.body, dialect, include_usage=include_usage), _EVENTS
    except (NotUnderstood, LookupError, TypeError, ValueError, AttributeError, RecursionError):
        return None
    headers = [header for header in given.headers if header[0].lower() != "content-type"]
    return RecordedAnswer(given.status, (*headers, ("content-type", kind)), body, not given.stream)


def _streamed(body: bytes, dialect: DialectName, *, include_usage: bool) -> bytes:
    said = msgspec.json.decode(body, type=dict[str, object])
    match dialect:
        case "chat":
            return chat.streamed(said, include_usage=include_usage)
        case "messages":
            return messages.streamed(said)
        case "responses":
            return responses.streamed(said)
        case _:
            raise NotUnderstood(dialect)
