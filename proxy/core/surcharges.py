"""What a price may have beside its rates: fees, factors, and classes that few models bill apart."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from proxy.core.exposure import Exposure
from proxy.core.tariff import PICO_PER_MICRO
from proxy.core.usage import Extras


@dataclass(frozen=True, slots=True)
class Apart:
    """pico-USD per token of classes that cost what they are counted with, but at a few models."""

    cache_read_audio: int
    input_image: int
    output_image: int


@dataclass(frozen=True, slots=True)
class Fees:
    """pico-USD beside the tokens. request: of every call; by_context: of one by its
    `search_context`. The others: of each use of a tool that the provider runs.

    step_micro_usd: what a whole bill is rounded to, to the nearest; 0 if it is not.
    """

    request: int = 0
    web_search: int = 0
    file_search: int = 0
    container: int = 0
    by_context: Mapping[str, int] = field(default_factory=dict)
    step_micro_usd: int = 0

    def of(self, extras: Extras) -> int:
        """What this call's come to."""
        return (
            self.by_context.get(extras.search_context or "", self.request)
            + extras.web_searches * self.web_search
            + extras.file_searches * self.file_search
            + extras.containers * self.container
        )

    def most(self, exposure: Exposure) -> int:
        """The most that such a request's can come to, rounding included."""
        most = self.request
        if self.by_context or self.step_micro_usd:
            dearest = max((most, *self.by_context.values()))
            most = dearest + self.step_micro_usd * PICO_PER_MICRO
        if exposure.searches:
            most += exposure.searches * max(self.web_search, self.file_search, self.container)
        return most


NO_FEES = Fees()


@dataclass(frozen=True, slots=True)
class Factor:
    """By what rates are multiplied: `times` / `per`; those of cache reads by `reads` / `per`."""

    times: int
    per: int
    reads: int


@dataclass(frozen=True, slots=True)
class Factors:
    """By the terms of a call (`Extras.terms`). What nobody published is never cheaper on a guess,
    and dearer by what OpenAI and Anthropic ask (https://developers.openai.com/api/docs/pricing,
    https://platform.claude.com/docs/en/build-with-claude/fast-mode, read 2026-11-22)."""

    by_term: Mapping[str, Factor] = field(default_factory=dict)

    def of(self, term: str) -> Factor:
        return self.by_term.get(term) or _USUAL.get(term, _ONCE)


NO_FACTORS = Factors()

_ONCE = Factor(1, 1, 1)
_TWICE = Factor(2, 1, 2)
_USUAL = {
    "priority": _TWICE,
    "fast": _TWICE,
    "speed:fast": _TWICE,
    "ultrafast": Factor(6, 1, 6),
}
