"""Recorded runs, 50 interleaved and without a header: no request may join another run's session."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.inference_report import (
    FILES,
    MODES,
    Mode,
    Run,
    compacted,
    compacted_hard,
    data_directory,
    load_runs,
    mixed,
    play,
    reserialised,
    trimmed,
    trimmed_middle,
    verbatim,
)

DATA = data_directory()
MOST_SPLIT: dict[Mode, float] = {
    verbatim: 0.01,
    reserialised: 0.01,
    trimmed: 0.01,
    trimmed_middle: 0.015,
    compacted: 0.015,
    compacted_hard: 0.16,
    mixed: 0.03,
}
"""Share of requests that may open a second session of their run, in any one file."""

pytestmark = [
    pytest.mark.data,
    pytest.mark.timeout(120),
    pytest.mark.skipif(DATA is None, reason="recorded runs not found: set HOLDFAST_DATA"),
]


def runs_of(name: str) -> list[Run]:
    return load_runs((DATA or Path()) / f"{name}.jsonl.gz")


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.__name__)
@pytest.mark.parametrize("name", FILES)
def test_no_request_joins_another_runs_session(name: str, mode: Mode) -> None:
    """A wrong session pays for, and is stopped by, what another agent does."""
    score = asyncio.run(play(runs_of(name), mode))

    assert score.wrong == 0
    assert score.split <= MOST_SPLIT[mode] * score.requests


@pytest.mark.parametrize("mode", [verbatim, compacted_hard, mixed], ids=lambda m: m.__name__)
def test_exact_twins_side_by_side_are_never_mixed_up(
    mode: Mode,
) -> None:
    """The worst case: each run twice at once, word for word, with the same tool-call ids."""
    runs = [replace(run, model="m") for run in runs_of("tau2")[:60]]
    twins = [replace(run, name=f"{run.name} {twin}") for run in runs for twin in "ab"]

    score = asyncio.run(play(twins, mode))

    assert score.wrong == 0
