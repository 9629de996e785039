"""Compiles the data of genai-prices into `table.msgpack`: `python -m proxy.prices.build`.

Run it after an update of genai-prices. `serve` never imports that package: its data takes 57 MB and
a call of it 69 µs.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import genai_prices
import msgspec
from genai_prices import types as genai
from genai_prices.data import providers as genai_providers

from proxy.core.pricing import pico_per_token
from proxy.prices.table import (
    CLASSES,
    PREMIUM,
    TABLE_PATH,
    Clause,
    Conjunction,
    Head,
    Period,
    Provider,
    Rare,
    RateNumbers,
    Row,
    Sheet,
    classes,
    families,
)

_TERMS = {"service_tier": "{}", "speed": "speed:{}", "processing": "{}"}
"""Conditions of prices that are told by the answer, as `proxy.core.usage.Extras.terms` has them."""

_FIRST_DAY = date(2020, 1, 1)
_EVERYTHING_ANNOUNCED = datetime(2100, 1, 1, tzinfo=UTC)
_CURRENT_CONTEXT_WINDOW = 400_000
_NOT_CHAT = (":batch", "audio", "realtime", "image", "live", "tts", "embed", "deep-research")

_Amount = Decimal | genai.TieredPrices


def build(path: Path = TABLE_PATH) -> None:
    """Writes the whole table: the same bytes for the same data."""
    heads = tuple(_head(provider) for provider in genai_providers)
    path.write_bytes(msgspec.msgpack.encode((genai_prices.__version__, heads)))


def alternatives(logic: genai.MatchLogic) -> Iterator[Conjunction]:
    """A match as alternatives, each a conjunction of comparisons with lower-cased text."""
    match logic:
        case genai.ClauseOr(or_=parts):
            for part in parts:
                yield from alternatives(part)
        case genai.ClauseAnd(and_=parts):
            both: list[Conjunction] = [()]
            for part in parts:
                both = [left + right for left in both for right in alternatives(part)]
            yield from both
        case _:
            yield (_clause(logic),)


def sheet(prices: genai.ModelPrice, model: str) -> Sheet | None:
    """The rates of one price; None where nothing in it is billed by the token.

    An empty price is free only where the name says so (":free"): else the data knows nothing, and
    nothing must not become nought.
    """
    amounts: Mapping[str, _Amount] = {k: v for k, v in vars(prices).items() if v is not None}
    if "input_mtok" not in amounts and "output_mtok" not in amounts:
        return Sheet((0,) * 8) if not amounts and model.endswith(":free") else None
    starts = sorted({tier.start for amount in amounts.values() for tier in _tiers(amount)})
    return Sheet(
        rates=_rates(amounts, 0, model),
        tiers=tuple((start, _rates(amounts, start + 1, model)) for start in starts),
        per_request_pico=_each(amounts, "requests_kcount"),
        rare=_rare(amounts, model),
    )


def _head(provider: genai.Provider) -> Head:
    match = provider.model_match
    return Head(
        id=provider.id,
        api_pattern=provider.api_pattern,
        model_match=tuple(alternatives(match)) if match is not None else (),
        body=msgspec.Raw(msgspec.msgpack.encode(_provider(provider))),
    )


def _provider(provider: genai.Provider) -> Provider:
    equals: dict[str, int] = {}
    patterns: list[tuple[int, Conjunction]] = []
    for index, model in enumerate(provider.models):
        for conjunction in alternatives(model.match):
            if len(conjunction) == 1 and conjunction[0][0] == "equals":
                equals.setdefault(conjunction[0][1], index)
            else:
                patterns.append((index, conjunction))
    return Provider(
        id=provider.id,
        fallbacks=tuple(provider.fallback_model_providers or ()),
        dearest=_dearest(provider.models),
        equals=equals,
        patterns=tuple(patterns),
        rows=tuple(msgspec.Raw(msgspec.msgpack.encode(_row(model))) for model in provider.models),
    )


def _row(model: genai.ModelInfo) -> Row:
    if isinstance(model.prices, genai.ModelPrice):
        periods: tuple[Period, ...] = (Period(sheet(model.prices, model.id)),)
    else:
        periods = tuple(_period(conditional, model.id) for conditional in model.prices)
    return Row(model.id, model.context_window, periods, factors_of(model))


def factors_of(model: genai.ModelInfo) -> dict[str, tuple[int, int, int]]:
    """What the prices under each term are times the usual ones. The data has prices; they have been
    the same multiple of all classes at any time, but of cache reads."""
    factors: dict[str, tuple[int, int, int]] = {}
    for variant in model.price_variants or ():
        (key, value), *more = variant.when.items()
        if key not in _TERMS or more or (term := _TERMS[key].format(value)) in factors:
            continue
        at = variant.constraint
        since = at.start_date if isinstance(at, genai.StartDateConstraint) else _FIRST_DAY
        when = datetime.combine(since, time(), UTC)
        factor = _ratios(model.get_prices(when), model.get_prices(when, {key: value}))
        if factor is not None:
            factors[term] = factor
    return factors


def _ratios(usual: genai.ModelPrice, served: genai.ModelPrice) -> tuple[int, int, int] | None:
    """Of the tokens, and of those read from a cache, over one denominator; None where they differ
    in more than these, or in nothing."""
    classes_alike = ("input_mtok", "output_mtok", "cache_write_mtok")
    whole = {_ratio(usual, served, key) for key in classes_alike} - {None}
    if len(whole) != 1 or (ratio := whole.pop()) is None:
        return None
    reads = _ratio(usual, served, "cache_read_mtok") or ratio
    if ratio == reads == 1:
        return None
    per = math.lcm(ratio.denominator, reads.denominator)
    return int(ratio * per), per, int(reads * per)


def _ratio(usual: genai.ModelPrice, served: genai.ModelPrice, key: str) -> Fraction | None:
    before, after = getattr(usual, key), getattr(served, key)
    return Fraction(_at(after, 0)) / Fraction(_at(before, 0)) if before and after else None


def _period(conditional: genai.ConditionalPrice, model: str) -> Period:
    rates = sheet(conditional.prices, model)
    match conditional.constraint:
        case None:
            return Period(rates)
        case genai.StartDateConstraint(start_date=day):
            return Period(rates, int(datetime.combine(day, time(), UTC).timestamp()))
        case genai.TimeOfDateConstraint(start_time=start, end_time=end):
            return Period(rates, None, (_second_of_day(start), _second_of_day(end)))


def _second_of_day(at: time) -> int:
    offset = at.utcoffset()
    seconds = at.hour * 3600 + at.minute * 60 + at.second
    return (seconds - (int(offset.total_seconds()) if offset is not None else 0)) % 86_400


def _clause(logic: genai.MatchLogic) -> Clause:
    match logic:
        case genai.ClauseEquals(equals=text):
            return ("equals", text.lower())
        case genai.ClauseStartsWith(starts_with=text):
            return ("starts_with", text.lower())
        case genai.ClauseEndsWith(ends_with=text):
            return ("ends_with", text.lower())
        case genai.ClauseContains(contains=text):
            return ("contains", text.lower())
        case genai.ClauseRegex(regex=text):
            return ("regex", text)
        case _:
            raise TypeError(f"a kind of match that the table does not know: {logic!r}")


def _rates(amounts: Mapping[str, _Amount], total_input_tokens: int, model: str) -> RateNumbers:
    """A class without a price of its own is billed as the class it is part of, as genai-prices
    does; a one-hour cache write of a Claude model at twice the input, as Anthropic does."""

    def pico(key: str) -> int | None:
        amount = amounts.get(f"{key}_mtok")
        return None if amount is None else pico_per_token(_at(amount, total_input_tokens))

    def first(*rates: int | None) -> int:
        return next(rate for rate in rates if rate is not None)

    into, out, write = pico("input") or 0, pico("output") or 0, pico("cache_write")
    claude = 2 * into if "claude" in model and write is not None else None
    return (
        into,
        out,
        first(pico("cache_read"), into),
        first(write, into),
        first(pico("cache_write_1h"), claude, write, into),
        first(pico("input_audio"), into),
        first(pico("output_audio"), out),
        first(pico("output_reasoning"), out),
    )


def _rare(amounts: Mapping[str, _Amount], model: str) -> Rare | None:
    """Audio from a cache that has no price costs what any audio does."""
    into, out, read, _, _, audio, _, _ = _rates(amounts, 0, model)
    counted_as = (read, into, out)
    else_as = (read if "cache_read_mtok" in amounts else audio, into, out)
    keys = ("cache_audio_read_mtok", "input_image_mtok", "output_image_mtok")
    heard, seen, drawn = (
        pico_per_token(_at(amounts[key], 0)) if key in amounts else rate
        for key, rate in zip(keys, else_as, strict=True)
    )
    rare = Rare(
        web_search=_each(amounts, "web_searches_kcount"),
        file_search=_each(amounts, "storage_searches_kcount"),
        apart=(heard, seen, drawn) if (heard, seen, drawn) != counted_as else None,
    )
    return rare if rare != Rare() else None


def _each(amounts: Mapping[str, _Amount], per_thousand: str) -> int:
    """pico-USD of one, from USD per thousand."""
    return pico_per_token(_at(amounts.get(per_thousand, Decimal(0)), 0)) * 1000


def _at(amount: _Amount, total_input_tokens: int) -> Decimal:
    """The price of a unit in a call with so much input, free of the dust of binary fractions."""
    price = amount
    if isinstance(amount, genai.TieredPrices):
        passed = [tier.price for tier in amount.tiers if total_input_tokens > tier.start]
        price = passed[-1] if passed else amount.base
    assert isinstance(price, Decimal)
    return round(price, 12)


def _tiers(amount: _Amount) -> Sequence[genai.Tier]:
    return amount.tiers if isinstance(amount, genai.TieredPrices) else ()


def _dearest(models: Sequence[genai.ModelInfo]) -> dict[str, int]:
    """The dearest chat model a provider sells now, by input plus output price: of all, of each
    maker and family, of each class. Premium variants count for their class alone; old models, told
    by their small windows, only where none is large, or for the small classes."""
    groups: dict[str, list[int]] = {}
    for index, model in enumerate(models):
        if _is_chat(model):
            named = classes(model.id)
            usual = {"", *families(model.id), *named} - PREMIUM
            for word in named if _is_premium(model) else usual:
                groups.setdefault(word, []).append(index)
    dearest = {}
    for word, group in sorted(groups.items()):
        large = [i for i in group if (models[i].context_window or 0) >= _CURRENT_CONTEXT_WINDOW]
        of = group if word in CLASSES - PREMIUM else large or group
        dearest[word] = max(of, key=lambda i: _weight(models[i]))
    return dearest


def _is_premium(model: genai.ModelInfo) -> bool:
    openai_pro = re.search(r"(^|[/.])(gpt-|o\d)[\w.-]*-pro$", model.id) is not None
    return openai_pro or model.id.endswith("-fast")


def _is_chat(model: genai.ModelInfo) -> bool:
    unlike = any(part in model.id for part in _NOT_CHAT)
    return not unlike and not model.deprecated and _weight(model) > 0


def _weight(model: genai.ModelInfo) -> int:
    if not model.prices:
        return 0
    rates = sheet(model.get_prices(_EVERYTHING_ANNOUNCED), model.id)
    return rates.rates[0] + rates.rates[1] if rates is not None and rates.rates[1] else 0


if __name__ == "__main__":
    build()
