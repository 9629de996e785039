"""Tables say what was measured: medians, ratios to the right system, and what went wrong."""

import pytest

from bench.cells import CELLS, SMALL
from bench.report import (
    BEGIN,
    END,
    between_markers,
    cell_table,
    document,
    latency_table,
    number,
    summary_table,
    wrong,
)
from bench.results import DIRECT, Measured, Results, Sample, direct_name

PACED = next(cell for cell in CELLS if cell.name == "small@200")


def sample(
    cpu_us: float | None = None, p50_us: float = 1000, asked: float | None = None, errors: int = 0
) -> Sample:
    return Sample(
        cpu_us=cpu_us,
        rate=1000.0,
        asked_rate=asked,
        p50_us=p50_us,
        p99_us=p50_us * 2,
        chunk_p50_us=None,
        chunk_p99_us=None,
        answered=100,
        errors=errors,
        backlog_ms=0.0,
        others_share=0.25,
        example="HTTP/1.1 422" if errors else "",
    )


def system(name: str, cell: str, *samples: Sample) -> Measured:
    return Measured(name, "1.0", [0.1], [1024 * 1024], 2 * 1024 * 1024, {cell: list(samples)})


def results(*systems: Measured) -> Results:
    return Results("2026-01-01", "a machine", "python -m bench", 3, 2.0, list(systems), {})


def row(text: str, name: str) -> list[str]:
    line = next(line for line in text.splitlines() if name in line)
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_ratio_is_of_medians_to_the_named_system() -> None:
    """The claim of the whole bench; swapped, it would flatter just as plausibly."""
    measured = results(
        system("nginx", "small", sample(10), sample(12), sample(90)),
        system("envoy", "small", sample(60)),
        system("holdfast", "small", sample(30), sample(33), sample(36)),
    )

    cells = row(cell_table(measured, SMALL), "holdfast")

    assert cells[1] == "33.0 (30.0–36.0)"
    assert cells[2:4] == ["2.75", "0.55"]
    assert row(summary_table(measured), "holdfast")[1] == "33.0 (0.55)"


def test_without_a_base_there_is_no_ratio() -> None:
    """`--only holdfast` still has its table."""
    measured = results(system("holdfast", "small", sample(30)))

    assert row(cell_table(measured, SMALL), "holdfast")[1] == "30.0"
    assert "×" not in cell_table(measured, SMALL)
    assert row(summary_table(measured), "holdfast")[1] == "30.0"


def test_latency_is_compared_with_the_upstream_at_the_same_rate_and_round() -> None:
    """A slow system is asked for less; the upstream answers otherwise at that rate too."""
    direct = Measured(DIRECT, "")
    direct.samples[direct_name(PACED.name, 20)] = [sample(p50_us=500), sample(p50_us=900)]
    direct.samples[direct_name(PACED.name, 200)] = [sample(p50_us=100), sample(p50_us=100)]
    slow = system("litellm", PACED.name, sample(1, 1500, asked=20.0), sample(1, 1900, asked=20.0))

    cells = row(latency_table(results(direct, slow), PACED), "litellm")

    assert cells[1] == "20.0"
    assert cells[2] == "1.00"


def test_every_sample_with_an_answer_missing_is_named() -> None:
    """Figures over failed requests are not figures."""
    measured = results(system("caddy", "small", sample(1), sample(1, errors=7)))

    assert wrong(measured) == ["caddy, small: 7 of 107 not whole: HTTP/1.1 422"]
    assert row(cell_table(measured, SMALL), "caddy")[-1] == "7"


def test_a_busy_machine_is_told_beside_the_figures() -> None:
    """Else a run that others disturbed reads like any other."""
    measured = results(system("holdfast", "small", sample(1)))

    assert "others took 25% (at most 25%) of the core" in document(measured)


def test_what_was_not_measured_is_named_with_its_reason() -> None:
    """A peer that is left out silently looks beaten."""
    measured = results(system("holdfast", "small", sample(1)))
    measured.missing["caddy"] = "not installed: bench/peers.sh"

    assert "| caddy | not installed: bench/peers.sh |" in document(measured)


@pytest.mark.parametrize(
    ("value", "said"), [(None, "–"), (0.123, "0.12"), (12.34, "12.3"), (1234.5, "1,234")]
)
def test_a_number_has_about_three_figures(value: float | None, said: str) -> None:
    """More would claim a precision that a shared machine does not have."""
    assert number(value) == said


def test_only_what_is_between_the_markers_is_replaced() -> None:
    """The README is written by hand."""
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"

    assert between_markers(text, "new") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    with pytest.raises(ValueError, match="no <!-- bench -->"):
        between_markers("no markers", "new")
