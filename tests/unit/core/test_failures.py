"""What went wrong with an attempt, and who may do better."""

import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.failures import (
    Failure,
    Reason,
    failure_of_error,
    failure_of_event,
    failure_of_status,
    may_fall_back,
    may_retry,
)
from proxy.core.provider_errors import ending_of
from proxy.core.resets import MAX_RESET_SECONDS
from proxy.errors import FailureKind, UpstreamUnavailable

NOW = 1_796_040_000.0
REASONS: tuple[Reason, ...] = get_args(Reason)


def failed(status: int, error: object = None, *headers: tuple[str, str]) -> Failure | None:
    body = b"" if error is None else json.dumps(error).encode()
    return failure_of_status(status, headers, body, NOW)


def api(message: str = "No.", **words: object) -> dict[str, object]:
    return {"error": {"message": message, **words}}


def reason_of(status: int, error: object = None) -> Reason | None:
    failure = failed(status, error)
    return None if failure is None else failure.reason


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        *((ok, None) for ok in (200, 201, 204, 301, 399)),
        *((own, None) for own in (400, 405, 409, 410, 413, 415, 418, 422, 424, 499)),
        *((key, "key") for key in (401, 402, 403)),
        (404, "not_found"),
        (408, "timeout"),
        (425, "error"),
        (429, "rate_limited"),
        *((error, "error") for error in (500, 501, 502, 503, 504, 520, 524, 529, 599)),
    ],
)
def test_a_status_is_an_answer_the_callers_fault_or_a_failure(
    status: int, reason: Reason | None
) -> None:
    """409 and 422 are of this one call: another provider would say the same."""
    failure = failed(status, api())

    assert (failure and failure.reason) == reason
    if failure is not None:
        assert (failure.status, failure.sent) == (status, False)  # an error is billed by nobody


def test_a_quota_that_is_spent_is_not_asked_again() -> None:
    """It is as good as a dead key, but comes as a 429: SDKs try it again for ever."""
    spent = failed(429, api("You exceeded your current quota", code="insufficient_quota"))
    short = failed(429, api("Rate limit reached", code="rate_limit_exceeded"))

    assert spent is not None
    assert short is not None
    assert (spent.lasting, may_retry(spent)) == (True, False)
    assert (short.lasting, may_retry(short)) == (False, True)


