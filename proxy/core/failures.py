"""What went wrong with one attempt, and whether another can do better.

Told from the provider's answer before anything of it has reached the client. What is the caller's
own fault is no failure: it passes through as it is.
"""

from typing import Final, Literal

import msgspec

from proxy.core.provider_errors import Said, read_error, shown
from proxy.core.resets import Headers, bounded, resets_in, seconds_until, told_in
from proxy.errors import UpstreamUnavailable

Reason = Literal[
    "connect", "tls", "dns", "timeout", "reset", "error", "malformed", "truncated", "slow",
    "rate_limited", "key", "not_found",
]  # fmt: skip
"""connect, tls, dns, timeout, reset: of the connection. error: the provider's own. malformed,
truncated: not an answer, or not all of one. slow: given up for another. key: its key, or the
account behind it, is not served. not_found: it has no such model or path, or not for this call."""

_BY_STATUS: Final[dict[int, Reason]] = {
    401: "key",
    402: "key",
    403: "key",
    404: "not_found",
    408: "timeout",
    425: "error",
    429: "rate_limited",
}
_UNKNOWN_MODEL: Final = frozenset(
    ("model_not_found", "invalid_model", "model_not_supported", "model_decommissioned")
)
_USED_UP: Final = frozenset(
    ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "insufficient_funds")
)
_DEAD_KEY: Final = frozenset(("api_key_invalid", "invalid_api_key", "account_deactivated"))
_NO_CREDIT: Final = ("Your credit balance is too low", "API key not valid", "API key expired")
"""How messages of a 400 begin that is not the caller's fault: no code says so. Only their
beginning counts, for further on they may quote the client."""
_ASKS_TOO_MUCH: Final = (
    "Request too large for",  # OpenAI's, Azure's: more than a whole minute's tokens
    "This request requires more credits, or fewer max_tokens",  # OpenRouter's 402
    "Prompt tokens limit exceeded",
)
"""How messages begin that refuse one request for its size alone, at any time: smaller ones of
others are served meanwhile (users' reports of 2024 to 2026)."""
_OF_A_DAY: Final = ("per day", "per-day", "perday", "daily")
_NEVER_SERVED: Final = (501, 505)
_CANNOT_SERVE: Final = (400, 413, 422)
_OWN_FAULTS: Final = frozenset(
    (
        *("invalid_request_error", "invalid_prompt", "context_length_exceeded", "content_filter"),
        *("content_policy_violation", "cyber_policy", "bio_policy", "request_too_large"),
        *("badrequesterror", "bad_request_error", "bad_request", "invalid_request"),
    )
)
_KEYS: Final = frozenset(("authentication_error", "permission_error", "billing_error"))
_RATES: Final = frozenset(("rate_limit_error", "rate_limit_exceeded", "rate_limited", "slow_down"))
_RETRIED: Final[frozenset[Reason]] = frozenset(
    ("connect", "dns", "reset", "error", "malformed", "truncated", "rate_limited")
)


class Failure(msgspec.Struct, frozen=True):
    """One attempt that came to nothing.

    message: one sentence for a human, without secrets, the provider's words bounded. status: of its
    answer, 0 for none. sent: it may have been billed. reset_seconds: from now, until it may be
    asked again, as it says itself. lasting: nothing will be different within the call.
    """

    reason: Reason
    message: str
    status: int = 0
    sent: bool = True
    reset_seconds: float | None = None
    lasting: bool = False


def failure_of_status(
    status: int, headers: Headers, body: bytes, now_epoch: float, *, is_other: bool = False
) -> Failure | None:
    """What an answer with this status means. None: it is one, or the caller's own fault (400, 413,
    422 and the like), and passes through. Providers bill no error: `sent` is False.

    is_other: it is not the target that the caller meant. A request that is too long for a smaller
    model, or has what another API does not know, is no fault of the caller's there: that target
    cannot serve it, as if it were not found.
    """
    if status < 400:
        return None
    said = read_error(body)
    reason = _reason(status, said)
    if reason is None and is_other and status in _CANNOT_SERVE:
        reason = "not_found"
    if reason is None:
        return None
    reset = resets_in(headers, now_epoch)
    if reset is None:
        reset = _reset(reason, said, now_epoch)
    return Failure(
        reason,
        _message(status, reason, said),
        status=status,
        sent=False,
        reset_seconds=reset,
        lasting=status in _NEVER_SERVED or _is_used_up(said),
    )


