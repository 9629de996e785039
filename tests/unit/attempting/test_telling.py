"""What a client is told of a call that no target has served."""

import math

import pytest

from proxy.attempting.opened import Refused
from proxy.attempting.sending import Failed
from proxy.attempting.telling import Told, own_error, own_words, why_elsewhere
from proxy.breakers.breaker import Shut
from proxy.core.failures import Failure
from proxy.core.policy import Upstream
from proxy.core.routing import Candidate

ONE = Candidate(0, Upstream("a", "http://a"), "m", "chat", named=True)
TWO = Candidate(1, Upstream("b", "http://b"), "n" * 99, "chat", named=False)
BUSY = Failure("error", "answered 503: busy.", 503, sent=False)
API = b'{"error":{"message":"busy","type":"x"}}'


def refused(
    status: int, body: bytes = API, *headers: tuple[str, str], reset: float | None = None
) -> Failed:
    failure = Failure("error", f"answered {status}", status, sent=False, reset_seconds=reset)
    return Failed(failure, Refused(status, headers, body))


def test_each_target_is_named_once_with_its_last_word() -> None:
    told = Told()
    told.failed(ONE, BUSY)
    told.failed(ONE, Failure("reset", "the connection was lost"))
    told.shut(ONE, Shut("failing", 12.4))
    told.not_asked(TWO, "it does not speak chat")
    error = told.error()

    assert error.message == (
        "No upstream could serve this call: a/m failed 2 times, and last so: the connection was "
        f"lost; b/{'n' * 64}: it does not speak chat. The next try is in 12 s."
    )
    assert (error.status, error.code) == (503, "upstream_unavailable")
    assert error.next_try_seconds == 12.4


def test_one_that_a_human_has_to_close_has_no_next_try() -> None:
    told = Told()
    told.shut(ONE, Shut("manual", math.inf))
    error = told.error()

    assert error.message.endswith("a/m was shut by hand and is not asked for now.")
    assert error.next_try_seconds is None


@pytest.mark.parametrize(
    ("status", "told"), [(500, 502), (501, 502), (502, 502), (503, 503), (504, 504), (418, 418)]
)
def test_a_page_of_a_server_in_between_is_no_fault_of_ours(status: int, told: int) -> None:
    assert own_error(refused(status, b"<html>")).status == told
    assert own_words(refused(status, b"<html>"), retried=True) is None


@pytest.mark.parametrize("body", [b"", b"  ", b" <!doctype html>"])
def test_what_no_client_can_read_is_not_passed_on(body: bytes) -> None:
    assert own_words(refused(500, body), retried=True) is None


@pytest.mark.parametrize(
    ("status", "headers", "reset", "again"),
    [
        (500, (), None, False),
        (429, (), None, False),
        (408, (), None, False),
        (400, (), None, True),
        (404, (), None, True),
        (429, (("retry-after", "5"),), 5.0, True),
        (429, (("Retry-After", "60"),), 60.0, True),
        (429, (("retry-after", "61"),), 61.0, False),
        (503, (("X-Should-Retry", "true"),), None, True),
    ],
)
def test_what_we_have_tried_again_its_client_need_not(
    status: int, headers: tuple[tuple[str, str], ...], reset: float | None, again: bool
) -> None:
    kept = own_words(refused(status, API, *headers, reset=reset), retried=True)
    untried = own_words(refused(status, API, *headers, reset=reset), retried=False)
    assert kept is not None
    assert untried is not None

    assert (("x-should-retry", "false") not in kept.headers) is again
    assert untried.headers == headers
    assert kept.body == API


def test_reasons_are_of_a_closed_list() -> None:
    assert why_elsewhere(Shut("failing", 1.0)) == "breaker_open"
    assert why_elsewhere(Failed(Failure("slow", "x"))) == "slow_first_token"
    assert why_elsewhere(Failed(Failure("timeout", "x"))) == "timeout"
    assert why_elsewhere(Failed(Failure("rate_limited", "x"))) == "rate_limited"
    assert why_elsewhere(Failed(Failure("dns", "x"))) == "error"
