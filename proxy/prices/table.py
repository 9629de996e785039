"""The compiled price table: its shape on disk, and which row a model name means.

Names match as in genai-prices: the provider's models in order, any clause of a model, on
lower-cased text. Here the clauses that compare whole names are a dictionary, the others a list in
model order, and the lower index wins; so a look-up costs microseconds. Providers and rows stay
undecoded until one is asked for: the table has 47 providers, and a process meets two or three.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import msgspec

TABLE_PATH = Path(__file__).with_name("table.msgpack")

Operation = Literal["equals", "starts_with", "ends_with", "contains", "regex"]
Clause = tuple[Operation, str]
Conjunction = tuple[Clause, ...]

RateNumbers = tuple[int, int, int, int, int, int, int, int]
"""pico-USD per token, in the order of the fields of `proxy.core.pricing.Rates`."""

PREMIUM = frozenset({"pro", "fast"})
"""Variants that cost up to ten times their flagship."""

CLASSES = PREMIUM | {
    *("haiku", "sonnet", "luna", "terra", "flash", "lite"),
    *("nano", "mini", "tiny", "small", "medium", "air", "turbo"),
}
"""Words in a name that tell how large or dear a model is."""

_WORD = re.compile(r"[a-z]+")
_COMPACT_DATE = re.compile(r"-(20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")
_SECONDS_A_DAY = 86_400


class Rare(msgspec.Struct, frozen=True, array_like=True):
    """pico-USD that few models have: a web search, a search in files; apart: a token in the order
    of the fields of `proxy.core.surcharges.Apart`, None where none of them differs."""

    web_search: int = 0
    file_search: int = 0
    apart: tuple[int, int, int] | None = None


class Sheet(msgspec.Struct, frozen=True, array_like=True):
    """Rates at one time. tiers: pairs of (threshold of input tokens, rates), ascending."""

    rates: RateNumbers
    tiers: tuple[tuple[int, RateNumbers], ...] = ()
    per_request_pico: int = 0
    rare: Rare | None = None


class Period(msgspec.Struct, frozen=True, array_like=True):
    """When a sheet holds: from a time on (epoch seconds), or daily between two seconds of the UTC
    day (the end may be below the start, over midnight), or always. sheet None: no token price."""

    sheet: Sheet | None
    starts_at: int | None = None
    daily: tuple[int, int] | None = None


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One model of one provider. The last period that holds is the one that counts. factors: by the
    term of a call, in the order of the fields of `proxy.core.surcharges.Factor`."""

    model: str
    context_window: int | None
    periods: tuple[Period, ...]
    factors: dict[str, tuple[int, int, int]] = {}


class Provider(msgspec.Struct, frozen=True, array_like=True):
    """One provider. equals: lower-cased name → index of the first model with it. patterns: (index,
    clauses that must all match), ascending. dearest: index of the dearest current chat model with
    a word in its name that tells its class or maker ("mini", "qwen/"); under "" of all."""

    id: str
    fallbacks: tuple[str, ...]
    dearest: dict[str, int]
    equals: dict[str, int]
    patterns: tuple[tuple[int, Conjunction], ...]
    rows: tuple[msgspec.Raw, ...]

    def row(self, index: int) -> Row:
        return msgspec.msgpack.decode(self.rows[index], type=Row)

    def find(self, name: str) -> int | None:
        """Index of the first model that this lower-cased name means, in this provider alone."""
        best = self.equals.get(name)
        for index, conjunction in self.patterns:
            if best is not None and index >= best:
                break
            if all(clause_matches(clause, name) for clause in conjunction):
                return index
        return best


class Head(msgspec.Struct, frozen=True, array_like=True):
    """What is needed of a provider to tell whether it is meant. api_pattern: regex on a base URL;
    model_match: alternatives that make a bare model name its own."""

    id: str
    api_pattern: str
    model_match: tuple[Conjunction, ...]
    body: msgspec.Raw


class _File(msgspec.Struct, frozen=True, array_like=True):
    genai_prices_version: str
    heads: tuple[Head, ...]