def failure_of_event(data: bytes, now_epoch: float) -> Failure | None:
    """What an error means that came with status 200: as an event of a stream that had begun (its
    data), or as a whole answer. None: it is the caller's own fault, and passes through."""
    said = read_error(data)
    reason = _of_event(said)
    if reason is None:
        return None
    words = shown(said.message)
    return Failure(
        reason,
        f"began and failed: {words}" if words and reason != "key" else "began and failed",
        reset_seconds=_reset(reason, said, now_epoch),
        lasting=_is_used_up(said),
    )


def failure_of_error(error: UpstreamUnavailable) -> Failure:
    """What an attempt that broke off means."""
    return Failure(error.kind, error.message, sent=error.sent)


def may_retry(failure: Failure) -> bool:
    """Whether the same candidate can do better in a moment. A time-out was long enough; one of a
    connection was not."""
    if failure.lasting:
        return False
    return failure.reason in _RETRIED or (failure.reason == "timeout" and not failure.sent)


def may_fall_back(failure: Failure, callers_key: bool) -> bool:
    """Whether another candidate may serve the call. callers_key: it was the caller's own key that
    was refused, which the caller has to hear of."""
    return not (callers_key and failure.reason == "key")


def _reason(status: int, said: Said) -> Reason | None:
    if status >= 500:
        return "error"
    if status == 400:
        return _of_bad_request(said)
    if status == 403 and said.is_moderation:
        return None  # what the caller said was flagged
    if status == 403 and not said.is_json:
        return "not_found"  # a firewall knows no keys; and it may be for what the caller said
    if status in (402, 429) and said.message.startswith(_ASKS_TOO_MUCH):
        return "not_found"
    if status in (403, 429) and said.words & _UNKNOWN_MODEL:
        return "not_found"
    return _BY_STATUS.get(status)


def _of_event(said: Said) -> Reason | None:
    """A status that it gives itself says most; else its words do; else it is the provider's."""
    if said.status:
        return _reason(said.status, said)
    if said.message.startswith(_ASKS_TOO_MUCH):
        return "not_found"
    if said.words & (_RATES | _USED_UP):
        return "rate_limited"
    if said.words & (_KEYS | _DEAD_KEY):
        return "key"
    if said.words & (_UNKNOWN_MODEL | {"not_found_error"}):
        return "not_found"
    own = said.words & _OWN_FAULTS or any(word.startswith("invalid_image") for word in said.words)
    return None if own else "error"


def _reset(reason: Reason, said: Said, now_epoch: float) -> float | None:
    """From the body: its own field, else what a rate limit says to humans and nowhere else."""
    seconds = seconds_until(said.reset, now_epoch) if said.reset else None
    if seconds is None and reason == "rate_limited":
        seconds = told_in(said.message)
    return None if seconds is None else bounded(seconds)


def _of_bad_request(said: Said) -> Reason | None:
    if said.words & _UNKNOWN_MODEL:
        return "not_found"
    if said.words & (_DEAD_KEY | _USED_UP) or said.message.startswith(_NO_CREDIT):
        return "key"
    return None


def _is_used_up(said: Said) -> bool:
    """Whether a quota is spent that no call will live to see renewed."""
    if said.words & _USED_UP:
        return True
    texts = (said.message.lower(), *said.words)
    return any(sign in text for text in texts for sign in _OF_A_DAY)


def _message(status: int, reason: Reason, said: Said) -> str:
    if reason == "key":
        return f"answered {status}: its key is not accepted, or its account not served"
    words = shown(said.message)
    return f"answered {status}: {words}" if words else f"answered {status}"
