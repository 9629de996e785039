"""The turns of a Messages request as messages of chat.

A user's turn with results becomes a message of each result and one of what else is said, in this
order, for in chat the results follow the calls at once. Results are text there: what else is in
them (images, PDF) is shown in the user's message, under the id of the call.

A system message in the middle (Claude Code sends some) is a text of the user in <system> tags, for
templates of local models take one at the beginning only; and what the user says in several messages
in a row is one, for they want roles to alternate.
"""

from collections.abc import Sequence

import msgspec

from proxy.core.translation.base import Untranslatable
from proxy.core.translation.calls import arguments_of, short_id
from proxy.core.translation.json_values import ABSENT, Json
from proxy.core.translation.messages_via_chat.parts import (
    Content,
    SentBlock,
    content_of,
    read_blocks,
    text_parts,
)

_FAILED = "Error: "


class _Turn(msgspec.Struct):
    role: str
    content: msgspec.Raw = ABSENT


_TURNS = msgspec.json.Decoder(list[_Turn])
_NOT_SAID = frozenset({"thinking", "redacted_thinking", "text", "tool_use"})


def messages_of(system: msgspec.Raw, turns: msgspec.Raw) -> list[Json]:
    """All messages of the request. Raises Untranslatable, and ValueError for what are none."""
    told = content_of(read_blocks(system))
    messages: list[Json] = [{"role": "system", "content": told.written}] if told.parts else []
    heard: list[str | list[Json]] = []
    for turn in _TURNS.decode(turns):
        blocks = read_blocks(turn.content)
        if turn.role == "assistant":
            messages += [*_user(heard), _answer(blocks)]
            continue
        if turn.role == "system":
            blocks = [_as_system(block) for block in blocks]
        results, said = _told(blocks)
        if results:
            messages += [*_user(heard), *results]
        if said is not None:
            heard.append(said)
    return messages + _user(heard)


def _as_system(block: SentBlock) -> SentBlock:
    if block.type != "text":
        return block
    return SentBlock("text", f"<system>\n{block.text or ''}\n</system>")


def _user(heard: list[str | list[Json]]) -> list[Json]:
    """What one user says in a row, as one message. Empties the list."""
    if not heard:
        return []
    content: object = "\n\n".join([one for one in heard if isinstance(one, str) and one])
    if not all(isinstance(one, str) for one in heard):
        content = [part for one in heard for part in _as_parts(one)]
    heard.clear()
    return [{"role": "user", "content": content}]


def _as_parts(content: str | list[Json]) -> list[Json]:
    return text_parts([content]) if isinstance(content, str) else content


def _told(blocks: Sequence[SentBlock]) -> tuple[list[Json], str | list[Json] | None]:
    """Messages of results, and what else the user says."""
    results: list[Json] = []
    shown: list[Json] = []
    rest = [block for block in blocks if block.type != "tool_result"]
    for block in blocks:
        if block.type == "tool_result":
            call_id = short_id(block.tool_use_id or "")
            content = content_of(read_blocks(block.content))
            result = _result(block, content)
            results.append({"role": "tool", "tool_call_id": call_id, "content": result})
            if content.others:
                shown += text_parts([f"Of the result of {call_id}:"]) + content.others
    said = content_of(rest)
    if shown:
        return results, shown + said.parts
    return results, said.written if rest or not blocks else None


def _result(block: SentBlock, content: Content) -> str:
    """Chat cannot say that a call failed but in words."""
    text = "\n\n".join(content.texts)
    if block.is_error and not text.lower().startswith("error"):
        return _FAILED + text
    return text


def _answer(blocks: Sequence[SentBlock]) -> Json:
    """Thinking is left out: it is sealed for the provider that it comes from."""
    odd = [block.type for block in blocks if block.type not in _NOT_SAID]
    if odd:
        raise Untranslatable(f"Chat has no answers with a {odd[0][:64]!r} in them.")
    text = "".join([block.text or "" for block in blocks if block.type == "text"])
    calls = [_call(block) for block in blocks if block.type == "tool_use"]
    message: Json = {"role": "assistant", "content": None if calls and not text else text}
    return message | ({"tool_calls": calls} if calls else {})


def _call(block: SentBlock) -> Json:
    function = {"name": block.name or "", "arguments": arguments_of(block.input)}
    return {"id": short_id(block.id or ""), "type": "function", "function": function}
