"""What an entry of the price table comes to: under which names it is asked for, at which host."""

import re
from collections.abc import Iterator
from dataclasses import astuple, replace

from proxy.core.pricing import Price, Rates, Tier
from proxy.core.surcharges import Apart, Factor, Fees
from proxy.prices.surcharges import factors_for, fees_for, hold_times_for, is_regionally_dearer
from proxy.prices.table import Rare, Row, sheet_at

REGION = re.compile(r"^(us|eu|apac|jp|au|ca|us-gov|global)\.(?=[a-z0-9]+\.)")
_SNAPSHOT = re.compile(r"[-@](20\d\d-\d\d-\d\d|20\d{6})$|-latest$")
_VENDOR = re.compile(r"^(models/|[^/]+/|[a-z]+\.(?=[a-z]))")
_VARIANT = re.compile(r":(nitro|floor|online|exacto|extended|thinking)$")

_WRITE_WHEN_ASKED = frozenset({"anthropic", "aws", "azure", "google", "openrouter"})
"""Providers that write Claude's prompts to a cache only where the request has a marker
(https://platform.claude.com/docs/en/build-with-claude/prompt-caching, read 2026-11-22); a gateway
may put some in. OpenAI's newer models, and others, write by themselves."""


def spellings(model: str) -> Iterator[str]:
    """A model's name as it came, then plainer: without a routing variant, a snapshot's date, the
    region and vendor before it."""
    seen: list[str] = []
    for start in (model, REGION.sub("", model), _VENDOR.sub("", REGION.sub("", model))):
        plain = _VARIANT.sub("", start)
        for name in (start, plain, _SNAPSHOT.sub("", plain)):
            if name and name not in seen:
                seen.append(name)
                yield name


def price_of(row: Row, provider: str, now: float) -> tuple[Price, float] | None:
    """The row's price at this time and until when; None where nothing is billed by the token."""
    sheet, until = sheet_at(row, now)
    if sheet is None:
        return None
    rare = sheet.rare or Rare()
    fees = Fees(sheet.per_request_pico, rare.web_search, rare.file_search)
    factors = {term: Factor(*numbers) for term, numbers in row.factors.items()}
    price = Price(
        rates=Rates(*sheet.rates),
        tiers=tuple(Tier(above, Rates(*rates)) for above, rates in sheet.tiers),
        fees=fees_for(provider, row.model, fees),
        factors=factors_for(provider, row.model, factors),
        apart=Apart(*rare.apart) if rare.apart else None,
        writes_when_asked="claude" in row.model and provider in _WRITE_WHEN_ASKED,
        hold_times=hold_times_for(provider, row.model),
        context_window=row.context_window,
        provider=provider,
        model=row.model,
    )
    return price, until


def at_host(price: Price, base_url: str, *, is_known: bool) -> Price:
    """The price at a host: a tenth more where it processes in one region; and a gateway that nobody
    knows may put markers into a request."""
    if is_regionally_dearer(base_url, price.model):
        tiers = tuple(Tier(tier.above_input_tokens, _dearer(tier.rates)) for tier in price.tiers)
        price = replace(price, rates=_dearer(price.rates), tiers=tiers)
    return price if is_known else replace(price, writes_when_asked=False)


def _dearer(rates: Rates) -> Rates:
    return Rates(*(-(-rate * 11 // 10) for rate in astuple(rates)))
