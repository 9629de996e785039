"""What a human's answer makes of what stands in the queue."""

import pytest

from proxy.core import events as ev
from proxy.core.queue import answering, deciding, held_calls
from proxy.core.session import EMPTY, SessionState, fold
from proxy.core.tools.facts import HeldTool

NOW = 100.0


def held(handoff: str, call_id: str) -> ev.HandedOff:
    tool = HeldTool(call_id, "send", b"d")
    return ev.HandedOff(at=90.0, handoff=handoff, blocking=True, held=tool)


STOP = ev.HandedOff(at=40.0, handoff="stop", blocking=True)
STANDS = ev.HandedOff(at=40.0, handoff="stands")
STATE = fold([STOP, held("first", "call_0"), STANDS, held("second", "call_0")])


def answered(state: SessionState, action: ev.HumanAction) -> list[str]:
    return [answer.handoff for answer in answering(state, action, NOW)]


@pytest.mark.parametrize("action", ["extend", "guide"])
def test_room_and_hints_answer_stops_but_no_held_call(action: ev.HumanAction) -> None:
    """Whoever gives ten more steps has not read the mail."""
    assert answered(STATE, action) == ["stop", "stands"]


def test_kill_answers_everything() -> None:
    assert answered(STATE, "kill") == ["stop", "first", "stands", "second"]


def test_the_time_is_that_for_which_somebody_waited() -> None:
    """What only stood in the queue delayed nobody, and a clock that was set back no one either."""
    times = {a.handoff: a.waited_seconds for a in answering(STATE, "kill", NOW)}

    assert times == {"stop": 60.0, "first": 10.0, "stands": 0.0, "second": 10.0}
    assert [a.waited_seconds for a in answering(STATE, "extend", 30.0)] == [0.0, 0.0]


def test_of_two_calls_with_one_id_the_older_is_decided_on_first() -> None:
    """Some providers count their calls from nought in each answer; a handoff's id tells them
    apart."""
    by_call = deciding(STATE, "call_0", "approve", "", NOW)
    by_handoff = deciding(STATE, "second", "deny", "no", NOW)

    assert by_call is not None
    assert by_handoff is not None
    assert (by_call.handoff, by_call.action, by_call.held) == (
        *("first", "approve"),
        HeldTool("call_0", "send", b"d"),
    )
    assert (by_handoff.handoff, by_handoff.message) == ("second", "no")


@pytest.mark.parametrize("name", ["stop", "stands", "call_9", ""])
def test_only_what_is_held_can_be_decided_on(name: str) -> None:
    assert deciding(STATE, name, "approve", "", NOW) is None
    assert deciding(EMPTY, name, "approve", "", NOW) is None


def test_the_calls_that_wait_are_named() -> None:
    assert held_calls(STATE) == ("call_0", "call_0")
