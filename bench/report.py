"""Tables of what was measured: for the terminal, results.md and the README. Pure."""

from collections.abc import Callable, Sequence

from bench.cells import CELLS, SMALL, Cell
from bench.results import (
    DIRECT,
    Measured,
    Results,
    Sample,
    Spread,
    added_ms,
    cpu,
    rate,
    ratio,
    spread,
)

BASES = ("nginx", "envoy")
"""What the others are compared with, where they were measured."""
BEGIN, END = "<!-- bench -->", "<!-- /bench -->"
_NONE = "–"
_MIB = 1024 * 1024


def number(value: float | None) -> str:
    """Three figures, or fewer where they would say more than was measured."""
    if value is None:
        return _NONE
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def shown(figure: Spread | None) -> str:
    """The median, and the least and the most of all rounds."""
    if figure is None:
        return _NONE
    if figure.low == figure.high:
        return number(figure.median)
    return f"{number(figure.median)} ({number(figure.low)}–{number(figure.high)})"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown; all columns but the first hold figures."""
    rule = ["---", *["--:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *rows))


def systems_of(results: Results) -> list[Measured]:
    """All but the upstream alone."""
    return [system for system in results.systems if system.name != DIRECT]


def _label(system: Measured) -> str:
    name = f"{system.name} {system.version}"
    return f"**{name}**" if system.name.startswith("holdfast") else name


def _bases(results: Results) -> list[Measured]:
    found = (results.system(name) for name in BASES)
    return [system for system in found if system is not None]


def _over(samples: Sequence[Sample], figure: Callable[[Sample], float | None], unit: float) -> str:
    values = [value / unit for sample in samples if (value := figure(sample)) is not None]
    return shown(spread(values))


def cell_table(results: Results, cell: Cell) -> str:
    """One cell: CPU and its ratios; rate and latency, or the delay of a chunk; errors."""
    bases = _bases(results)
    header = ["", f"CPU µs/{cell.unit}", *(f"× {base.name}" for base in bases)]
    header += ["chunk delay µs, p50", "p99"] if cell.stream else ["answers/s", "p50 ms", "p99 ms"]
    rows = []
    for system in systems_of(results):
        samples = system.samples.get(cell.name, [])
        used = cpu(system, cell.name)
        row = [_label(system), shown(used)]
        row += [number(ratio(used, cpu(base, cell.name))) for base in bases]
        if cell.stream:
            row.append(_over(samples, lambda sample: sample.chunk_p50_us, 1))
            row.append(_over(samples, lambda sample: sample.chunk_p99_us, 1))
        else:
            row.append(shown(rate(system, cell.name)))
            row.append(_over(samples, lambda sample: sample.p50_us, 1000))
            row.append(_over(samples, lambda sample: sample.p99_us, 1000))
        rows.append([*row, str(sum(sample.errors for sample in samples))])
    return table([*header, "errors"], rows)


def latency_table(results: Results, cell: Cell) -> str:
    """One cell at a fixed rate: what latency is added, and by how much more than nginx adds."""
    nginx = results.system("nginx")
    rows = []
    for system in systems_of(results):
        samples = system.samples.get(cell.name, [])
        p50 = added_ms(results, system, cell.name, "p50")
        base = added_ms(results, nginx, cell.name, "p50") if nginx else None
        beyond = p50.median - base.median if p50 and base else None
        asked = "/".join(sorted({number(sample.asked_rate) for sample in samples}))
        p99 = added_ms(results, system, cell.name, "p99")
        errors = str(sum(sample.errors for sample in samples))
        cells = [shown(p50), shown(p99), number(beyond), shown(cpu(system, cell.name)), errors]
        rows.append([_label(system), asked or _NONE, *cells])
    header = ["", "asked/s", "added ms, p50", "added ms, p99", "p50 beyond nginx's"]
    return table([*header, "CPU µs/request", "errors"], rows)


def start_table(results: Results) -> str:
    """Time to ready, and memory."""
    bases = _bases(results)
    rows = []
    for system in systems_of(results):
        idle = spread([size / _MIB for size in system.idle_bytes])
        row = [_label(system), shown(spread(system.ready_seconds)), shown(idle)]
        row.append(number(system.peak_bytes / _MIB))
        for base in bases:
            row.append(number(ratio(idle, spread([size / _MIB for size in base.idle_bytes]))))
        rows.append(row)
    header = ["", "ready s", "idle MiB", "peak MiB", *(f"idle × {base.name}" for base in bases)]
    return table(header, rows)


def summary_table(results: Results) -> str:
    """One line a system: medians, with the multiple of Envoy's CPU in brackets."""
    envoy = results.system("envoy")
    measured = {name for system in results.systems for name in system.samples}
    cells = [cell for cell in CELLS if cell.rate is None and cell.name in measured]
    header = ["", *(f"{cell.title}, µs" for cell in cells)]
    rows = []
    for system in systems_of(results):
        row = [_label(system)]
        for cell in cells:
            used = cpu(system, cell.name)
            times = ratio(used, cpu(envoy, cell.name)) if envoy else None
            row.append(number(used.median) if used else _NONE)
            row[-1] += f" ({number(times)})" if times is not None else ""
        rows.append([*row, *_summary_rest(results, system)])
    return table([*header, "answers/s", "added ms, p50 / p99", "ready s", "MiB idle / peak"], rows)


