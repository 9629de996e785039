"""Models that go round in circles, and what they listen to, in whatever dialect they are asked."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from proxy.simulator import ToolCall, Turn
from proxy.simulator.conversation import Conversation, listing, mapping, string, text_of

Heeds = Literal["nothing", "note", "withheld"]
CONCLUDED = "This is all that I know."
_SIDE_CALL = Turn(text='{"title": "Three things"}')


@dataclass(frozen=True, slots=True)
class Looping:
    """Asks for `calls` in turn, for ever.

    heeds: what it listens to. `note`: a text after the results of its calls that holds `marker`; it
    then asks for `instead` once, and concludes. `withheld`: that it may call nothing; it then
    concludes. `nothing`: it goes on, as models do that know no tool_choice.
    """

    calls: tuple[ToolCall, ...]
    heeds: Heeds = "nothing"
    instead: ToolCall | None = None
    marker: str = ""

    def turn(self, conversation: Conversation) -> Turn:
        """The answer to this request; a side call (for a title) is offered none of the tools."""
        offered = {tool.name for tool in conversation.tools}
        if not offered.issuperset(call.name for call in self.calls):
            return _SIDE_CALL
        asked = list(_asked(conversation.parts))
        if self.instead is not None and asked[-1:] == [_written(self.instead)]:
            return Turn(text=CONCLUDED)
        if self.heeds != "nothing" and conversation.tool_choice == "none":
            return Turn(text=CONCLUDED)
        if self.heeds == "note" and self.marker in _said_last(conversation.parts):
            assert self.instead is not None
            return Turn(tool_calls=(self.instead,))
        return Turn(tool_calls=(self.calls[len(asked) % len(self.calls)],))


@dataclass(frozen=True, slots=True)
class Working:
    """Asks `steps` times for something else each time, and concludes: a healthy run."""

    tool: str
    steps: int

    def turn(self, conversation: Conversation) -> Turn:
        """The answer to this request."""
        done = sum(1 for _ in _asked(conversation.parts))
        if done == self.steps:
            return Turn(text=CONCLUDED)
        return Turn(tool_calls=(ToolCall(self.tool, {"topic": f"rivers of country {done}"}),))


@dataclass(frozen=True, slots=True)
class Scripted:
    """Says a turn by how many calls the history holds: so a call that was asked for and is not
    there any more shows, as it would to a model."""

    turns: Mapping[int, Turn]

    def turn(self, conversation: Conversation) -> Turn:
        """The answer to this request."""
        return self.turns[sum(1 for _ in _asked(conversation.parts))]


def _asked(parts: Sequence[object]) -> Iterator[tuple[str, str]]:
    """All calls in a history: names, and arguments as text."""
    for part in map(mapping, parts):
        if part.get("type") == "function_call":
            yield string(part.get("name")), _sorted(part.get("arguments"))
        for call in map(mapping, listing(part.get("tool_calls"))):
            function = mapping(call.get("function"))
            yield string(function.get("name")), _sorted(function.get("arguments"))
        for block in map(mapping, listing(part.get("content"))):
            if block.get("type") == "tool_use":
                yield string(block.get("name")), _sorted(block.get("input"))


def _written(call: ToolCall) -> tuple[str, str]:
    return call.name, _sorted(call.arguments)


def _sorted(arguments: object) -> str:
    given = json.loads(arguments) if isinstance(arguments, str) else arguments
    return json.dumps(given, sort_keys=True)


def _said_last(parts: Sequence[object]) -> str:
    """The text of the last message, but not that of tool results."""
    last = mapping(parts[-1])
    return "" if last.get("role") == "tool" else text_of(last.get("content"))
