"""What an answer comes to, by the rules of its dialect: whole, an error, or neither.

Strict where clients are lenient: who takes half an answer for a whole one runs half a tool call.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from proxy.admin.shapes import Json
from proxy.core.request import DialectName
from tests.faults.frames import Broken, Frame, frames, members, must, text
from tests.faults.reading_chat import ChatReader
from tests.faults.reading_messages import MessagesReader
from tests.faults.reading_responses import ResponsesReader
from tests.faults.said import Failed, Reader, Said

Ending = Literal["answer", "error", "stream error", "broken"]


@dataclass(frozen=True, slots=True)
class Got:
    """What came over the wire. cut: the connection ended before the answer did."""

    status: int
    content_type: str
    body: bytes
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Read:
    """How an answer ended. said: of an answer, or of a stream until its error. message: of an
    error, or why it is broken."""

    ending: Ending
    said: Said = field(default_factory=Said)
    message: str = ""
    code: str = ""


READERS: Mapping[DialectName, type[Reader]] = {
    "chat": ChatReader,
    "messages": MessagesReader,
    "responses": ResponsesReader,
}


def read(
    dialect: DialectName, stream: bool, got: Got, *, garbage: int = 0, may_stop: bool = False
) -> Read:
    """Judges one answer; `garbage`: so many unreadable events may be in it. may_stop: a finish
    reason is end enough, as it is where a provider says nothing after it."""
    said = Said()
    try:
        must(not got.cut, "the connection was cut")
        if got.status != 200:
            return _error(dialect, got)
        if not stream:
            must(got.content_type == "application/json", f"it is {got.content_type}")
            READERS[dialect].whole(members(_decoded(got.body)), said)
            return Read("answer", said)
        must(got.content_type == "text/event-stream", f"it is {got.content_type}")
        _stream(dialect, frames(got.body, garbage=garbage), said, may_stop)
    except Failed as error:
        return Read("stream error", said, error.message, error.code)
    except (Broken, KeyError, UnicodeDecodeError) as error:
        return Read("broken", said, f"{type(error).__name__}: {error}")
    return Read("answer", said)


def _decoded(body: bytes) -> Json:
    try:
        decoded: Json = json.loads(body)
    except ValueError:
        raise Broken(f"no JSON: {body[:60]!r}") from None
    return decoded


def _error(dialect: DialectName, got: Got) -> Read:
    must(400 <= got.status < 600, f"status {got.status}")
    body = members(_decoded(got.body))
    error = members(body["error"])
    if dialect == "messages":
        must(body.get("type") == "error", "no type error")
    else:
        must(set(body) == {"error"}, f"members {sorted(body)}")
    text(error["type"])
    code = str(error.get("code") or error["type"])
    return Read("error", message=text(error["message"]), code=code)


def _stream(dialect: DialectName, events: list[Frame], said: Said, may_stop: bool) -> None:
    """Reads all events; nothing may follow the end or an error. Raises Failed, Broken."""
    must(bool(events), "an empty stream")
    reader = READERS[dialect](said)
    for index, frame in enumerate(events):
        must(not reader.ended, f"event {index} follows the end")
        try:
            reader.event(frame)
        except Failed:
            must(index == len(events) - 1, f"{len(events) - 1 - index} events follow an error")
            raise
    reader.close()
    must(reader.ended or (may_stop and bool(said.finish)), "a clean end without the dialect's own")
