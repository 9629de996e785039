"""A conversation that goes on is what it would be if it were read from its beginning."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.canonical import message_digest
from proxy.core.dialects.conversations import answer_of, conversation_of, gone_on, history_after
from proxy.core.links import turns_of
from proxy.core.request import Apart, Element, Message, Piece, Role, Saying, history_of
from proxy.core.usage import ToolCall
from tests.unit.core.dialects.metering import law


def message(role: Role, text: str) -> Message:
    return Message(role, text, message_digest(role, text))


def call(name: str) -> Message:
    made = ToolCall(name, name, "{}")
    return Message("assistant", "", message_digest("assistant", "", (made,)), (made,))


def attached(name: str) -> Piece:
    saying = Saying(name, (name.encode(),))
    return Piece((answer_of((saying,)),), saying, apart=Apart(images=1))


names = st.sampled_from("abcdef")
elements = st.lists(
    st.one_of(
        st.builds(message, st.sampled_from(["user", "assistant", "tool", "system"]), names),
        st.builds(call, names),
        st.builds(attached, names),
        st.just(Piece()),
        st.builds(lambda name: Piece(names=(name,)), names),
        st.builds(lambda name: Piece((message("user", name),), apart=Apart(files=1)), names),
        st.builds(
            lambda one, two: Piece((message("tool", one), message("user", two))), names, names
        ),
    ),
    max_size=8,
)


@pytest.mark.parametrize("joins", [False, True])
@law
@given(elements, st.integers(0, 8), elements, st.integers(0, 20))
def test_to_go_on_is_to_begin_anew(
    joins: bool, before: list[Element], known: int, new: list[Element], turns: int
) -> None:
    """Whatever was taken back, and whatever of the answers had been looked at."""
    known = min(known, len(before))
    past = conversation_of(before, joins=joins)
    past_history = history_of(past.messages, answers_in_items=joins)
    for _ in zip(range(turns), turns_of(past_history), strict=False):
        pass

    now, common = gone_on(past, known, new, joins=joins)
    history = history_after(past_history, past, now, common)
    afresh = conversation_of([*before[:known], *new], joins=joins)
    read = history_of(afresh.messages, answers_in_items=joins)

    assert now.messages[:common] == past.messages[:common]
    assert now.messages == afresh.messages
    assert (now.elements, now.apart, now.names) == (afresh.elements, afresh.apart, afresh.names)
    assert now.plain or now.starts == (afresh.starts or tuple(range(len(now.messages))))
    assert (history.messages, history.chain) == (read.messages, read.chain)
    assert list(turns_of(history)) == list(turns_of(read))


def test_what_is_known_of_older_answers_is_not_read_again() -> None:
    """A history is looked through with every request."""
    past = conversation_of([message("user", "a"), message("assistant", "b")], joins=False)
    history = history_of(past.messages, answers_in_items=False)
    (turn,) = turns_of(history)
    now, common = gone_on(past, 2, [message("user", "c"), message("assistant", "d")], joins=False)

    assert list(turns_of(history_after(history, past, now, common)))[1] is turn
