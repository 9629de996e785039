"""The book: what a model costs at an upstream of the policy, and what is learnt of models' sizes.

A name is looked up, first hit wins, as
1. a glob under `prices` of the policy; 2. nothing, where the upstream is `price: free`;
3. an entry of the provider whose API the upstream's base URL is; 4. the same under a plainer
spelling (`models/…`, `vendor/…`, a dated snapshot, `-latest`, `:nitro`);
5. where the host is nobody's we know (a gateway, a local server): an entry of Bedrock for a name of
its form, or of the maker of that model; else the dearest that any provider has under this name.
A provider we know that lists no such model has no price for it: another's would be invented. The
exception is OpenRouter, which bills what the maker does.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TypeVar

from proxy.clock import Clock
from proxy.core.estimate import UNTAUGHT, Calibration
from proxy.core.policy import Policy, PriceOverride, Upstream
from proxy.core.pricing import FREE, Price, max_output_tokens, override_rates
from proxy.core.request import Request
from proxy.core.surcharges import Factors
from proxy.core.usage import Usage
from proxy.prices.entries import REGION, at_host, price_of, spellings
from proxy.prices.maxima import published_max_output_tokens
from proxy.prices.surcharges import override_factors
from proxy.prices.table import PREMIUM, PriceTable, Row, classes, families

_ENTRIES = 4096
"""Names that clients make up must not grow the process."""

_MAKERS = ("anthropic", "openai", "google", "x-ai")
"""Whose dearest model stands in where nothing is known of the provider or the name."""

_ALSO_SERVES = (
    (re.compile(r"https://[a-z-]+\.api\.openai\.com"), "openai"),
    (re.compile(r"https://bedrock-[a-z-]+\.[a-z0-9-]+\.(amazonaws\.com|api\.aws)"), "aws"),
    (re.compile(r"https://api\.together\.ai"), "together"),
)
"""Hosts of providers that the price data does not name."""

_PASSES_ON = "openrouter"
"""Bills what the maker does (https://openrouter.ai/docs/faq, read 2026-11-22): 585 of 585 recorded
calls of a model that its own list does not have."""

_BEDROCK = re.compile(REGION.pattern + r"|^(anthropic|amazon|meta|mistral|cohere|deepseek|qwen)\.")
_FOREVER = float("inf")
_E = TypeVar("_E")
_Hits = list[tuple[str, Row]]


@dataclass(frozen=True, slots=True)
class _Priced:
    """A price, and until when (epoch seconds) it holds."""

    price: Price
    until: float = _FOREVER


@dataclass(frozen=True, slots=True)
class _Unknown:
    """No price, for as long as the policy stays."""

    price: None = None
    until: float = _FOREVER


class PriceBook:
    """Prices by (upstream, model), resolved once until the next change of price or policy.

    Belongs to one event loop. Never invents a price: an unknown model is None.
    """

    def __init__(self, table: PriceTable, clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self._policy: Policy | None = None
        self._known: dict[tuple[str, str], _Priced | _Unknown] = {}
        self._dearest: dict[tuple[str, str], _Priced] = {}
        self._calibrations: dict[tuple[str, str], Calibration] = {}

    def price_for(self, policy: Policy, upstream: Upstream, model: str) -> Price | None:
        """The price of a model at an upstream of this policy, now."""
        if policy is not self._policy:
            self._policy = policy
            self._known.clear()
        now = self._clock.now()
        entry = self._known.get((upstream.name, model))
        if entry is None or now >= entry.until:
            entry = self._resolve(policy, upstream, model, now)
            _keep(self._known, (upstream.name, model), entry)
        return entry.price

    def dearest(self, upstream: Upstream, model: str = "") -> Price:
        """The dearest chat model that this unknown one may be: of those that the upstream's
        provider sells now, or everybody where it is unknown, the ones that share with it what its
        name tells: maker, family, class. Premium variants ("-pro", "-fast"), up to ten times their
        flagship, count only for a name that says so."""
        now = self._clock.now()
        entry = self._dearest.get((upstream.base_url, model))
        if entry is None or now >= entry.until:
            entry = self._resolve_dearest(upstream, model, now)
            _keep(self._dearest, (upstream.base_url, model), entry)
        return entry.price

    def max_output_tokens(self, model: str, price: Price | None) -> int:
        """The most that one choice of this model can produce where the client sets no bound."""
        if price is None:
            return published_max_output_tokens(model) or max_output_tokens(None)
        return max_output_tokens(price)

    def calibration(self, model: str, tenant: str = "") -> Calibration | None:
        """What this tenant's settled calls have taught of this model's bytes per token."""
        return self._calibrations.get((tenant, model))

    def observe(self, model: str, request: Request, usage: Usage, tenant: str = "") -> None:
        """Learns from a settled call; `usage` is the provider's own."""
        before = self._calibrations.get((tenant, model), UNTAUGHT)
        attachments = request.image_count + request.file_count
        after = before.observe(request.text_bytes, attachments, usage.total_input_tokens)
        if after is before:
            return
        self._calibrations.pop((tenant, model), None)  # it goes to the end: the newest
        if len(self._calibrations) >= _ENTRIES:
            del self._calibrations[next(iter(self._calibrations))]
        self._calibrations[tenant, model] = after

    def _resolve(
        self, policy: Policy, upstream: Upstream, model: str, now: float
    ) -> _Priced | _Unknown:
        found = self._find(upstream, model, now)
        facts = found.price if found is not None else FREE
        for glob, override in policy.prices.items():
            if fnmatchcase(model, glob):
                return _Priced(_bounded(_overridden(facts, override), model))
        if upstream.free:
            return _Priced(_bounded(replace(FREE, context_window=facts.context_window), model))
        return found or _Unknown()

    def _find(self, upstream: Upstream, model: str, now: float) -> _Priced | None:
        """What the table says, and until when."""
        provider = self._provider_of(upstream)
        for hits in self._hits(provider, model):
            entries = [e for e in (_entry(row, at, model, now) for at, row in hits) if e]
            if entries:
                dearest = max(entries, key=_weight)
                is_known = provider is not None
                price = at_host(dearest.price, upstream.base_url, is_known=is_known)
                return replace(dearest, price=price)
        if provider == _PASSES_ON and model.endswith(":free"):
            return _Priced(_bounded(replace(FREE, source="genai-prices"), model))
        return None

    def _provider_of(self, upstream: Upstream) -> str | None:
        for pattern, provider in _ALSO_SERVES:
            if pattern.match(upstream.base_url):
                return provider
        return self._table.provider_of_url(upstream.base_url)

    def _hits(self, provider: str | None, model: str) -> Iterator[_Hits]:
        """Entries for this name, the nearest first."""
        if provider is None:
            yield from self._anywhere(model)
            return
        yield from self._at_provider(provider, model)
        if provider == _PASSES_ON:
            yield from self._at_maker(model)

    def _at_provider(self, provider: str, model: str) -> Iterator[_Hits]:
        for name in spellings(model):
            if (row := self._table.find(provider, name)) is not None:
                yield [(provider, row)]

    def _anywhere(self, model: str) -> Iterator[_Hits]:
        """Its maker's entries; failing those, everybody's under exactly this name."""
        if _BEDROCK.match(model):
            yield from self._at_provider("aws", model)
        yield from self._at_maker(model)
        for name in spellings(model):
            yield list(self._table.find_exactly(name.lower()))

    def _at_maker(self, model: str) -> Iterator[_Hits]:
        for name in spellings(model):
            if (maker := self._table.provider_of_model(name.lower())) is not None:
                yield from self._at_provider(maker, name)

    def _resolve_dearest(self, upstream: Upstream, model: str, now: float) -> _Priced:
        provider = self._provider_of(upstream)
        here = (provider,) if provider is not None else tuple(self._table.provider_ids)
        words = (*families(model), *classes(model))
        entry = (
            self._dearest_like(here, words, model, now)
            or self._dearest_like(here if provider else (), ("",), model, now)
            or self._dearest_like(_MAKERS, ("",), model, now)
        )
        assert entry is not None  # the makers sell chat models
        price = at_host(entry.price, upstream.base_url, is_known=provider is not None)
        price = replace(price, source="dearest", context_window=None)
        return replace(entry, price=_bounded(price, model))

    def _dearest_like(
        self, provider_ids: Iterable[str], words: Iterable[str], model: str, now: float
    ) -> _Priced | None:
        """Of a provider's dearest with each of these words the cheapest, as the model has them all,
        but that a word that makes it dearer counts alone; and of these the dearest."""
        found: list[_Priced] = []
        for provider_id in provider_ids:
            provider = self._table.provider(provider_id)
            dearest = provider.dearest if provider is not None else {}
            known = [word for word in words if word in dearest]
            rows = [
                provider.row(dearest[word])
                for word in [word for word in known if word in PREMIUM] or known
                if provider is not None
            ]
            entries = [e for row in rows if (e := _entry(row, provider_id, model, now))]
            found += [min(entries, key=_weight)] if entries else []
        return max(found, key=_weight, default=None)


def _entry(row: Row, provider: str, model: str, now: float) -> _Priced | None:
    found = price_of(row, provider, now)
    return _Priced(_bounded(found[0], model), found[1]) if found is not None else None


def _overridden(facts: Price, override: PriceOverride) -> Price:
    """The policy's rates, and what else is known: fees and factors go on top of them too."""
    return replace(
        facts,
        rates=override_rates(override),
        tiers=(),
        factors=Factors({**facts.factors.by_term, **override_factors(override)}),
        apart=None,
        hold_times=1,
        source="policy",
    )


def _bounded(price: Price, model: str) -> Price:
    return replace(price, max_output_tokens=published_max_output_tokens(model))


def _weight(entry: _Priced) -> int:
    return entry.price.rates.input + entry.price.rates.output


def _keep(cache: dict[tuple[str, str], _E], key: tuple[str, str], entry: _E) -> None:
    if len(cache) >= _ENTRIES:
        cache.clear()
    cache[key] = entry
