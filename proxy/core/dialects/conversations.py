"""What the elements of a conversation come to together, and how one goes on from another."""

from bisect import bisect_left
from collections.abc import Sequence

from proxy.core.canonical import message_digest
from proxy.core.dialects.exposing import apart_in
from proxy.core.request import Conversation, Element, History, Message, Piece, Saying


def conversation_of(elements: Sequence[Element], *, joins: bool) -> Conversation:
    """joins: answers are spread over elements (Responses), and those in a row are one message."""
    if _is_plain(elements, joins=joins):
        told: tuple[Message, ...] = tuple(elements)  # type: ignore[arg-type]  # that is what it says
        return Conversation(told, told, plain=True)
    messages, starts = _messages_of(elements, 0, joins=joins)
    return _with_more(tuple(elements), tuple(messages), tuple(starts))


def gone_on(
    past: Conversation, known: int, new: Sequence[Element], *, joins: bool
) -> tuple[Conversation, int]:
    """The conversation that begins with so many elements of an earlier one and then says `new`; and
    how many of its messages are the earlier one's."""
    elements = (*past.elements[:known], *new)
    if past.plain and _is_plain(elements[max(0, known - 1) :], joins=joins):
        return Conversation(elements, elements, plain=True), known  # type: ignore[arg-type]
    starts: Sequence[int] = range(len(past.messages)) if past.plain else past.starts
    upto = bisect_left(starts, known)
    # The last of them may go on in what is new.
    begin = starts[upto - 1] if upto else 0
    common = bisect_left(starts, begin)
    messages, more = _messages_of(elements, begin, joins=joins)
    return (
        _with_more(elements, (*past.messages[:common], *messages), (*starts[:common], *more)),
        common,
    )


def history_after(past: History, before: Conversation, after: Conversation, common: int) -> History:
    """The history of a conversation that has so many messages in common with an earlier one."""
    dropped = [one for one in before.messages[common:] if one.role != "system"]
    kept = len(past.messages) - len(dropped)
    new = [one for one in after.messages[common:] if one.role != "system"]
    return History(
        messages=(*past.messages[:kept], *new),
        chain=past.chain[: 16 * kept] + b"".join([one.content_digest for one in new]),
        answers_in_items=past.answers_in_items,
        digested=(0, None) if dropped else past.digested,
        older=tuple([turn for turn in (*past.turns, *past.older) if turn.end <= kept][:16]),
    )


def answer_of(sayings: Sequence[Saying]) -> Message:
    """The one assistant message that these say together."""
    text = "".join([saying.text for saying in sayings])
    calls = tuple([saying.tool_call for saying in sayings if saying.tool_call is not None])
    attachments = [part for saying in sayings for part in saying.attachments]
    digest = message_digest("assistant", text, calls, attachments=attachments)
    return Message("assistant", text, digest, calls)


def _is_plain(elements: Sequence[Element], *, joins: bool) -> bool:
    if Piece in map(type, elements):
        return False
    answered = False
    if joins:
        for one in elements:
            was, answered = answered, one.role == "assistant"  # type: ignore[union-attr]
            if was and answered:
                return False
    return True


def _with_more(
    elements: tuple[Element, ...], messages: tuple[Message, ...], starts: tuple[int, ...]
) -> Conversation:
    pieces = [one for one in elements if type(one) is Piece]
    return Conversation(
        elements,
        messages,
        plain=False,
        apart=apart_in(pieces),
        names=tuple([name for piece in pieces for name in piece.names]),
        starts=starts,
    )


def _messages_of(
    elements: Sequence[Element], begin: int, *, joins: bool
) -> tuple[list[Message], list[int]]:
    """The messages from this element on, and at which each begins. What says nothing parts
    nothing."""
    messages: list[Message] = []
    starts: list[int] = []
    pending: list[int] = []
    for at in range(begin, len(elements)):
        one = elements[at]
        said = (one,) if isinstance(one, Message) else one.messages
        if joins and _is_saying(one):
            pending.append(at)
        elif said:
            if pending:
                messages.append(_whole(elements, pending))
                starts.append(pending[0])
                pending = []
            messages += said
            starts += [at] * len(said)
    if pending:
        messages.append(_whole(elements, pending))
        starts.append(pending[0])
    return messages, starts


def _is_saying(one: Element) -> bool:
    return one.role == "assistant" if isinstance(one, Message) else one.saying is not None


def _whole(elements: Sequence[Element], places: Sequence[int]) -> Message:
    """The one message that the items of an answer are."""
    said = [elements[at] for at in places]
    if len(said) == 1:
        only = said[0]
        return only if isinstance(only, Message) else only.messages[0]
    return answer_of([_saying_of(one) for one in said])


def _saying_of(one: Element) -> Saying:
    if isinstance(one, Message):
        return Saying(one.text, (), one.tool_calls[0] if one.tool_calls else None)
    assert one.saying is not None
    return one.saying
