"""A few hundred cases of each fuzzer; `python -m tests.fuzz` plays as many as one likes."""

from collections import Counter
from pathlib import Path

import pytest

from proxy.core import events as ev
from tests.fakes_wire import Answer
from tests.fuzz.books import Books, disagreements, wrong_in_log
from tests.fuzz.campaign import SIDES, campaign
from tests.fuzz.cases import Case, Fuzzer
from tests.fuzz.client import wrong_with
from tests.fuzz.fidelity import wrong_with_stream
from tests.fuzz.policies import fuzz_policies

pytestmark = pytest.mark.timeout(40)


def given(status: int, body: bytes = b"", *headers: str, whole: bool = True) -> Answer:
    """An answer as a client would read it."""
    head = "\r\n".join((f"HTTP/1.1 {status} X", *headers, "", "")).encode()
    return Answer(status, head, body, whole)


@pytest.mark.process
@pytest.mark.parametrize("slices", SIDES, ids=["clients", "providers", "streams"])
async def test_nothing_that_comes_in_breaks_it(tmp_path: Path, slices: dict[str, Fuzzer]) -> None:
    """No 5xx that is ours, no crash, nothing left behind, and books that agree."""
    outcome = await campaign(tmp_path, 20, 300 * len(slices), slices)

    assert outcome.faults == []
    assert outcome.sent > 100
    assert outcome.booked_micro_usd >= outcome.billed_micro_usd
    assert outcome.booked_micro_usd > 0
    assert outcome.statuses["200"] > 100


def test_no_policy_file_crashes_its_reader(tmp_path: Path) -> None:
    """It is written by people, at night."""
    assert fuzz_policies(20, 300, tmp_path) == []


REFUSED = b'{"error": {"message": "m", "type": "t", "code": "c"}}'
OF_ANTHROPIC = b'{"type": "error", "request_id": "r", ' + REFUSED[1:]
AS_IT_SHOULD = ("x-should-retry: false",)
WRONG = {
    "a 500": given(500, REFUSED),
    "a 502 with an honest provider": given(502, REFUSED),
    "no JSON": given(400, b"no", *AS_IT_SHOULD),
    "no code": given(400, b'{"error": {"message": "m"}}', *AS_IT_SHOULD),
    "another dialect": given(400, OF_ANTHROPIC, *AS_IT_SHOULD),
    "a retry": given(400, REFUSED),
    "cut": given(200, b"x", whole=False),
    "a stream without an end": given(200, b"data: {}\n\n", "content-type: text/event-stream"),
    "half an answer": given(200, b"{"),
    "what nobody said": given(200, b'{"choices": [1]}', "x-up: 1"),
}


