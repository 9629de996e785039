"""The headers that come with an answer, as each provider sends them."""

from datetime import UTC, datetime

from proxy.simulator.conversation import Dialect
from proxy.simulator.ids import Ids

JSON = "application/json"
EVENTS = "text/event-stream; charset=utf-8"
HTML = "text/html"


def answer_headers(
    dialect: Dialect, kind: str, ids: Ids, now: float, took_ms: int
) -> dict[str, str]:
    """The head of an answer of content type `kind`; `now` in seconds since the epoch."""
    headers = {"content-type": kind}
    if kind == EVENTS:
        headers["cache-control"] = "no-cache"
    if dialect == "messages":
        return headers | _anthropic(ids, now)
    return headers | {
        "openai-organization": "simulated",
        "openai-processing-ms": str(took_ms),
        "openai-version": "2020-10-01",
        "x-ratelimit-limit-requests": "30000",
        "x-ratelimit-limit-tokens": "150000000",
        "x-ratelimit-remaining-requests": "29999",
        "x-ratelimit-remaining-tokens": "149999990",
        "x-ratelimit-reset-requests": "2ms",
        "x-ratelimit-reset-tokens": "0s",
        "x-request-id": ids.hexadecimal("req_", 32),
    }


def _anthropic(ids: Ids, now: float) -> dict[str, str]:
    reset = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    limits = {
        "requests": (4_000, 3_999),
        "input-tokens": (2_000_000, 2_000_000),
        "output-tokens": (400_000, 400_000),
        "tokens": (2_400_000, 2_400_000),
    }
    headers = {
        "request-id": ids.base62("req_011C", 20),
        "anthropic-organization-id": "00000000-0000-4000-8000-000000000000",
    }
    for name, (limit, remaining) in limits.items():
        headers[f"anthropic-ratelimit-{name}-limit"] = str(limit)
        headers[f"anthropic-ratelimit-{name}-remaining"] = str(remaining)
        headers[f"anthropic-ratelimit-{name}-reset"] = reset
    return headers


def retry_headers(dialect: Dialect, status: int, after_seconds: float | None) -> dict[str, str]:
    """What an error says about trying again; a fraction of a second goes into `retry-after-ms`."""
    if after_seconds is None:
        return {}
    headers = {"retry-after": str(max(1, round(after_seconds)) if after_seconds else 0)}
    if after_seconds != int(after_seconds):
        headers["retry-after-ms"] = str(round(after_seconds * 1000))
    if status == 429 and dialect != "messages":
        headers["x-ratelimit-remaining-requests"] = "0"
        headers["x-ratelimit-reset-requests"] = f"{after_seconds:g}s"
    return headers
