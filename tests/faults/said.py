"""What a model says, and how a stream of a dialect is read: the base of the three readers."""

import json
from dataclasses import dataclass, field

from proxy.admin.shapes import Json
from tests.faults.frames import Broken, Fields, Frame, members, text


@dataclass(slots=True)
class Said:
    """What the model says, as a client collects it. calls: names and arguments."""

    text: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    finish: str = ""
    input_tokens: int = 0
    output_tokens: int = 0


class Failed(Exception):
    """The stream ends with this error."""

    def __init__(self, error: Json) -> None:
        told = members(error)
        self.message = text(told.get("message"))
        self.code = str(told.get("code") or told.get("type") or "")


class Reader:
    """Reads one stream of a dialect. ended: its own end was seen."""

    def __init__(self, said: Said) -> None:
        self.said = said
        self.ended = False

    def event(self, frame: Frame) -> None:
        """Takes the next event. Raises Failed, Broken."""
        raise NotImplementedError

    def close(self) -> None:
        """The stream is over. Raises Failed where it ended with a failure."""

    @staticmethod
    def whole(body: Fields, said: Said) -> None:
        """Takes an unstreamed answer. Raises Broken."""
        raise NotImplementedError


def call(name: str, arguments: str) -> tuple[str, str]:
    """A call whose arguments are whole JSON, told in one way. Raises Broken."""
    try:
        return name, json.dumps(json.loads(arguments), sort_keys=True)
    except ValueError:
        raise Broken(f"arguments that are no JSON: {arguments[:60]!r}") from None
