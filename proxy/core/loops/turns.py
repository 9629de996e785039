"""What one request and one answer are to a detector. Pure: from what was parsed, without state.

A request is read from its end: what stands after the model's last message is new, everything before
it is history that is sent again. An answer is read for what it asks to be called.
"""

import re
from collections.abc import Sequence
from itertools import islice
from typing import Final

import msgspec

from proxy.core.globs import matches
from proxy.core.loops.normal import (
    NO_DIGEST,
    NO_TOOL,
    call_digest,
    digest,
    normal_text,
    text_digest,
    tool_digest,
    user_digest,
)
from proxy.core.loops.outcome import outcome_of
from proxy.core.loops.policy import Loops
from proxy.core.loops.rounds import Asked, Flag, asked_bytes
from proxy.core.request import Message, Request
from proxy.core.usage import Answer, ToolCall

_MOST_CALLS: Final = 64
"""Of one turn; more are not told apart by detectors."""
_MOST_MESSAGES: Final = 256
_COMMAND: Final = 1_024
_WAITS: Final = re.compile(r"""(?:["'(&;|]|\\n) ?sleep \d""")


class Result(msgspec.Struct, frozen=True, gc=False):
    """What one call came to. call_id: digest of the id that it answers."""

    call_id: bytes
    result: bytes
    flags: int


class Tail(msgspec.Struct, frozen=True, gc=False):
    """What a request brings that the model has not seen.

    thread: its name, where the client names one. results: of tool calls. users: digests of what
    the user says, 8 bytes each. calls: that the model's last message asked for; said: the digest of
    its text where it asked for none. Both empty where no such message is sent. continues: the
    provider keeps the history. offered: names of tools, to show them by.
    """

    thread: str = ""
    results: tuple[Result, ...] = ()
    users: bytes = b""
    calls: tuple[ToolCall, ...] = ()
    said: bytes = b""
    continues: bool = False
    offered: tuple[str, ...] = ()

    @property
    def key(self) -> bytes:
        """8 bytes by which a retry of the same tail is known: by the ids of its results."""
        if self.results:
            return digest(b"".join([result.call_id for result in self.results]))
        return self.said or digest(self.users)


def tail_of(request: Request, thread: str = "") -> Tail:
    """The tail of a request."""
    messages = request.messages
    start, last = _border(messages)
    new = messages[start:]
    if len(new) > _MOST_MESSAGES:
        new = new[-_MOST_MESSAGES:]
    results: tuple[Result, ...] = ()
    users = b""
    for message in new:
        if message.role == "tool":
            if len(results) < _MOST_CALLS:
                results = (*results, _result(message))
        elif message.role == "user" and (said := user_digest(message.text)) is not None:
            users += said
    return Tail(
        thread,
        results,
        users,
        last.tool_calls[:_MOST_CALLS] if last is not None else (),
        text_digest(last.text) if last is not None and not last.tool_calls else b"",
        request.previous_response_id is not None or request.conversation_id is not None,
        request.offered_tools,
    )


def _border(messages: Sequence[Message]) -> tuple[int, Message | None]:
    """Where the tail begins, and the model's message before it. One at the very end is no answer:
    the client puts the first words of the next one into the model's mouth."""
    end = len(messages)
    if end and messages[-1].role == "assistant" and not messages[-1].tool_calls:
        end -= 1
    for at in range(end - 1, -1, -1):
        if messages[at].role == "assistant":
            return at + 1, messages[at]
    return 0, None


def _result(message: Message) -> Result:
    normal = normal_text(message.text)
    if message.attached:
        result = digest(normal + message.attached)
        flags = Flag.ERROR if message.is_error else Flag.NONE
    else:
        result = digest(normal)
        flags = outcome_of(message.text, normal, is_error=message.is_error)
    return Result(id_digest(message.tool_result_id or ""), result, flags)


def id_digest(call_id: str) -> bytes:
    return digest(call_id.encode("utf-8", "surrogatepass"))


def asked_by(answer: Answer, loops: Loops) -> bytes:
    """The calls that an answer asks for, as `core.loops.rounds` writes them; of one that asks for
    none, its text. Empty where it says nothing at all."""
    calls = answer.tool_calls
    if calls:
        return asked_bytes([asked(call, loops) for call in islice(calls, _MOST_CALLS)])
    if not answer.text:
        return b""
    return asked_bytes((Asked(NO_DIGEST, text_digest(answer.text), NO_TOOL, Flag.TEXT),))


def asked(call: ToolCall, loops: Loops) -> Asked:
    flags = Flag.POLLING if is_polling(call, loops) else Flag.NONE
    return Asked(
        id_digest(call.call_id),
        call_digest(call, loops.ignore_arguments),
        tool_digest(call.name),
        flags,
    )


def is_polling(call: ToolCall, loops: Loops) -> bool:
    """Whether a call is rightly made again: by its tool's name, or because it waits."""
    if matches(loops.polling, call.name):
        return True
    arguments = call.arguments
    return "sleep " in arguments[:_COMMAND] and _WAITS.search(arguments, 0, _COMMAND) is not None
