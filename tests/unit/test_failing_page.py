"""docs/failing.md is held to the code: its table, and the policies in it."""

import json
import re
from pathlib import Path

import pytest

from proxy.config.load import parse_policy
from proxy.core.breaking import Effect, effect_of
from proxy.core.failures import (
    Failure,
    failure_of_error,
    failure_of_event,
    failure_of_status,
    may_fall_back,
    may_retry,
)
from proxy.errors import FailureKind, UpstreamUnavailable

PAGE = (Path(__file__).parents[2] / "docs" / "failing.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.splitlines()
    if line.count(" | ") == 3 and not line.startswith("|---")
]
BREAKERS: dict[Effect, str] = {
    "none": "counts as an answer",
    "slow": "counts a slow answer",
    "failure": "counts a failure",
    "rate_limited": "opens at once",
    "key": "opens at once",
}


def status(number: int, code: str = "") -> Failure | None:
    body = json.dumps({"error": {"message": "No.", "code": code}}).encode()
    return failure_of_status(number, (), body, 0.0)


def broke(kind: FailureKind, *, sent: bool = True) -> Failure:
    return failure_of_error(UpstreamUnavailable("it broke", kind=kind, sent=sent))


CASES: dict[str, list[Failure | None]] = {
    "not connected": [
        broke("connect", sent=False),
        broke("dns", sent=False),
        broke("timeout", sent=False),
    ],
    "TLS": [broke("tls", sent=False)],
    "connection lost": [broke("reset")],
    "no answer in time": [broke("timeout")],
    "5xx": [status(code) for code in (500, 502, 503, 504, 529, 408, 425)],
    "501": [status(501), status(505)],
    "429, ": [status(429), failure_of_event(b'{"error": {"code": "rate_limit_exceeded"}}', 0.0)],
    "429 for a quota": [status(429, code="insufficient_quota"), status(429, code="per day")],
    "401": [status(401), status(402), status(403), status(400, code="insufficient_quota")],
    "403 of a firewall": [failure_of_status(403, (), b"<html>", 0.0)],
    "a request that is larger": [
        failure_of_status(code, (), b'{"error": {"message": "Request too large for m"}}', 0.0)
        for code in (402, 429)
    ],
    "404": [status(404), status(400, code="model_not_found")],
    "a body that is no answer": [broke("malformed")],
    "an answer that breaks off": [broke("truncated")],
    "no first token": [Failure("slow", "m")],
    "400, 413, 422 from another": [
        failure_of_status(code, (), b"{}", 0.0, is_other=True) for code in (400, 413, 422)
    ],
    "400, 409": [status(code) for code in (400, 409, 413, 422)],
}


@pytest.mark.parametrize("begins", CASES)
def test_the_table_says_what_a_failure_means(begins: str) -> None:
    (row,) = (row for row in ROWS if row[0].startswith(begins))
    _, again, falls_back, breaker = row

    for failure in CASES[begins]:
        if failure is None:
            assert (again, falls_back, breaker) == (
                "no",
                "no: passed through",
                "counts as an answer",
            )
            continue
        assert again.startswith("yes") == may_retry(failure)
        assert may_fall_back(failure, callers_key=False)
        assert falls_back.startswith(("yes", "if another can serve"))
        assert breaker.startswith(BREAKERS[effect_of(failure)])


def test_a_callers_own_key_does_not_fall_back() -> None:
    (row,) = (row for row in ROWS if row[0] == "the same with the caller's own key")
    failure = status(401)

    assert failure is not None
    assert row[1:] == ["no", "no: passed through", "opens for that key alone"]
    assert not may_fall_back(failure, callers_key=True)


@pytest.mark.parametrize("shown", re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
def test_the_policies_that_the_page_shows_are_some(shown: str) -> None:
    """Pages are copied from."""
    assert parse_policy(shown, "f", {}).warnings == ()
