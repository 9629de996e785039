"""The requests that are sent: a short question, and an agent's conversation as it grows.

Drawn from a fixed seed, so that every run of every system sends the same. The load generator puts
a number of its own into each request where it finds SLOT: no two sessions begin alike.
"""

import json
import random
from collections.abc import Mapping

SLOT = "@REQUEST-ID@"
Body = Mapping[str, object]

_WORDS = [
    *("the", "agent", "reads", "a", "file", "and", "then", "runs", "the", "tests", "before", "it"),
    *("edits", "src/main.py", "line", "42", "because", "def", "foo(bar):", "return", "bar"),
    *("error", "Traceback", "value"),
]
_NEWLINE_SHARE = 0.08
_MESSAGE_OVERHEAD = 95
"""Bytes of JSON around the text of one message."""
_TOOLS = 20


class Writer:
    def __init__(self) -> None:
        self._random = random.Random(7)

    def text(self, size: int) -> str:
        """Prose and code of `size` characters, with the escapes that JSON makes of newlines."""
        said: list[str] = []
        length = 0
        while length < size:
            word = self._random.choice(_WORDS)
            if self._random.random() < _NEWLINE_SHARE:
                word += "\n"
            said.append(word)
            length += len(word) + 1
        return " ".join(said)[:size]

    def tool(self, number: int) -> Body:
        properties = {f"arg{i}": {"type": "string", "description": self.text(60)} for i in range(5)}
        return {
            "type": "function",
            "function": {
                "name": f"tool_{number}",
                "description": self.text(220),
                "parameters": {
                    "type": "object",
                    "properties": properties,
                    "required": ["arg0", "arg1"],
                    "additionalProperties": False,
                },
            },
        }

    def step(self, number: int, size: int) -> tuple[Body, Body]:
        """A tool call and its result, of about `size` characters each."""
        call_id = f"call_{SLOT}{number}"
        arguments = json.dumps({"arg0": self.text(size // 2), "arg1": self.text(size // 3)})
        function = {"name": f"tool_{number % _TOOLS}", "arguments": arguments}
        call = {"id": call_id, "type": "function", "function": function}
        return (
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": call_id, "content": self.text(size)},
        )


def question(stream_gap_ms: int | None = None) -> Body:
    """About 400 bytes. stream_gap_ms: asks for a stream with so much between its chunks."""
    text = f"{SLOT} {Writer().text(215)}"
    body: dict[str, object] = {
        "model": "mock",
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": text},
        ],
        "temperature": 0.2,
        "max_tokens": 256,
    }
    if stream_gap_ms is not None:
        body["messages"] = [{"role": "user", "content": f"mock-gap{stream_gap_ms} {text}"}]
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


def conversation(messages: int, size_bytes: int) -> tuple[Body, ...]:
    """The requests of a session, each with the history of the last and one tool call more.

    The last has so many messages, 20 tools, and is of about `size_bytes`.
    """
    writer = Writer()
    tools = [writer.tool(number) for number in range(_TOOLS)]
    each = (size_bytes - len(json.dumps(tools))) // messages - _MESSAGE_OVERHEAD
    history: list[Body] = [
        {"role": "system", "content": writer.text(each)},
        {"role": "user", "content": f"{SLOT} {writer.text(each)}"},
    ]
    requests = []
    while True:
        request: Body = {
            "model": "mock",
            "messages": tuple(history),
            "tools": tools,
            "tool_choice": "auto",
            "parallel_tool_calls": True,
            "temperature": 0,
        }
        requests.append(request)
        if len(history) >= messages:
            return tuple(requests)
        history += writer.step(len(requests), each)