@pytest.mark.parametrize(
    "error",
    [
        api("Rate limit exceeded: free-models-per-day. Add 10 credits", code=429),
        api("You have reached your daily limit"),
        api("Rate limit reached for model `x` on tokens per day (TPD): Limit 100000"),
        [api("Quota exceeded.", code=429, details=[{"@type": "t", "violations": [
            {"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}])],
    ],
)  # fmt: skip
def test_a_cap_of_a_day_outlives_the_call(error: object) -> None:
    failure = failed(429, error)

    assert failure is not None
    assert failure.lasting


def test_a_400_can_be_of_the_account() -> None:
    """Anthropic and Google say so when money or key is gone; nothing of the request was wrong."""
    credit = "Your credit balance is too low to access the Anthropic API. Please go to Plans"

    assert reason_of(400, api(credit, type="invalid_request_error")) == "key"
    assert reason_of(400, [api("API key not valid. Please pass a valid API key.")]) == "key"
    assert reason_of(400, [api("API key expired. Please renew the API key.")]) == "key"
    assert reason_of(400, api("x", details=[{"reason": "API_KEY_INVALID"}])) == "key"
    assert reason_of(400, api("x", code="billing_hard_limit_reached")) == "key"


def test_a_400_that_quotes_the_client_is_still_the_clients() -> None:
    """Else a prompt could close a provider to everybody."""
    quoting = "Invalid value: 'Your credit balance is too low'"

    assert reason_of(400, api(quoting, type="invalid_request_error")) is None
    assert reason_of(400, api("insufficient_quota api_key_invalid model_not_found")) is None


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (400, "invalid_model"),
        (400, "model_not_supported"),
        (400, "model_decommissioned"),
        (403, "model_not_found"),
        (429, "model_not_found"),
        (404, "model_not_found"),
    ],
)
def test_a_model_that_is_not_there_is_not_found(status: int, word: str) -> None:
    assert reason_of(status, api(code=word)) == "not_found"
    assert reason_of(status, {"object": "error", "message": "No.", "type": word}) == "not_found"


def test_a_flagged_prompt_closes_no_provider() -> None:
    """OpenRouter's moderation answers 403, for what the caller said."""
    flagged = api("Input flagged", code=403, metadata={"reasons": ["x"], "flagged_input": "…"})

    assert reason_of(403, flagged) is None


@pytest.mark.parametrize("flag", ["reasons", "flagged_input"])
def test_either_word_says_that_a_prompt_was_flagged(flag: str) -> None:
    assert reason_of(403, api("Flagged", metadata={flag: []})) is None
    assert reason_of(403, api("Forbidden", metadata={"other": []})) == "key"
    assert reason_of(429, api("Too many", metadata={flag: []})) == "rate_limited"


@pytest.mark.parametrize("status", [400, 413, 422])
def test_what_a_fallback_cannot_take_is_no_fault_of_the_callers(status: int) -> None:
    """A smaller context, another API: the request was good for the model that it was meant for."""
    body = json.dumps(api("exceeds the available context size")).encode()

    assert failure_of_status(status, (), body, NOW) is None
    failure = failure_of_status(status, (), body, NOW, is_other=True)

    assert failure is not None
    assert (failure.reason, failure.sent, may_retry(failure)) == ("not_found", False, False)
    assert failure.message == f"answered {status}: exceeds the available context size"


@pytest.mark.parametrize("status", [200, 405, 409, 418])
def test_what_is_of_the_call_itself_is_so_at_a_fallback_too(status: int) -> None:
    assert failure_of_status(status, (), b"{}", NOW, is_other=True) is None
    flagged = json.dumps(api(metadata={"reasons": []})).encode()
    assert failure_of_status(403, (), flagged, NOW, is_other=True) is None


def test_a_firewall_in_between_says_nothing_of_a_key() -> None:
    failure = failure_of_status(403, (), b"<html><h1>403 Forbidden</h1></html>", NOW)

    assert failure is not None
    assert failure.reason == "not_found"
    assert "html" not in failure.message


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (
            429,
            "Request too large for gpt-4o in organization org-1 on tokens per min (TPM): Limit 3",
        ),
        (402, "This request requires more credits, or fewer max_tokens. You requested up to 32000"),
        (402, "Prompt tokens limit exceeded: 230799 > 91442."),
    ],
)
def test_one_that_asks_for_too_much_closes_a_provider_to_nobody(status: int, message: str) -> None:
    """It would be shut at once, again and again, while smaller calls of others are served."""
    told = api(message, code="rate_limit_exceeded")
    failure = failed(status, told, ("retry-after", "60"))

    assert failure is not None
    assert (failure.reason, may_retry(failure), may_fall_back(failure, False)) == (
        "not_found",
        False,
        True,
    )
    in_stream = failure_of_event(json.dumps(told).encode(), NOW)
    assert in_stream is not None
    assert in_stream.reason == "not_found"
    assert reason_of(status, api(f"You said: {message}")) != "not_found"


@pytest.mark.parametrize(
    ("error", "headers", "reset"),
    [
        (api(), [("retry-after", "7")], 7),
        (api(), [("x-ratelimit-reset-requests", "1m0s")], 60),
        ([api(details=[{"@type": "RetryInfo", "retryDelay": "34.07s"}])], [], 34.07),
        (api(metadata={"headers": {"X-RateLimit-Reset": str(int(NOW + 50) * 1000)}}), [], 50),
        (api(details=[{"retryDelay": "34s"}]), [("retry-after", "7")], 7),
        (api(details=[{"retryDelay": "later"}]), [], None),
        (api(details=[{"retryDelay": "900h"}]), [], MAX_RESET_SECONDS),
        (api(), [], None),
        (api("Please try again in 1.5s."), [], 1.5),
        (api("Please try again in 1.5s."), [("retry-after", "7")], 7),
        (api("Please try again in 1.5s.", details=[{"retryDelay": "3s"}]), [], 3),
    ],
)
def test_a_reset_is_read_from_headers_or_body(
    error: object, headers: list[tuple[str, str]], reset: float | None
) -> None:
    failure = failed(429, error, *headers)

    assert failure is not None
    assert failure.reset_seconds == reset


def test_only_a_rate_limit_says_in_a_sentence_when_to_come_back() -> None:
    """Any other error may quote the client."""
    failure = failed(500, api("could not send 'try again in 50m'"))

    assert failure is not None
    assert failure.reset_seconds is None


@pytest.mark.parametrize("kind", get_args(FailureKind))
@pytest.mark.parametrize("sent", [True, False])
def test_an_attempt_that_broke_off_keeps_its_kind(kind: FailureKind, sent: bool) -> None:
    failure = failure_of_error(UpstreamUnavailable("it broke", kind=kind, sent=sent))

    assert (failure.reason, failure.message, failure.sent) == (kind, "it broke", sent)


@pytest.mark.parametrize(
    ("reason", "again"),
    [
        *((r, True) for r in ("connect", "dns", "reset", "error", "malformed", "truncated")),
        ("rate_limited", True),
        *((r, False) for r in ("tls", "timeout", "slow", "key", "not_found")),
    ],
)
def test_what_can_be_better_in_a_moment_is_tried_again(reason: Reason, again: bool) -> None:
    assert Failure(reason, "m").sent  # unless it is known that it cannot have been billed
    assert may_retry(Failure(reason, "m")) == again
    assert not may_retry(Failure(reason, "m", lasting=True))


def test_a_connection_that_timed_out_is_tried_again() -> None:
    """Nothing was sent, and five seconds are not the minutes that an answer is waited for."""
    assert may_retry(Failure("timeout", "m", sent=False))


@pytest.mark.parametrize("status", [501, 505])
def test_what_a_server_never_does_is_not_asked_again(status: int) -> None:
    failure = failed(status, api())

    assert failure is not None
    assert not may_retry(failure)


@pytest.mark.parametrize("reason", REASONS)
def test_all_but_the_callers_own_key_falls_back(reason: Reason) -> None:
    """Whoever sends a dead key hears of it, from the provider."""
    assert may_fall_back(Failure(reason, "m"), callers_key=False)
    assert may_fall_back(Failure(reason, "m"), callers_key=True) == (reason != "key")


def test_a_providers_words_are_bounded_and_on_one_line() -> None:
    failure = failed(500, api("first\nsecond\x1b[31m " + "x" * 10_000))

    assert failure is not None
    assert failure.message.startswith("answered 500: first second [31m xxx")
    assert len(failure.message) < 250


def test_no_message_has_a_key_in_it() -> None:
    """Providers quote it when they refuse it; it may be the proxy's own."""
    refused = failed(401, api("Incorrect API key provided: sk-proj-abcdef123456."))
    leaking = failed(
        500, api("cannot use Bearer abcdef123456 or sk-ant-api03-abcdef or AIzaSyA1234567")
    )

    assert refused is not None
    assert leaking is not None
    assert refused.message == "answered 401: its key is not accepted, or its account not served"
    assert leaking.message == "answered 500: cannot use [a key] or [a key] or [a key]"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("at https://me:pass-1@host/v1 now", "at https://[a key]@host/v1 now"),
        ("at https://token-1@host/v1", "at https://[a key]@host/v1"),
        ("Basic dXNlcjpwYXNzMQ== failed", "[a key] failed"),
        ("Basic authentication failed", "Basic authentication failed"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIi.c2ln is old", "[a key] is old"),
        ("url /x?api_key=0123456789abcdef&y=1", "url /x?[a key]&y=1"),
        ('{"token": "abcdef012345"}', '{"[a key]"}'),
        ("AKIAIOSFODNN7EXAMPLE and ghp_abcdef123456", "[a key] and [a key]"),
        ("max_tokens: 100000 is too large", "max_tokens: 100000 is too large"),
        (
            "me@example.com asked https://a.example/b?c=d@e",
            "me@example.com asked https://a.example/b?c=d@e",
        ),
    ],
)
def test_no_message_has_a_credential_of_another_kind(said: str, shown: str) -> None:
    failure = failed(500, api(said))

    assert failure is not None
    assert failure.message == f"answered 500: {shown}"


@pytest.mark.parametrize(
    "after", ["", "data: [DONE]\n\n", ": bye\n\n", "data: [DONE]"], ids=["", "done", "bye", "cut"]
)
def test_the_error_that_ends_a_stream_is_found_whatever_it_quotes(after: str) -> None:
    """A caller whose image is no data URL must not look like a provider that fails: five of those
    would shut it for all. vLLM sends [DONE] behind its errors."""
    error = json.dumps(api("No data URL: 'data: x'", type="BadRequestError", code=400))
    begun = 'data: {"choices": [{"delta": {"role": "assistant"}}]}\r\n\r\n'
    for name in ("", "event: error\n"):
        told = ending_of(f"{begun}{name}data: {error}\n\n{after}".encode())
        assert told == error.encode()
        assert failure_of_event(told, NOW) is None
    assert ending_of(b"data: [DONE]\n\n") == ending_of(b"") == b""


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=20) | st.sampled_from(
        ("insufficient_quota", "model_not_found", "5s", "per day")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(("error", "message", "code", "type", "details", "metadata", "headers",
                         "violations", "retryDelay", "X-RateLimit-Reset", "detail")),
        inner, max_size=5),
    max_leaves=20,
)  # fmt: skip


