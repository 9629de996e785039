"""The request to go on with after a recorded answer: what its client would send next, but for the
results of the tool calls that it was asked for."""

from collections.abc import Sequence

import msgspec

from proxy.core.dialects.base import Bounds, Dialect
from proxy.core.dialects.registry import DIALECTS
from proxy.core.request import CONVERSATIONS, DialectName, Message
from proxy.core.usage import ToolCall

_LISTS: dict[DialectName, bytes] = {
    "chat": b'{"model":"m","messages":[%b]}',
    "messages": b'{"model":"m","max_tokens":1,"messages":[%b]}',
    "responses": b'{"model":"m","input":%b}',
}
"""The least request of each dialect that holds one answer."""


class Continuation(msgspec.Struct, frozen=True):
    """body: the request with the answer after all that was sent. owed: the calls of the answer, in
    order; what each came to has to follow before the model is asked again."""

    body: bytes
    owed: tuple[ToolCall, ...] = ()


def continuation_of(
    name: DialectName, body: bytes, answer: bytes | None, *, stream: bool, bounds: Bounds
) -> Continuation | None:
    """After an answer as its client was given it (`stream`: as server-sent events; None: there is
    none). Without an answer, or one that says nothing, the request is to be sent again as it is.

    None where a dialect has no conversation to go on with. Raises MalformedRequest where the two
    make no request of this dialect.
    """
    if name not in CONVERSATIONS:
        return None
    if answer is None:
        return Continuation(body)
    dialect = DIALECTS[name]
    turn, response_id = _turn(dialect, answer, stream=stream, bounds=bounds)
    if turn in (b"", b"[]"):
        return Continuation(body)
    request = dialect.parse(body, bounds)
    after = dialect.follow_up(body, request, turn, (), response_id)
    return Continuation(after, _calls(dialect, turn, bounds))


def _turn(
    dialect: Dialect, answer: bytes, *, stream: bool, bounds: Bounds
) -> tuple[bytes, str | None]:
    """What the model said, as the client appends it, and the answer's id."""
    if not stream:
        return dialect.answer_turn(answer), dialect.read_answer(answer).answer.response_id
    meter = dialect.meter(strip_usage=False, bounds=bounds)
    meter.feed(answer)
    meter.close()
    if not meter.committed:
        return b"", None
    hold = dialect.hold_back(lambda _: False, bounds)
    hold.feed(answer)
    hold.close()
    return hold.turn(), meter.answer().response_id


def _calls(dialect: Dialect, turn: bytes, bounds: Bounds) -> tuple[ToolCall, ...]:
    """Those that the client is asked for, of the one choice that the turn is."""
    said: Sequence[Message] = dialect.parse(_LISTS[dialect.name] % turn, bounds).messages
    return tuple([call for message in said for call in message.tool_calls])
