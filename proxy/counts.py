"""What was counted, as a value: put together over workers, and written down for Prometheus."""

from collections.abc import Iterable
from typing import Final, TypeAlias

import msgspec

_EACH_COUNTS_THE_SAME: Final = frozenset({"holdfast_policy_reloads"})
"""Every worker reads the one policy file: the count of any is the count of all."""


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One line. labels: name and value each."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float


class Family(msgspec.Struct, frozen=True, array_like=True):
    """One metric with all its labels. kind: counter, gauge or histogram."""

    name: str
    documentation: str
    kind: str
    samples: tuple[Sample, ...]


Counts: TypeAlias = tuple[Family, ...]

_DECODER = msgspec.msgpack.Decoder(Counts)


def encode_counts(counts: Counts) -> bytes:
    return msgspec.msgpack.encode(counts)


def decode_counts(encoded: bytes) -> Counts:
    """Raises msgspec.DecodeError. Of nothing: nothing."""
    return _DECODER.decode(encoded) if encoded else ()


def merged(several: Iterable[Counts]) -> Counts:
    """The sum of all. Of the time since when something is counted, the earliest."""
    families: dict[str, Family] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for counts in several:
        for family in counts:
            families.setdefault(family.name, family)
            known = values.setdefault(family.name, {})
            for sample in family.samples:
                key = (sample.name, sample.labels)
                value = sample.value
                known[key] = (
                    _together(family.name, key[0], known[key], value) if key in known else value
                )
    return tuple(
        msgspec.structs.replace(
            family, samples=tuple(Sample(*key, value) for key, value in values[name].items())
        )
        for name, family in families.items()
    )


def _together(family: str, sample: str, one: float, other: float) -> float:
    if sample == f"{family}_created":
        return min(one, other)
    return max(one, other) if family in _EACH_COUNTS_THE_SAME else one + other


def without_gauges(counts: Counts) -> Counts:
    """What stays of one who has gone: what was counted, not what was so while it lived."""
    return tuple(family for family in counts if family.kind != "gauge")


def exposition(counts: Counts) -> bytes:
    """Prometheus' text format, version 0.0.4."""
    lines: list[str] = []
    for family in counts:
        made = f"{family.name}_created"
        name = f"{family.name}_total" if family.kind == "counter" else family.name
        _write(lines, name, family, [one for one in family.samples if one.name != made])
        since = [one for one in family.samples if one.name == made]
        if since:  # when something was first counted is a metric of its own in this format
            _write(lines, made, msgspec.structs.replace(family, kind="gauge"), since)
    return "".join(lines).encode()


def _write(lines: list[str], name: str, family: Family, samples: Iterable[Sample]) -> None:
    text = _escaped(family.documentation)
    lines.append(f"# HELP {name} {text}\n# TYPE {name} {family.kind}\n")
    for sample in samples:
        labels = ",".join(
            [f'{label}="{_escaped(value, quoted=True)}"' for label, value in sorted(sample.labels)]
        )
        shown = f"{{{labels}}}" if labels else ""
        lines.append(f"{sample.name}{shown} {_number(sample.value)}\n")


def _number(value: float) -> str:
    """With an exponent from a million on, as Prometheus itself writes it."""
    text = repr(float(value))
    whole, _, rest = text.partition(".")
    if len(whole) < 7 or "e" in rest:
        return text
    digits = (whole + rest).rstrip("0")
    mantissa = f"{digits[0]}.{digits[1:]}" if len(digits) > 1 else digits
    return f"{mantissa}e+{len(whole) - 1:02}"


def _escaped(text: str, *, quoted: bool = False) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quoted else text
