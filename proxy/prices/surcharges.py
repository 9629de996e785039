"""What the price data does not have: factors of some service tiers and regions, and some fees.

Read 2026-11-22. Where a page gives prices and no factor, it is their ratio; a model that is not on
these pages is taken from LiteLLM's table of the same month (MIT).
- https://developers.openai.com/api/docs/pricing: flex, regional processing, containers
- https://platform.claude.com/docs/en/build-with-claude/fast-mode, …/manage-claude/data-residency; a
  "priority" of Claude's is capacity that was paid for before: no factor
- https://ai.google.dev/gemini-api/docs/optimization: flex leaves the cache reads of models before
  3.5 as they are
- https://aws.amazon.com/bedrock/service-tiers. Groq's flex costs what its usual tier does
  (https://console.groq.com/docs/flex-processing)
- https://docs.perplexity.ai/guides/pricing: a request by the size of its search context
- https://openrouter.ai/docs/guides/features/service-tiers: the maker's
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

from proxy.core.policy import PriceOverride
from proxy.core.surcharges import NO_FACTORS, NO_FEES, Factor, Factors, Fees

_Row = tuple[str, Mapping[str, Factor]]


def _by(times: int, per: int = 1, reads: int | None = None) -> Factor:
    return Factor(times, per, times if reads is None else reads)


def _fast(times: int, per: int = 1) -> Mapping[str, Factor]:
    return {"priority": _by(times, per), "fast": _by(times, per)}


_HALF = _by(1, 2)
_CHEAP = {"flex": _HALF, "batch": _HALF}
_CLAUDE = {"priority": _by(1), "geo:us": _by(11, 10)}
_MORE: Mapping[str, tuple[_Row, ...]] = {
    "openai": ((r"", _CHEAP),),
    "azure": ((r"", _CHEAP),),
    "anthropic": (
        (r"claude-opus-4[-.][67]", {**_CLAUDE, "speed:fast": _by(6)}),
        (r"claude", _CLAUDE),
    ),
    "google": (
        (r"gemini-(2|3($|-|\.1-pro))", {"flex": _by(1, 2, reads=2), **_fast(9, 5)}),
        (r"gemini-3\.5-flash-lite", {"flex": Factor(3, 6, 4), **_fast(9, 5)}),
        (r"gemini-3\.5-flash", {"flex": Factor(15, 30, 16), **_fast(9, 5)}),
        (r"gemini", {**_CHEAP, **_fast(9, 5)}),
    ),
    "aws": ((r"", {**_CHEAP, **_fast(7, 4)}),),
}
_ROUTER = "openrouter"
_OPEN_WEIGHTS = re.compile(r"openai/gpt-oss|(?!(openai|anthropic|google/gemini|x-ai|perplexity)\b)")
_REGIONAL = re.compile(r"https://(eu|us)\.api\.openai\.com")
_REGIONALLY_DEARER = re.compile(r"gpt-(5\.[4-9]|[6-9]|realtime-2)")

_CONTAINER_PICO = 30 * 10**9  # of 1 GB: a larger one costs more, and the answer does not say so
_ROUTERS_SEARCH_PICO = 10 * 10**9  # as recorded
_ALWAYS_SEARCHES = (
    (r"gpt-4o(-mini)?-search-preview", 25 * 10**9),
    (r"gpt-5-search-api", 10 * 10**9),
)
_BY_CONTEXT = (
    (r"sonar($|-reasoning$)", {"low": 5 * 10**9, "medium": 8 * 10**9, "high": 12 * 10**9}),
    (r"sonar(-reasoning)?-pro$", {"low": 6 * 10**9, "medium": 10 * 10**9, "high": 14 * 10**9}),
)


def factors_for(provider: str, model: str, known: Mapping[str, Factor]) -> Factors:
    """The factors of a model, by its entry in the price data: those that the data has, and more."""
    if provider == _ROUTER:
        provider, _, model = model.partition("/")
    for pattern, more in _MORE.get(provider, ()):
        if re.match(pattern, model):
            return Factors({**more, **known})
    return Factors(known) if known else NO_FACTORS


def override_factors(override: PriceOverride) -> dict[str, Factor]:
    """The factors that a policy names."""
    exact = {term: Fraction(str(times)) for term, times in override.service_tiers.items()}
    return {term: _by(times.numerator, times.denominator) for term, times in exact.items()}


def fees_for(provider: str, model: str, known: Fees) -> Fees:
    """The fees that the data has, with those that it has not. Where an answer does not say how
    large its search context was, it was "low": the default. Perplexity's bills are rounded to a
    hundred-thousandth of a dollar: 8 of 8 recorded."""
    bare = model.rpartition("/")[2]
    if provider in ("openai", "azure"):
        always = next((pico for name, pico in _ALWAYS_SEARCHES if re.match(name, bare)), 0)
        return replace(known, request=known.request + always, container=_CONTAINER_PICO)
    if provider == _ROUTER:
        known = replace(known, web_search=known.web_search or _ROUTERS_SEARCH_PICO)
    if provider == "perplexity" or model.startswith("perplexity/"):
        by_context = next((usd for name, usd in _BY_CONTEXT if re.match(name, bare)), {})
        request = by_context.get("low", known.request)
        known = replace(known, request=request, by_context=by_context, step_micro_usd=10)
    return known if known != NO_FEES else NO_FEES


def hold_times_for(provider: str, model: str) -> int:
    """OpenRouter lists its cheapest host of open weights, and may choose another: billed were up to
    1.6 times the listed price (https://openrouter.ai/docs/features/provider-routing)."""
    return 2 if provider == _ROUTER and _OPEN_WEIGHTS.match(model) else 1


def is_regionally_dearer(base_url: str, model: str) -> bool:
    """Whether the model costs a tenth more at this host, which processes in one region."""
    return bool(_REGIONAL.match(base_url) and _REGIONALLY_DEARER.match(model))