@pytest.mark.parametrize("answer", WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_seen(answer: Answer) -> None:
    """A judge that lets everything pass finds nothing."""
    case = Case(1, b"POST / HTTP/1.1", dialect="chat", ends=False)

    assert wrong_with(case, answer) is not None


def test_what_is_right_is_let_pass() -> None:
    """And so is what the provider itself says."""
    case = Case(1, b"POST / HTTP/1.1", dialect="chat", plan=())

    assert wrong_with(case, given(400, REFUSED, *AS_IT_SHOULD)) is None
    assert wrong_with(case, given(502, REFUSED, *AS_IT_SHOULD)) is None
    assert wrong_with(case, given(500, b"<html>", "x-up: 1")) is None


ONE, TWO = b'data: {"n": 1}\n\n', b'data: {"n": 2}\n\n'
USAGE, DONE = b'data: {"choices": [], "usage": {}}\n\n', b"data: [DONE]\n\n"
WITH_NULL = b'data: {"n": 2, "usage": null}\n\n'
WITH_TWO = b'data: {"usage": null, "n": 2, "usage":null, "m": 3}\n\n'
BROKE = b'event: error\ndata: {"type":"error","error":{}}\n\n'
SAME = {
    "all": (ONE + TWO + DONE, ONE + TWO + DONE),
    "usage taken out": (ONE + USAGE + DONE, ONE + DONE),
    "a null taken out": (ONE + WITH_NULL + DONE, ONE + TWO + DONE),
    "both nulls taken out": (WITH_TWO + DONE, b'data: {"n": 2, "m": 3}\n\n' + DONE),
    "what follows the end": (ONE + DONE + TWO, ONE + DONE),
    "cut in an event": (ONE + TWO[:9], ONE + BROKE),
    "cut in an event that passed": (ONE + TWO[:9], ONE + TWO[:9] + b"\n\n" + BROKE),
    "usage before the cut": (ONE + USAGE, ONE + BROKE),
}
OTHERWISE = {
    "an event lost": (ONE + TWO + DONE, TWO + DONE),
    "an event lost at the end": (ONE + TWO, ONE),
    "an event lost before the cut": (ONE + TWO, ONE + BROKE),
    "an event twice": (ONE + TWO + DONE, ONE + ONE + TWO + DONE),
    "events that changed places": (ONE + TWO + DONE, TWO + ONE + DONE),
    "a byte changed": (ONE + TWO + DONE, ONE + TWO.replace(b"2", b"3") + DONE),
    "an end without an end": (ONE + TWO, ONE + TWO),
    "a frame in an event": (ONE + TWO[:9], ONE + TWO[:9] + BROKE),
    "something after the frame": (ONE, ONE + BROKE + ONE),
    "somebody else's event": (ONE + DONE, ONE + TWO + DONE),
    "usage that was changed": (ONE + WITH_NULL + DONE, ONE + WITH_NULL[:-3] + b"}}\n\n" + DONE),
}


@pytest.mark.parametrize(("said", "got"), SAME.values(), ids=SAME.keys())
def test_what_a_provider_said_may_come_so(said: bytes, got: bytes) -> None:
    """Whole, without usage that nobody asked for, or broken off and told so."""
    assert wrong_with_stream(said, got, all_came=True) is None


@pytest.mark.parametrize(("said", "got"), OTHERWISE.values(), ids=OTHERWISE.keys())
def test_what_a_provider_said_may_not_come_so(said: bytes, got: bytes) -> None:
    """One event lost in ten thousand streams is one wrong answer."""
    assert wrong_with_stream(said, got, all_came=True) is not None


def test_a_reset_may_lose_what_was_said() -> None:
    """It overtakes what is on its way."""
    assert wrong_with_stream(ONE + TWO, ONE + BROKE, all_came=False) is None


OPENED, HELD = ev.SessionOpened(1.0), ev.StepReserved(1.0, call_id="c", step=1)
BOOKED = ev.StepSettled(2.0, call_id="c", cost_micro_usd=13)
EXPIRED = ev.StepSettled(2.0, call_id="c", outcome="expired")
LOGS: dict[str, tuple[ev.AnyEvent, ...]] = {
    "a hold without an end": (OPENED, HELD),
    "two ends": (OPENED, HELD, BOOKED, BOOKED),
    "an end without a hold": (OPENED, BOOKED),
    "a hold twice": (OPENED, HELD, HELD, BOOKED),
    "forgotten until its deadline": (OPENED, HELD, EXPIRED),
    "no beginning": (HELD, BOOKED),
}


@pytest.mark.parametrize("events", LOGS.values(), ids=LOGS.keys())
def test_a_log_that_cannot_be_is_seen(events: tuple[ev.AnyEvent, ...]) -> None:
    """Whatever the sums say."""
    assert len(wrong_in_log(events)) == 1
    assert wrong_in_log((OPENED, HELD, BOOKED)) == []


@pytest.mark.parametrize(
    ("booked", "charged", "found"),
    [(13, 1, 0), (12, 1, 2), (13, 2, 2), (14, 1, 1)],
    ids=["as billed", "less", "more calls", "more"],
)
def test_books_that_disagree_are_seen(booked: int, charged: int, found: int) -> None:
    """For the whole, and for the session."""
    books = Books(Counter(s=booked), Counter(s=charged), 1, 0)
    cases = {1: Case(1, b"", session="s")}

    assert len(disagreements(books, cases, Counter({1: 1}), Counter({1: 13}))) == found
