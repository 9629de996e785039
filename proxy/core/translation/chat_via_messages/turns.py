"""The messages of a chat request as turns of the Messages API.

Theory of operation. There, turns alternate, the user's is first, and the results of calls open the
turn that follows them. So messages of one side in a row become one turn, results before what else
the user says, each kind in the order that it was sent in.

What system and developer messages say before all others is the system prompt. Later ones stay where
they are, as a text of the user's turn in <system> tags: moved to the front they would be read as
said at the beginning, and would spoil the prompt cache; a `system` role in the middle is only known
to the newest of Anthropic's models. Where nobody else says anything, they are the user's words.
"""

from collections.abc import Sequence

import msgspec

from proxy.core.dialects.chat_messages import ROLES
from proxy.core.dialects.chat_parts import Call, Function, argument_text
from proxy.core.translation.base import Untranslatable
from proxy.core.translation.calls import Unanswered, input_of, plain_id
from proxy.core.translation.chat_via_messages.blocks import blocks_of, text_block
from proxy.core.translation.json_values import ABSENT, Json, is_given

_OPENING = "(The conversation goes on.)"


class _Message(msgspec.Struct):
    role: str
    content: msgspec.Raw = ABSENT
    refusal: str | None = None
    audio: msgspec.Raw = ABSENT
    tool_calls: list[Call] | None = None
    function_call: Function | None = None
    tool_call_id: str | None = None
    cache_control: msgspec.Raw = ABSENT


_MESSAGES = msgspec.json.Decoder(list[_Message])


class Conversation:
    """system: blocks of the system prompt, final once `turns` has been asked. called: names of the
    tools that it has calls of, in their order."""

    def __init__(self, messages: msgspec.Raw) -> None:
        """Raises Untranslatable, and ValueError for what are no messages."""
        self.system: list[Json] = []
        self.called: dict[str, None] = {}
        self._turns: list[tuple[str, list[Json]]] = []
        self._ids = _Ids()
        for message in _MESSAGES.decode(messages):
            self._take(message)

    def turns(self) -> list[Json]:
        """Those of the request; where nobody says anything, the system prompt is one of them."""
        turns = self._turns
        if not turns:
            turns, self.system = [("user", self.system or text_block(_OPENING))], []
        if turns[0][0] == "assistant":
            turns = [("user", text_block(_OPENING)), *turns]
        if turns[-1][0] == "assistant":
            _trim(turns[-1][1])
        return [{"role": role, "content": _results_first(blocks)} for role, blocks in turns]

    def _take(self, message: _Message) -> None:
        role = ROLES.get(message.role)
        if role == "assistant":
            self._add("assistant", self._said(message))
        elif role == "tool":
            self._add("user", [self._result(message)])
        elif role == "system":
            self._told(blocks_of(message.content, message.cache_control))
        else:
            self._add("user", blocks_of(message.content, message.cache_control))

    def _told(self, blocks: list[Json]) -> None:
        if any(block["type"] != "text" for block in blocks):
            raise Untranslatable("The system prompt of messages is text.")
        if not self._turns:
            self.system += blocks
            return
        for block in blocks:
            block["text"] = f"<system>\n{block['text']}\n</system>"
        self._add("user", blocks)

    def _said(self, message: _Message) -> list[Json]:
        if is_given(message.audio):
            raise Untranslatable("What the model said aloud is kept by its provider.")
        if message.function_call is not None:
            raise Untranslatable("Calls of the kind before tools (function_call) have no id.")
        blocks = blocks_of(message.content, message.cache_control)
        blocks = blocks or text_block(message.refusal or "")
        return blocks + [self._call(call) for call in message.tool_calls or ()]

    def _call(self, call: Call) -> Json:
        if call.custom is not None or call.function is None:
            raise Untranslatable("Messages have no calls of custom tools.")
        name = call.function.name or ""
        self.called[name] = None
        arguments = argument_text(call.function.arguments)
        call_id = self._ids.of_call(call.id or "")
        return {"type": "tool_use", "id": call_id, "name": name, "input": input_of(arguments)}

    def _result(self, message: _Message) -> Json:
        if message.role == "function":
            raise Untranslatable("Results of the kind before tools (function) have no id.")
        call_id = self._ids.of_result(message.tool_call_id or "")
        block: Json = {"type": "tool_result", "tool_use_id": call_id}
        content = blocks_of(message.content)
        if content:
            block["content"] = content
        if is_given(message.cache_control):
            block["cache_control"] = message.cache_control
        return block

    def _add(self, role: str, blocks: list[Json]) -> None:
        if not blocks:
            return
        if self._turns and self._turns[-1][0] == role:
            self._turns[-1][1].extend(blocks)
        else:
            self._turns.append((role, blocks))


class _Ids:
    """Anthropic wants ids of few letters, and each only once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._counts: dict[str, int] = {}
        self._unanswered = Unanswered[str]()

    def of_call(self, sent: str) -> str:
        given = plain_id(sent)
        base = given[:56]
        while given in self._taken:
            count = self._counts[base] = self._counts.get(base, 1) + 1
            given = f"{base}_{count}"
        self._taken.add(given)
        self._unanswered.called(sent, given)
        return given

    def of_result(self, sent: str) -> str:
        return self._unanswered.call_of(sent) or plain_id(sent)


def _results_first(blocks: Sequence[Json]) -> list[Json]:
    return sorted(blocks, key=lambda block: block["type"] != "tool_result")


def _trim(blocks: list[Json]) -> None:
    """What the model is to go on from must not end with white space."""
    text = blocks[-1].get("text")
    if isinstance(text, str):
        blocks[-1]["text"] = text.rstrip()
