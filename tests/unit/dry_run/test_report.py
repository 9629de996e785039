"""The figures of a dry run."""

from proxy.core.events import StepSettled
from proxy.core.loops.finding import Rung
from proxy.core.policy import Budget, Policy
from proxy.dry_run.judging import Judged, Reached
from proxy.dry_run.recorded import Recorded
from proxy.dry_run.report import Report
from proxy.dry_run.windows import Windows


def judged(
    *reached: Reached, success: bool | None = None, runaway: int | None = None, group: str = "g"
) -> Judged:
    session = Recorded("s", group, (), success=success, runaway=runaway, unpriced=2, guessed=1)
    stops = [one for one in reached if one.rung == "stop"]
    return Judged(session, 10, 500_000, reached, stops[0] if stops else None)


def at(rung: Rung, step: int = 4, rule: str = "loops.repeat") -> Reached:
    saved = (10 - step + 1, 250_000) if rung == "stop" else (0, 0)
    return Reached(rule, rung, step, 3, ("look",), *saved)


def test_sessions_are_counted_at_their_highest_rung() -> None:
    report = Report()
    for one in (judged(at("warn")), judged(at("steer")), judged(at("stop")), judged()):
        report.add(one)

    figures = report.as_json()

    assert figures["sessions"] == 4
    assert figures["steps"] == 40
    assert figures["cost_usd"] == 2.0
    assert figures["steps_without_price"] == 8
    assert figures["steps_priced_by_size"] == 4
    assert figures["rules"] == [
        {
            "rule": "loops.repeat",
            "sessions": 3,
            "rungs": {"observe": 0, "warn": 1, "steer": 1, "final_answer": 0, "stop": 1},
            "steps_saved": 7,
            "cost_saved_usd": 0.25,
            "succeeded_steered": None,
            "succeeded_stopped": None,
            "failed_steered": None,
            "failed_stopped": None,
        }
    ]


def test_harm_is_a_share_of_all_that_did_well_and_of_all_that_did_not() -> None:
    """Steered or worse: who is stopped was told something before, or should have been."""
    report = Report()
    report.add(judged(at("stop"), success=True))
    report.add(judged(at("steer"), success=True))
    report.add(judged(at("warn"), success=True))
    report.add(judged(success=True))
    report.add(judged(at("stop"), success=False))
    report.add(judged(at("stop")))

    harm = report.as_json()["all_rules"]

    assert isinstance(harm, dict)
    assert (harm["succeeded_steered"], harm["succeeded_stopped"]) == (0.5, 0.25)
    assert (harm["failed_steered"], harm["failed_stopped"]) == (1.0, 1.0)


def test_what_two_rules_would_have_saved_is_saved_once() -> None:
    report = Report()
    report.add(judged(at("stop", 4), at("stop", 6, "limits.steps")))

    figures = report.as_json()

    assert isinstance(figures["all_rules"], dict)
    assert figures["all_rules"]["steps_saved"] == 7
    assert isinstance(figures["rules"], list)
    assert [rule["steps_saved"] for rule in figures["rules"] if isinstance(rule, dict)] == [5, 7]


def test_a_runaway_is_caught_where_it_is_stopped_before_its_sixth_call() -> None:
    """The answer to its fifth step asked for the fifth: the sixth request must not go out."""
    report = Report()
    for step in (5, 6, 7):
        report.add(judged(at("stop", step), runaway=5))
    report.add(judged(at("steer"), runaway=5))
    report.add(judged(at("stop", 2)))

    figures = report.as_json()

    assert (figures["runaways"], figures["runaways_stopped_in_time"]) == (4, 2)


def test_groups_have_figures_of_their_own() -> None:
    report = Report()
    report.add(judged(at("stop"), success=True, group="b"))
    report.add(judged(success=True, group="a"))

    groups = report.as_json()["groups"]

    assert isinstance(groups, list)
    assert [(g["group"], g["sessions"]) for g in groups if isinstance(g, dict)] == [
        ("b", 1),
        ("a", 1),
    ]


def test_budgets_are_told_as_refusals_name_them() -> None:
    windows = Windows(Policy({}, (), budgets=(Budget("global", "1d", 1_000_000),)))
    spent = StepSettled(86_400.0, cost_micro_usd=1_500_000)
    report = Report(windows)

    report.add(Judged(Recorded("s", "g", (spent,)), 1, 1_500_000, (), None))

    assert report.as_json()["budgets"] == [
        {
            "rule": "budgets.global.1d",
            "max_usd": 1.0,
            "windows": 1,
            "windows_over": 1,
            "fullest_usd": 1.5,
            "above_usd": 0.5,
        }
    ]
