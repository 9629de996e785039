"""Whatever a client sends and a provider answers, judging it ends and keeps its bytes in order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from proxy.core.loops.judge import judge
from proxy.core.loops.policy import Loops
from proxy.core.loops.rounds import ASKED, ROUND
from proxy.core.loops.thread import after_request
from proxy.core.loops.turns import tail_of
from proxy.core.request import Message
from proxy.core.usage import Answer, ToolCall
from tests.unit.core.loops.kit import DEFAULT, Session, message, request_of

IDS = st.sampled_from(["", "a", "b", "c", "d"])
TOOLS = st.builds(ToolCall, IDS, st.sampled_from(["", "fetch", "wait"]), st.sampled_from("01"))
SAID = st.sampled_from(["", "x", "y"])
SENT = st.lists(
    st.builds(message, st.just("assistant"), SAID, st.lists(TOOLS, max_size=3))
    | st.builds(message, st.just("tool"), SAID, st.just(()), IDS)
    | st.builds(message, st.sampled_from(["user", "system"]), SAID),
    max_size=6,
)
MADE = st.tuples(SENT, st.booleans(), st.lists(TOOLS, max_size=3), SAID, st.integers(-1, 3))


@pytest.mark.timeout(60)
@settings(max_examples=300)
@given(st.lists(MADE, max_size=12), st.sampled_from([DEFAULT, Loops(None, None)]))
def test_whatever_is_sent_is_judged_and_leaves_whole_rounds(
    made: list[tuple[list[Message], bool, list[ToolCall], str, int]], loops: Loops
) -> None:
    """No history is too odd: every judgement ends, and notes a round or none."""
    session = Session(loops)
    for messages, continues, calls, text, late in made:
        request = replace(request_of(messages), previous_response_id="r" if continues else None)
        session.number += 1
        tail = tail_of(request)
        noted = judge(loops, session.threads, tail, session.number, rested=late == 3).noted
        session.threads = after_request(session.threads, noted)
        turn = session.turn_of(noted.thread) - max(late, 0) % 3
        session.answered(noted.thread, turn, Answer(text, tuple(calls)))

        assert not noted.round or len(noted.round) >= ROUND
        assert all(len(one.rounds) % ROUND == 0 for one in session.threads.values())
        assert all(len(one.pending) % ASKED == 0 for one in session.threads.values())