def _summary_rest(results: Results, system: Measured) -> list[str]:
    answers = rate(system, SMALL.name)
    at_rate = f"{SMALL.name}@200"
    added = [added_ms(results, system, at_rate, share) for share in ("p50", "p99")]
    ready = spread(system.ready_seconds)
    idle = spread([size / _MIB for size in system.idle_bytes])
    asked = {sample.asked_rate for sample in system.samples.get(at_rate, [])} - {None, 200}
    note = f" at {'/'.join(number(each) for each in asked)}/s" if asked else ""
    return [
        number(answers.median if answers else None),
        " / ".join(number(each.median if each else None) for each in added) + note,
        number(ready.median if ready else None),
        f"{number(idle.median if idle else None)} / {number(system.peak_bytes / _MIB)}",
    ]


def caption(results: Results) -> str:
    """What the summary's figures are."""
    others = results.others_share()
    taken = f"{others.median:.0%} (at most {others.high:.0%})" if others else "nothing"
    return (
        "CPU time of the whole process for each request, or for each chunk of a stream with so "
        "much between its chunks, and how many times Envoy's it is; answers a second on one core; "
        "latency added at 200 requests a second. Medians of "
        f"{results.rounds} rounds of {results.seconds:g} s, {results.date}, "
        f"{results.machine}; others took {taken} of the core under test."
    )


def document(results: Results) -> str:
    """All of results.md."""
    parts = [
        "# Measured",
        f"`{results.command}`: {caption(results)}",
        "How to read this: README.md.",
    ]
    parts += [summary_table(results), "Below: medians (least–most of the rounds)."]
    for cell in CELLS:
        if any(cell.name in system.samples for system in results.systems):
            made = cell_table(results, cell) if cell.rate is None else latency_table(results, cell)
            parts += [f"## {cell.title}", made]
    parts += ["## Starting, and memory", start_table(results)]
    if results.missing:
        rows = [[name, why] for name, why in results.missing.items()]
        parts += ["## Not measured", table(["", "because"], rows)]
    return "\n\n".join(parts) + "\n"


def wrong(results: Results) -> list[str]:
    """What keeps the figures from being believed: every answer that was not whole."""
    return [
        f"{system.name}, {cell}: {sample.errors} of {sample.errors + sample.answered} not whole: "
        f"{sample.example}"
        for system in results.systems
        for cell, samples in system.samples.items()
        for sample in samples
        if sample.errors
    ]


def between_markers(text: str, section: str) -> str:
    """The text with what is between its markers replaced. Raises ValueError: it has none."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"no {BEGIN} … {END} in it")
    return f"{before}{BEGIN}\n{section}\n{END}{after}"
