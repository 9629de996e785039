"""Recorded runs under the shipped policy: runaways are stopped, those that do well are let be.

The sample is in the repository; all of the runs are found by HOLDFAST_DATA.
"""

from pathlib import Path

import pytest

from proxy.dry_run.judging import Judged
from tests.loops_report import (
    FILES,
    PAGE,
    data_directory,
    judged_runs,
    markdown,
    page_with,
    report_on,
)

SAMPLE = Path(__file__).parent.parent / "data" / "trajectories_sample.jsonl.gz"
DATA = data_directory()
MOST_STOPPED, MOST_STEERED, LEAST_CAUGHT = 0.003, 0.015, 0.99
"""Of the runs that did well, and of the runaways."""

ITS_OWN_LOOP = "tau2-airline-48-86ffe650"
"""Did well though it called transfer_to_human_agents eight times in a row: a loop all the same."""
TOLD_TO_CONCLUDE = "mint-CodeActAgent-Mistral-7b-v0.1-reasoning/mmlu-48"
"""Looked up one page four times, and then found the answer: it would have been told to conclude."""


@pytest.fixture(scope="module")
def sample() -> dict[str, Judged]:
    return {judged.session.name: judged for judged in judged_runs([SAMPLE])}


def test_of_the_samples_good_runs_only_a_true_loop_is_stopped(sample: dict[str, Judged]) -> None:
    """Detectors that cry wolf are switched off."""
    good = {name: judged for name, judged in sample.items() if judged.session.success}

    assert {name for name, judged in good.items() if judged.stop} == {ITS_OWN_LOOP}
    assert {name for name, judged in good.items() if judged.rung == "final_answer"} == {
        TOLD_TO_CONCLUDE
    }
    assert sum(judged.rung is None for judged in good.values()) >= len(good) - 3


def test_every_runaway_of_the_sample_is_stopped_before_its_sixth_call(
    sample: dict[str, Judged],
) -> None:
    runaways = [judged for judged in sample.values() if judged.session.runaway is not None]

    assert len(runaways) == 5
    for judged in runaways:
        assert judged.stop is not None, judged.session.name
        assert judged.session.runaway is not None
        assert judged.stop.step <= judged.session.runaway + 1


def test_what_a_stop_saves_is_what_came_after_it(sample: dict[str, Judged]) -> None:
    """update_reservation_baggages, fifteen times."""
    stop = sample["tau2-airline-30-a2ee1398"].stop

    assert stop is not None
    assert (stop.rule, stop.step, stop.count, stop.saved_steps) == ("loops.repeat", 9, 5, 11)
    assert stop.saved_micro_usd > 0


needs_data = pytest.mark.skipif(DATA is None, reason="no recorded runs: set HOLDFAST_DATA")


@needs_data
@pytest.mark.data
@pytest.mark.timeout(120)
def test_all_recorded_runs_are_within_what_the_page_promises() -> None:
    """And the page's figures are those of now: `python -m tests.loops_report --write`."""
    report = report_on([(DATA or Path()) / f"{name}.jsonl.gz" for name in FILES])
    total = report.total

    good, sums = total.outcomes[True], total.all_rules
    assert sums.stopped[True] <= MOST_STOPPED * good
    assert sums.steered[True] <= MOST_STEERED * good
    assert total.runaways >= 23
    assert total.caught >= LEAST_CAUGHT * total.runaways
    assert page_with(PAGE.read_text(), markdown(report)) == PAGE.read_text()
