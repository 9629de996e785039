"""Hundreds of calls at once, a third of whose clients leave: what the provider bills is bounded.

The long version is a command: `python -m tests.race --rounds 20 --calls 500`.
"""

import pytest

from tests.race.run import SCENARIOS, Scenario, run

_CALLS = 200
_HERE = [scenario for scenario in SCENARIOS if not scenario.workers]
_CREW = [scenario for scenario in SCENARIOS if scenario.kills or "workers, a tree" in scenario.name]


def _name(scenario: Scenario) -> str:
    return scenario.name


@pytest.mark.timeout(60)
@pytest.mark.parametrize("scenario", _HERE, ids=_name)
async def test_a_race_bills_no_more_than_its_budget(scenario: Scenario) -> None:
    """Nor does it leave the budget unused, or anything held, waiting or running."""
    played = await run(scenario, _CALLS, seed=1)

    assert played.overspend == 0
    assert played.left_over == []
    assert played.booked >= 0.9 * played.budget
    assert played.seen["whole"] + played.seen["short"] >= 20
    assert played.seen["lost"] == 0


@pytest.mark.process
@pytest.mark.timeout(90)
@pytest.mark.parametrize("scenario", _CREW, ids=_name)
async def test_workers_together_bill_no_more_than_their_budget(scenario: Scenario) -> None:
    """Killed or not: what a dead one held is booked, and the others go on. How many answers end
    whole is then a matter of whom it hits."""
    played = await run(scenario, _CALLS, seed=2)

    assert played.overspend == 0
    assert played.left_over == []
    assert played.booked >= 0.9 * played.budget or played.seen["refused"] == 0
    assert scenario.kills or played.seen["whole"] + played.seen["short"] >= 20
