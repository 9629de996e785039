"""A few hundred cases of each fuzzer; `python -m tests.fuzz` plays as many as one likes."""

from collections import Counter
from pathlib import Path

import pytest

from tests.fakes_wire import Answer
from tests.fuzz.books import Books, disagreements
from tests.fuzz.campaign import CLIENTS, PROVIDERS, campaign
from tests.fuzz.cases import Case, Fuzzer
from tests.fuzz.client import wrong_with
from tests.fuzz.policies import fuzz_policies

pytestmark = pytest.mark.timeout(40)


def given(status: int, body: bytes = b"", *headers: str, whole: bool = True) -> Answer:
    """An answer as a client would read it."""
    head = "\r\n".join((f"HTTP/1.1 {status} X", *headers, "", "")).encode()
    return Answer(status, head, body, whole)


@pytest.mark.process
@pytest.mark.parametrize("slices", [CLIENTS, PROVIDERS], ids=["clients", "providers"])
async def test_nothing_that_comes_in_breaks_it(tmp_path: Path, slices: dict[str, Fuzzer]) -> None:
    """No 5xx that is ours, no crash, nothing left behind, and books that agree."""
    outcome = await campaign(tmp_path, 20, 300 * len(slices), slices)

    assert outcome.faults == []
    assert outcome.sent > 100
    assert outcome.booked_micro_usd >= outcome.billed_micro_usd > 0
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
    assert wrong_with(case, given(502, REFUSED)) is None
    assert wrong_with(case, given(500, b"<html>", "x-up: 1")) is None


@pytest.mark.parametrize(
    ("booked", "charged", "found"), [(13, 1, 0), (12, 1, 2), (13, 2, 2)], ids=["", "less", "more"]
)
def test_books_that_disagree_are_seen(booked: int, charged: int, found: int) -> None:
    """For the whole, and for the session."""
    books = Books(Counter(s=booked), Counter(s=charged), 1, 0)
    cases = {1: Case(1, b"", session="s")}

    assert len(disagreements(books, cases, Counter({1: 1}), Counter({1: 13}))) == found
