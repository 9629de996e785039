"""What the model says where there is no script: a short agent run, driven by the model's name.

`sim-` names, whose words combine (`sim-tools-5-gap10`): see `docs/simulator.md`.
"""

import json
import re
from dataclasses import dataclass, replace

from proxy.simulator.conversation import Conversation, Tool
from proxy.simulator.invent import invent_object
from proxy.simulator.script import ToolCall, Turn

_WORD = re.compile(r"(loop|cycle|text|think|spend|gap|latency|first|chunk|tools-?)(\d*)(?:-|$)")
_TOOL_STEPS = 3
_SPEND_TOKENS = 4_000
_TOPIC_CHARS = 80


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a `sim-` name asks for; None where it says nothing."""

    loop: bool = False
    cycle: bool = False
    tool_steps: int = _TOOL_STEPS
    text_tokens: int = 0
    reasoning: bool = False
    latency_seconds: float = 0.0
    first_token_seconds: float = 0.0
    chunk_gap_seconds: float = 0.0
    chunk_tokens: int = 1


def wishes(model: str) -> Wishes:
    """Reads a model name; any that does not begin with `sim-` wishes for nothing special."""
    name = model.rpartition("/")[2]
    asked = Wishes()
    if not name.startswith("sim-"):
        return asked
    for word, number in _WORD.findall(name.removeprefix("sim-")):
        asked = _with(asked, word.rstrip("-"), int(number) if number else None)
    return asked


def _with(asked: Wishes, word: str, number: int | None) -> Wishes:
    changed: dict[str, Wishes] = {
        "loop": replace(asked, loop=True),
        "cycle": replace(asked, cycle=True),
        "text": replace(asked, tool_steps=0),
        "think": replace(asked, reasoning=True),
        "tools": replace(asked, tool_steps=_TOOL_STEPS if number is None else number),
        "spend": replace(asked, text_tokens=number or _SPEND_TOKENS),
        "gap": replace(asked, chunk_gap_seconds=(number or 10) / 1000),
        "latency": replace(asked, latency_seconds=(number or 100) / 1000),
        "first": replace(asked, first_token_seconds=(number or 100) / 1000),
        "chunk": replace(asked, chunk_tokens=number or 1),
    }
    return changed[word]


class DefaultScript:
    """Asks for the offered tools for a few steps, then concludes; without tools, says a text."""

    def turn(self, conversation: Conversation) -> Turn:
        """The answer to this request."""
        asked = wishes(conversation.model)
        said = _what(conversation, asked)
        return replace(
            said,
            text_tokens=asked.text_tokens,
            reasoning="Let me think about what to do next." if asked.reasoning else "",
            latency_seconds=asked.latency_seconds,
            first_token_seconds=asked.first_token_seconds,
            chunk_gap_seconds=asked.chunk_gap_seconds,
            chunk_tokens=asked.chunk_tokens,
        )


def _what(conversation: Conversation, asked: Wishes) -> Turn:
    tools, choice = conversation.tools, conversation.tool_choice
    if choice not in ("auto", "none", "required"):
        named = tuple(tool for tool in tools if tool.name == choice)
        return _call(named[0], conversation.step) if named else _conclude(conversation)
    if not tools or choice == "none":
        return _conclude(conversation)
    if asked.loop:
        return _call(tools[0], 0)
    if asked.cycle:
        return _call(tools[conversation.step % len(tools)], 0)
    working = [tool for tool in tools if not _finishes(tool)]
    if working and conversation.step < asked.tool_steps:
        return _call(working[conversation.step % len(working)], conversation.step)
    finishing = [tool for tool in tools if _finishes(tool)]
    if finishing and conversation.step <= asked.tool_steps:
        return _call(finishing[0], conversation.step)
    return _call(tools[0], conversation.step) if choice == "required" else _conclude(conversation)


def _finishes(tool: Tool) -> bool:
    """Agents that force a tool call have one by which the run ends."""
    return tool.name.startswith("final_")


def _call(tool: Tool, step: int) -> Turn:
    return Turn(tool_calls=(ToolCall(tool.name, invent_object(tool.parameters, step)),))


def _conclude(conversation: Conversation) -> Turn:
    if conversation.schema is not None:
        return Turn(text=json.dumps(invent_object(conversation.schema, conversation.step)))
    topic = " ".join(conversation.user[:_TOPIC_CHARS].split())
    if conversation.step:
        return Turn(text=f"Done after {conversation.step} tool steps: {topic}")
    return Turn(text=f"This is a simulated answer to: {topic}")
