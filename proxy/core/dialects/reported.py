"""What providers report of an answer, which may be anything: read so that it does no harm."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from decimal import ROUND_CEILING, Decimal
from typing import TypeVar

import msgspec

from proxy.core.usage import Extras

T = TypeVar("T")

_MOST = 10**12
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_MICRO_PER_USD = 1_000_000
_TICKS_PER_USD = 10**10  # xAI's: https://docs.x.ai/docs/guides/usage, read 2026-11-22
_TERM_LENGTH = 32
_USUAL_TIERS = frozenset(
    {"", "auto", "default", "standard", "standard_only", "on_demand", "scale", "reserved"}
)
"""Served as usual, or from capacity that was paid for before."""
_USUAL_REGIONS = frozenset({"", "global", "not_available"})
_NO_EXTRAS = Extras()


def token_count(tokens: int | float | None) -> int:
    """Never negative, never beyond reason: a provider's mistake must not give a budget back."""
    if not tokens or tokens < 0:
        return 0
    return int(tokens) if tokens < _MOST else _MOST


def counted(value: object) -> int:
    """The same of a value that may be anything."""
    return token_count(value) if isinstance(value, int | float) else 0


def member(value: object, key: str) -> object:
    """What an object has under a key; None where it is no object."""
    return value.get(key) if isinstance(value, dict) else None


def value_of(raw: msgspec.Raw) -> object:
    """A value whose type is not known; None where it is absent or cannot be read."""
    if not memoryview(raw):
        return None
    try:
        return msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        return None


def billed_micro_usd(
    cost: object, ticks: object = None, *, is_byok: object = None, details: object = None
) -> int | None:
    """What the provider says it billed, rounded up; None where it does not say all of it.

    cost: USD at OpenRouter, an object with a total at Perplexity. ticks: xAI's unit, which wins.
    With the caller's own key at the provider (BYOK) OpenRouter's cost is its fee, and what the
    provider bills stands in the details (https://openrouter.ai/docs/use-cases/usage-accounting).
    """
    if (exact := _amount(ticks)) is not None:
        return _micro(exact / _TICKS_PER_USD)
    usd = _amount(member(cost, "total_cost") if isinstance(cost, dict) else cost)
    if usd is not None and is_byok is True:
        beside = _amount(member(details, "upstream_inference_cost"))
        usd = usd + beside if beside is not None else None
    return _micro(usd) if usd is not None else None


def terms_of(service_tier: object, speed: object = None, region: object = None) -> tuple[str, ...]:
    """How a call is asked for or was served, if not as usual, as in `Extras.terms`."""
    if speed is None and region is None and (service_tier is None or service_tier == "default"):
        return ()
    tier, named, place = _term(service_tier), _term(speed), _term(region)
    terms = (
        tier if tier not in _USUAL_TIERS else "",
        f"speed:{named}" if named not in _USUAL_TIERS else "",
        f"geo:{place}" if place not in _USUAL_REGIONS else "",
    )
    return tuple([term for term in terms if term])


def some(extras: Extras) -> Extras | None:
    """None where there are none: most calls have none."""
    return extras if extras != _NO_EXTRAS else None


def text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def readable(raws: Sequence[msgspec.Raw], decoder: msgspec.json.Decoder[T]) -> Iterator[T]:
    """Those that can be read: a provider's new kind of thing must not hide the others."""
    for raw in raws:
        with suppress(ValueError, RecursionError):
            yield decoder.decode(raw)


def read_list(
    raw: msgspec.Raw, whole: msgspec.json.Decoder[list[T]], each: msgspec.json.Decoder[T]
) -> list[T]:
    """What can be read of a list: all at once where there is nothing new in it.

    Raises ValueError or RecursionError for what is no list.
    """
    try:
        return whole.decode(raw)
    except (ValueError, RecursionError):
        return list(readable(_LIST.decode(raw), each))


def _term(value: object) -> str:
    return value[:_TERM_LENGTH].lower() if isinstance(value, str) else ""


def _amount(value: object) -> Decimal | None:
    """A number that can be money: a text or a flag is none, though both can be made one."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    amount = Decimal(str(value))
    return amount if amount.is_finite() and amount >= 0 else None


def _micro(usd: Decimal) -> int | None:
    micro = usd * _MICRO_PER_USD
    return int(micro.to_integral_value(ROUND_CEILING)) if micro <= _MOST else None
