"""What providers report of an answer, which may be anything: read so that it does no harm."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from decimal import ROUND_CEILING, Decimal
from typing import TypeVar

import msgspec

T = TypeVar("T")

_MOST = 10**12
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_USD_PER_MICRO_USD = Decimal("0.000001")


def token_count(tokens: int | float | None) -> int:
    """Never negative, never beyond reason: a provider's mistake must not give a budget back."""
    return min(max(0, int(tokens or 0)), _MOST)


def micro_usd(amount: object, per_micro_usd: Decimal = _USD_PER_MICRO_USD) -> int | None:
    """An amount in USD, or in another unit of which `per_micro_usd` make a micro-USD, rounded up.

    None for what is no amount of money (no number, negative, beyond reason).
    """
    if not isinstance(amount, int | float) or isinstance(amount, bool):
        return None
    exact = Decimal(str(amount)) / per_micro_usd
    return int(exact.to_integral_value(ROUND_CEILING)) if 0 <= exact <= _MOST else None


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
