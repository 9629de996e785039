"""When a provider says that it may be asked again, in all the ways in which they say it.

Read in November 2026: OpenAI, Azure and Groq send `x-ratelimit-reset-requests` and `-tokens` as
durations ("6m0s", "120ms") or bare seconds, beside `x-ratelimit-remaining-…`; Anthropic sends
`anthropic-ratelimit-…-reset` as RFC 3339 dates, and as epoch seconds for its subscriptions;
OpenRouter `x-ratelimit-reset` in epoch milliseconds; Mistral `ratelimitbysize-reset` in seconds;
Google a `retryDelay` in the body; OpenAI and Azure at times only a sentence. `retry-after-ms` and
`retry-after` come before all of them: they are meant for this one call, the others are of a window.
"""

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

MAX_RESET_SECONDS: Final = 3_600.0
"""Nobody is believed for longer: a provider with a wrong clock must not be lost for a day."""
_MOST_CHARACTERS: Final = 64
_NUMBER: Final = re.compile(r"[0-9]{1,15}(?:\.[0-9]{0,9})?")
_PART: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|us|µs|ns|d|h|m|s)")
_SECONDS: Final = {
    "d": 86_400.0,
    "h": 3_600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "µs": 1e-6,
    "ns": 1e-9,
}
_EPOCH_SECONDS: Final = 1e8
"""A bare number from here on is a date: as seconds to wait it would be over three years."""
_EPOCH_MILLISECONDS: Final = 1e11
_TOLD: Final = re.compile(
    r"(?:try again|retry) (?:in|after) ([0-9]{1,9}(?:\.[0-9]{1,9})?)(?: ?(seconds?|minutes?)\b|"
    r"((?:ms|h|m|s)(?:[0-9.]{1,9}(?:ms|h|m|s)){0,3})\b)",
    re.IGNORECASE,
)
_TOLD_CHARACTERS: Final = 1_000
_FAMILIES: Final = ("x-ratelimit", "ratelimit", "anthropic-")
_HTTP_DATE: Final = "%a, %d %b %Y %H:%M:%S GMT"

Headers = Iterable[tuple[str, str]]


def resets_in(headers: Headers, now_epoch: float) -> float | None:
    """Seconds until a provider's limit is lifted, as its headers say; None: they do not.

    From 0 to MAX_RESET_SECONDS, whatever they are. A window counts only where nothing remains of it
    (or nothing is said of that); of several the last to be lifted does.
    """
    fields: dict[str, str] = {}
    for name, value in headers:
        fields.setdefault(name.lower(), value)
    after = _retry_after(fields, now_epoch)
    if after is not None:
        return bounded(after)
    waits = [wait for name in fields if (wait := _window(name, fields, now_epoch)) is not None]
    return bounded(max(waits)) if waits else None


def seconds_until(text: str, now_epoch: float) -> float | None:
    """What a reset says of itself: bare seconds, an epoch time in seconds or milliseconds, a
    duration ("1m30.5s"), an RFC 3339 or HTTP date. None: it is none of these. May be negative."""
    text = text.strip()
    if not text or len(text) > _MOST_CHARACTERS:
        return None
    if _NUMBER.fullmatch(text):
        number = float(text)
        if number >= _EPOCH_MILLISECONDS:
            return number / 1_000 - now_epoch
        return number - now_epoch if number >= _EPOCH_SECONDS else number
    parts = _PART.findall(text)
    if parts and "".join(count + unit for count, unit in parts) == text:
        return sum(float(count) * _SECONDS[unit] for count, unit in parts)
    date = _date(text)
    return None if date is None else date - now_epoch


def told_in(message: str) -> float | None:
    """Seconds to wait, as a sentence has them: OpenAI's "Please try again in 1m2.5s", Azure's
    "Please retry after 20 seconds", Google's "Please retry in 34.07s"."""
    found = _TOLD.search(message[:_TOLD_CHARACTERS])
    if found is None:
        return None
    number, words, units = found.groups()
    if units:
        return seconds_until(number + units.lower(), 0.0)
    return float(number) * (60 if words.lower().startswith("minute") else 1)


def _retry_after(fields: Mapping[str, str], now_epoch: float) -> float | None:
    milliseconds = fields.get("retry-after-ms", "").strip()
    if len(milliseconds) <= _MOST_CHARACTERS and _NUMBER.fullmatch(milliseconds):
        return float(milliseconds) / 1_000
    return seconds_until(fields.get("retry-after", ""), now_epoch)


def _window(name: str, fields: Mapping[str, str], now_epoch: float) -> float | None:
    if not name.startswith(_FAMILIES) or "reset" not in name.split("-"):
        return None
    status = fields.get(name.replace("reset", "status"), "")
    remaining = fields.get(name.replace("reset", "remaining"), "").strip()
    if status.startswith("allowed") or not _is_used_up(remaining):
        return None
    return seconds_until(fields[name], now_epoch)


def _is_used_up(remaining: str) -> bool:
    """Whether a window has nothing left, or does not say."""
    if len(remaining) > _MOST_CHARACTERS or not _NUMBER.fullmatch(remaining):
        return True
    return float(remaining) <= 0


def _date(text: str) -> float | None:
    try:
        if text.endswith(" GMT"):
            date = datetime.strptime(text, _HTTP_DATE).replace(tzinfo=UTC)
        else:
            date = datetime.fromisoformat(text)
            date = date if date.tzinfo else date.replace(tzinfo=UTC)
        return date.timestamp()
    except (ValueError, OverflowError):
        return None


def bounded(seconds: float) -> float | None:
    """What is believed of it."""
    return min(max(seconds, 0.0), MAX_RESET_SECONDS) if math.isfinite(seconds) else None
