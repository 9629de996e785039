"""Faults: asked for by name, refused by name, and counted per call."""

import pytest

from proxy.simulator.faults import BadFault, Fault, FaultBoard, FaultKind, Rule, parse_faults


def test_a_fault_is_read_with_its_options() -> None:
    """The header is the shortest way to a fault."""
    status, head = parse_faults("status=429;retry_after=0.5;body=html, slow-head=2")

    assert (status.kind, status.at, status.retry_after, status.body) == (
        FaultKind.STATUS,
        429,
        0.5,
        "html",
    )
    assert (head.kind, head.seconds) == (FaultKind.SLOW_HEAD, 2.0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("explode", "unknown fault 'explode' (allowed: status, malformed_json"),
        ("status", "needs a code from 200 to 599"),
        ("status=99", "needs a code from 200 to 599"),
        ("status=soon", "'status' needs a number"),
        ("cut_events=3;how=politely", "(allowed: eof, close, reset)"),
        ("status=500;body=pdf", "(allowed: dialect, html, empty)"),
        ("status=500;again=1", "unknown option 'again' (allowed: seconds, how"),
        ("status=500;how", "has no value"),
        ("reset=3", "takes no argument"),
        ("slow_head=-1", "not negative"),
    ],
)
def test_what_cannot_be_is_told_with_what_is_allowed(text: str, told: str) -> None:
    """A typo in a drill must not pass for a provider without faults."""
    with pytest.raises(BadFault) as caught:
        parse_faults(text)

    assert told in str(caught.value)


def test_a_fault_with_times_lets_the_retry_of_the_same_call_through() -> None:
    """`times=2`: two attempts fail and the third succeeds, for each call by itself."""
    board = FaultBoard()
    faults = (Fault(FaultKind.STATUS, 503, times=2),)

    hits = [len(board.live(faults, call)) for call in (b"a", b"a", b"b", b"a", b"b", b"b")]

    assert hits == [1, 1, 1, 0, 1, 0]


def test_a_rule_hits_by_model_and_path_until_it_runs_out() -> None:
    """Set at run time, so that a whole fleet of clients is hit in the middle of a run."""
    board = FaultBoard()
    fault = Fault(FaultKind.RESET)
    board.rules = [Rule((fault,), model="gpt-*", path="*/responses", left=1)]

    assert board.take("claude", "/v1/responses") == ()
    assert board.take("gpt-5", "/v1/messages") == ()
    assert board.take("gpt-5", "/v1/responses") == (fault,)
    assert board.take("gpt-5", "/v1/responses") == ()
