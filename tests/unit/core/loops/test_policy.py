"""The ladder's thresholds as values."""

import pytest

from proxy.core.loops.policy import REMEMBERED, Loops, Rungs


@pytest.mark.parametrize(
    ("count", "rung"),
    [(1, None), (2, "warn"), (3, "steer"), (4, "final_answer"), (5, "stop"), (99, "stop")],
)
def test_a_count_reaches_the_highest_rung_at_or_below_it(count: int, rung: str | None) -> None:
    rungs = Rungs(2, 3, 4, 5)

    assert rungs.at(count) == rung


def test_a_rung_that_is_skipped_leaves_the_one_below_in_force() -> None:
    rungs = Rungs(2, None, 6, 8)

    assert [rungs.at(n) for n in range(1, 9)] == [
        *(None, "warn", "warn", "warn", "warn", "final_answer", "final_answer", "stop"),
    ]
    assert rungs.least == 2
    assert Rungs(None, None, None, 3).at(2) is None
    assert Rungs(None, None, None, 3).least == 3


def test_no_default_threshold_lies_above_what_is_remembered() -> None:
    """Else it could never be reached."""
    loops = Loops()
    rungs = (loops.repeat, loops.repeat_any_result, loops.stall, loops.empty, loops.error_streak)

    assert loops.cycle is not None
    assert loops.cycle.max_period * loops.cycle.rungs.stop <= REMEMBERED
    assert all(r and r.stop <= REMEMBERED for r in (*rungs, loops.text, loops.polling_bound))