class PriceTable:
    """All prices that the package ships. Read-only; shared freely.

    Raises msgspec.DecodeError if the bytes are not a table.
    """

    def __init__(self, raw: bytes) -> None:
        self._file = msgspec.msgpack.decode(raw, type=_File)
        self._providers: dict[str, Provider] = {}

    @property
    def genai_prices_version(self) -> str:
        return self._file.genai_prices_version

    @cached_property
    def _heads(self) -> Mapping[str, Head]:
        return {head.id: head for head in self._file.heads}

    @property
    def provider_ids(self) -> Iterable[str]:
        return self._heads

    def provider(self, provider_id: str) -> Provider | None:
        """A provider by its id, decoded once."""
        if (known := self._providers.get(provider_id)) is not None:
            return known
        if (head := self._heads.get(provider_id)) is None:
            return None
        decoded = msgspec.msgpack.decode(head.body, type=Provider)
        self._providers[provider_id] = decoded
        return decoded

    def provider_of_url(self, base_url: str) -> str | None:
        """Id of the first provider whose API lives there."""
        for head in self._file.heads:
            if re.match(head.api_pattern, base_url):
                return head.id
        return None

    def provider_of_model(self, name: str) -> str | None:
        """Id of the first provider that claims bare names like this lower-cased one."""
        for head in self._file.heads:
            if any(all(clause_matches(c, name) for c in both) for both in head.model_match):
                return head.id
        return None

    def find(self, provider_id: str, name: str) -> Row | None:
        """The model that this name means at a provider, or at those whose models it also serves."""
        if (provider := self.provider(provider_id)) is None:
            return None
        name = name.lower()
        dashed = _COMPACT_DATE.sub(r"-\1-\2-\3", name)
        for spelling in (name,) if dashed == name else (name, dashed):
            for candidate in (provider, *map(self.provider, provider.fallbacks)):
                if candidate is not None and (index := candidate.find(spelling)) is not None:
                    return candidate.row(index)
        return None

    def find_exactly(self, name: str) -> Iterator[tuple[str, Row]]:
        """Every provider's model that goes by exactly this lower-cased name."""
        for provider_id in self._heads:
            provider = self.provider(provider_id)
            if provider is not None and (index := provider.equals.get(name)) is not None:
                yield provider_id, provider.row(index)


def families(model: str) -> Iterator[str]:
    """The maker of a model, where its name has one, and the first word of what follows: the words
    by which a new model of theirs may be known."""
    maker, slash, bare = model.lower().rpartition("/")
    if slash:
        yield maker + slash
    if (word := _WORD.match(bare)) is not None:
        yield word.group()


def classes(model: str) -> frozenset[str]:
    """Those of `CLASSES` in the name of a model."""
    return CLASSES.intersection(_WORD.findall(model.lower().rpartition("/")[2]))


def load_table(path: Path = TABLE_PATH) -> PriceTable:
    """Reads the table that the package ships. Raises OSError."""
    return PriceTable(path.read_bytes())


def sheet_at(row: Row, now: float) -> tuple[Sheet | None, float]:
    """The sheet that holds at `now` (epoch seconds, UTC), and until when that is sure."""
    until = min(_changes(row, now), default=float("inf"))
    for period in reversed(row.periods):
        if _holds(period, now):
            return period.sheet, until
    return row.periods[0].sheet if row.periods else None, until


def clause_matches(clause: Clause, name: str) -> bool:
    operation, text = clause
    match operation:
        case "equals":
            return name == text
        case "starts_with":
            return name.startswith(text)
        case "ends_with":
            return name.endswith(text)
        case "contains":
            return text in name
        case "regex":
            return _compiled(text).search(name) is not None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _holds(period: Period, now: float) -> bool:
    if period.starts_at is not None:
        return now >= period.starts_at
    if period.daily is None:
        return True
    start, end = period.daily
    second = now % _SECONDS_A_DAY
    return start <= second < end if start <= end else second >= start or second < end


def _changes(row: Row, now: float) -> Iterator[float]:
    """Every moment after `now` at which a period of this row begins or ends next."""
    midnight = now - now % _SECONDS_A_DAY
    for period in row.periods:
        if period.starts_at is not None and period.starts_at > now:
            yield period.starts_at
        for second in period.daily or ():
            at = midnight + second
            yield at if at > now else at + _SECONDS_A_DAY