@given(st.integers(100, 999), json_values | st.binary(max_size=60))
def test_no_body_raises(status: int, content: object) -> None:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    failure = failure_of_status(status, (), body, NOW)

    if failure is not None:
        assert failure.status == status >= 400
        assert not failure.sent
        assert failure.message.isprintable()
        assert len(failure.message) < 300
        assert failure.reset_seconds is None or 0 <= failure.reset_seconds <= MAX_RESET_SECONDS


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b"{}",
        b"[]",
        b"null",
        b'"no"',
        b'{"error": "no model loaded"}',
        b'{"error": 5}',
        b'{"detail": "Internal"}',
        b'{"error": {"details": [5, {"violations": [5, {"quotaId": 5}]}, {"violations": 5}]}}',
        b'{"error": {"message": 5, "detail": ["x"]}}',
        b'{"error": {"details": 5, "metadata": 5, "message": 5, "code": "\\ud800"}}',
        b'{"error": {"metadata": {"headers": 5}}, "response": 5}',
        b" " * 70_000 + b'{"error": {"code": "insufficient_quota"}}',
    ],
)
def test_strange_bodies_are_errors_like_any(body: bytes) -> None:
    failure = failure_of_status(503, (), body, NOW)

    assert failure is not None
    assert (failure.reason, failure.lasting) == ("error", False)


