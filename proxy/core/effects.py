"""How events make what a session knows of its guarded tool calls, and which a request brings.

A call is an effect once its result is known. The result comes from the agent, in the history of a
later request, or from its executor, by a claim; of several the first holds. Only what was handed
out through here is believed: a history may hold calls that never happened (examples in a prompt).
"""

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar, assert_never

import msgspec
from msgspec.structs import replace

from proxy.core import events as ev
from proxy.core.request import Message
from proxy.core.tools.events import ToolEvent
from proxy.core.tools.facts import RESULT_BYTES, Handed, effect_of
from proxy.core.tools.state import (
    ANSWERED,
    CLAIMS,
    EFFECTS,
    HANDED,
    KEPT,
    WITHHELD,
    Claim,
    KeptAt,
    ToolState,
    WithheldAt,
)
from proxy.core.usage import ToolCall

LOOKED_BACK: Final = 512
"""Messages from the end of a history in which results are looked for."""
_RENAMED = 16
_CUT = "\n… (cut by Holdfast: this is the beginning of %d bytes)"

K = TypeVar("K")
V = TypeVar("V")


class Brought(msgspec.Struct, frozen=True, gc=False):
    """The result of a call, as a request's history has it."""

    call: Handed
    message: Message


def learnt(tools: ToolState, event: ToolEvent, seq: int) -> ToolState:
    """What is known after one more event, which is the log's number `seq`."""
    match event:
        case ev.CallsHanded():
            return _handed(tools, event.calls)
        case ev.CallsWithheld():
            beside, made = _beside(event)
            at = WithheldAt(beside, seq, made)
            return replace(tools, withheld=(*tools.withheld, at)[-WITHHELD:])
        case ev.ResultRecorded():
            return _recorded(tools, event.call, seq)
        case ev.AnswerKept():
            kept = KeptAt(event.body_digest, event.stream, seq, event.waits_for)
            before = [k for k in tools.kept if k.body_digest != event.body_digest]
            return replace(tools, kept=(*before, kept)[-KEPT:])
        case ev.CallClaimed():
            return replace(
                tools, claims=_with(tools.claims, event.call, Claim(event.until), CLAIMS)
            )
        case ev.ResponseRenamed():
            return replace(tools, renamed=_with(tools.renamed, event.given, event.kept, _RENAMED))
        case _:
            assert_never(event)


def brought(tools: ToolState, messages: Sequence[Message]) -> tuple[Brought, ...]:
    """The results that a history has of calls that are still without one, the oldest first.

    A call that the history shows is known by what it says, whatever its id; one that it does not
    (the provider keeps the history, or it was trimmed) by its id.
    """
    if not tools.awaited:
        return ()
    results: dict[str, Message] = {}
    found: dict[bytes, Brought] = {}
    for message in messages[: -LOOKED_BACK - 1 : -1]:
        if message.tool_result_id is not None:
            results.setdefault(message.tool_result_id, message)
        for call in message.tool_calls:
            result = results.pop(call.call_id, None)
            if result is not None and (known := _awaited_call(tools, call)) is not None:
                found.setdefault(known.digest, Brought(known, result))
    for call_id, result in results.items():
        handed = tools.handed.get(call_id)
        if handed is not None and handed.digest in tools.awaited:
            found.setdefault(handed.digest, Brought(handed, result))
    return tuple(reversed(found.values()))


def _awaited_call(tools: ToolState, call: ToolCall) -> Handed | None:
    """The call if it was handed out here and has no result yet. Its arguments are read only where
    a tool of its name is awaited."""
    names = (one.tool for one in tools.handed.values() if one.digest in tools.awaited)
    if call.name not in names:
        return None
    digest = effect_of(call.name, call.arguments)
    return Handed(call.call_id, call.name, digest) if digest in tools.awaited else None


def recorded(
    tools: ToolState,
    messages: Sequence[Message],
    dialect: str,
    contents: Mapping[str, bytes],
    now: float,
) -> tuple[ev.ResultRecorded, ...]:
    """The events of the results that a history brings. contents: results as JSON, by call id."""
    return tuple(
        [
            ev.ResultRecorded(
                at=now,
                call=one.call.digest,
                tool=one.call.tool,
                call_id=one.call.call_id,
                text=kept_text(one.message.text),
                is_error=one.message.is_error,
                content=_kept_content(contents.get(one.message.tool_result_id or "", b"")),
                dialect=dialect,
            )
            for one in brought(tools, messages)
        ]
    )


def kept_text(text: str) -> str:
    """As much of a result as is kept, saying so where it is not all."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= RESULT_BYTES:
        return text
    return encoded[:RESULT_BYTES].decode(errors="ignore") + _CUT % len(encoded)


def _kept_content(content: bytes) -> bytes:
    return content if len(content) <= RESULT_BYTES else b""


def _beside(event: ev.CallsWithheld) -> tuple[str, bytes]:
    return (event.calls[0].beside, event.calls[0].made) if event.calls else ("", b"")


def _handed(tools: ToolState, calls: Sequence[Handed]) -> ToolState:
    handed, approved = dict(tools.handed), dict(tools.approved)
    for call in calls:
        handed.pop(call.call_id, None)
        handed[call.call_id] = call
        if (left := approved.pop(call.digest, 0)) > 1:
            approved[call.digest] = left - 1
    handed = _newest(handed, HANDED)
    awaited = frozenset(c.digest for c in handed.values()) - tools.effects.keys()
    return replace(tools, handed=handed, awaited=awaited, approved=approved)


def _recorded(tools: ToolState, call: bytes, seq: int) -> ToolState:
    if call in tools.effects:
        return tools
    claims = {digest: claim for digest, claim in tools.claims.items() if digest != call}
    effects = _with(tools.effects, call, seq, EFFECTS)
    return replace(tools, effects=effects, awaited=tools.awaited - {call}, claims=claims)


def answered(tools: ToolState, digest: bytes, *, approved: bool, message: str = "") -> ToolState:
    """A human has answered for a held call: it may pass once, or is refused from now on."""
    if not approved:
        passes = {d: n for d, n in tools.approved.items() if d != digest}
        refused = _with(tools.refused, digest, message, ANSWERED)
        return replace(tools, approved=passes, refused=refused)
    times = tools.approved.get(digest, 0) + 1
    refused = {d: said for d, said in tools.refused.items() if d != digest}
    return replace(tools, approved=_with(tools.approved, digest, times, ANSWERED), refused=refused)


def _with(known: Mapping[K, V], key: K, value: V, most: int) -> dict[K, V]:
    """The mapping with one more entry at its end, the oldest gone where there are too many."""
    after = {k: v for k, v in known.items() if k != key}
    after[key] = value
    return _newest(after, most)


def _newest(entries: dict[K, V], most: int) -> dict[K, V]:
    while len(entries) > most:
        del entries[next(iter(entries))]
    return entries
