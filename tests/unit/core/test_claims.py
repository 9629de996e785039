"""Who may carry a tool's call out."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from proxy.core.claims import rule, told
from proxy.core.events import SessionOpened
from proxy.core.session import EMPTY, SessionState, fold
from proxy.core.tools.facts import RESULT_BYTES, Handed, effect_of

CALL = Handed("c", "pay", effect_of("pay", "{}"))
OPEN = replace(EMPTY, seq=1, generation=1)


def claimed(state: SessionState, now: float = 100.0) -> SessionState:
    return fold(rule(state, CALL, now, 10.0).events, start=state)


def test_a_claim_is_granted_to_the_first_and_to_nobody_else() -> None:
    first = rule(OPEN, CALL, 100.0, 10.0)
    second = rule(claimed(OPEN), CALL, 109.9, 10.0)

    assert (first.claim, first.until) == ("granted", 110.0)
    assert (second.claim, second.until, second.events) == ("in_progress", 110.0, ())


def test_a_claim_whose_time_is_over_is_granted_again() -> None:
    assert rule(claimed(OPEN), CALL, 110.0, 10.0).claim == "granted"


def test_a_call_with_a_result_is_done() -> None:
    state = claimed(OPEN)
    state = fold(told(state, CALL, b'"sent"', 105.0), start=state)

    assert rule(state, CALL, 999.0, 10.0).claim == "done"
    assert told(state, CALL, b'"again"', 106.0) == ()


def test_a_claim_may_be_the_first_that_is_heard_of_its_session() -> None:
    events = rule(EMPTY, CALL, 100.0, 10.0).events

    assert isinstance(events[0], SessionOpened)
    assert events[0].source == "claim"
    assert len(rule(OPEN, CALL, 100.0, 10.0).events) == 1


def test_a_result_is_kept_as_text_and_as_what_it_was() -> None:
    (text,) = told(OPEN, CALL, b'"sent"', 1.0)
    (whole,) = told(OPEN, CALL, b'{"id": 7}', 1.0, is_error=True)

    assert (text.text, text.content) == ("sent", b"")  # type: ignore[union-attr]
    assert (whole.text, whole.content) == ('{"id": 7}', b'{"id": 7}')  # type: ignore[union-attr]
    assert whole.is_error  # type: ignore[union-attr]
    assert RESULT_BYTES == 65_536


@given(st.lists(st.tuples(st.floats(0, 50), st.booleans()), max_size=30))
def test_there_is_never_more_than_one_grant_in_force(steps: list[tuple[float, bool]]) -> None:
    """Whatever the order of claims and results: a grant ends before the next one begins."""
    state, now = OPEN, 0.0
    until, done = -1.0, False
    for pause, tells in steps:
        now += pause
        if tells:
            state, done = fold(told(state, CALL, b'"x"', now), start=state), True
            continue
        ruling = rule(state, CALL, now, 20.0)
        state = fold(ruling.events, start=state)
        assert (ruling.claim == "done") == done
        if ruling.claim == "granted":
            assert now >= until
            until = ruling.until