def test_bare_errors_are_quoted_too() -> None:
    bare = failed(500, {"error": "no model loaded"})
    detail = failed(500, {"detail": "Internal"})

    assert bare is not None
    assert detail is not None
    assert (bare.message, detail.message) == (
        "answered 500: no model loaded",
        "answered 500: Internal",
    )


def event_failure(event: object) -> Failure | None:
    return failure_of_event(json.dumps(event).encode(), NOW)


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ({"type": "error", "error": {"type": "overloaded_error", "message": "x"}}, "error"),
        ({"type": "error", "error": {"type": "rate_limit_error"}}, "rate_limited"),
        ({"type": "error", "error": {"type": "authentication_error"}}, "key"),
        ({"type": "error", "error": {"type": "not_found_error"}}, "not_found"),
        ({"type": "error", "error": {"type": "invalid_request_error"}}, None),
        ({"type": "error", "code": "server_error", "message": "x"}, "error"),
        ({"type": "error", "code": "rate_limit_exceeded", "message": "x"}, "rate_limited"),
        ({"type": "response.failed", "response": {"error": {"code": "server_error"}}}, "error"),
        ({"type": "response.failed", "response": {"error": {"code": "slow_down"}}}, "rate_limited"),
        ({"type": "response.failed", "response": {"error": {"code": "invalid_prompt"}}}, None),
        ({"response": {"error": {"code": "invalid_image_format"}}}, None),
        ({"response": {"error": {"code": "context_length_exceeded"}}}, None),
        ({"error": {"code": 502, "message": "down"}, "choices": []}, "error"),
        ({"error": {"code": 429, "message": "slow down"}}, "rate_limited"),
        ({"error": {"code": 400, "message": "bad"}}, None),
        ({"error": {"code": 7, "message": "?"}}, "error"),
        ({"error": {"code": "insufficient_quota"}}, "rate_limited"),
        ({"error": {"message": "internal"}}, "error"),
        ({"error": "internal"}, "error"),
        ({"error": None, "message": "x"}, "error"),
        ("?", "error"),
    ],
)
def test_an_error_can_come_with_status_200(event: object, reason: Reason | None) -> None:
    """In a stream that had begun; and OpenRouter's answers do so whole."""
    failure = event_failure(event)

    assert (None if failure is None else failure.reason) == reason
    if failure is not None:
        assert (failure.status, failure.sent) == (0, True)  # what had begun may be billed


def test_an_error_in_a_stream_says_when_it_may_be_asked_again() -> None:
    failure = event_failure([api(details=[{"retryDelay": "34s"}], code="rate_limit_exceeded")])
    spent = event_failure({"error": {"code": "insufficient_quota", "message": "No money."}})
    key = event_failure({"error": {"type": "authentication_error", "message": "sk-1 is bad"}})

    assert failure is not None
    assert spent is not None
    assert key is not None
    assert (failure.reset_seconds, failure.lasting) == (34, False)
    assert (spent.message, spent.lasting) == ("began and failed: No money.", True)
    assert key.message == "began and failed"


@given(json_values | st.binary(max_size=60))
def test_no_event_raises(content: object) -> None:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    failure = failure_of_event(data, NOW)

    assert failure is None or (failure.sent and failure.message.isprintable())
