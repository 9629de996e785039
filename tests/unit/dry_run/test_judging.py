"""What a policy would have done to a log: each limit by itself, and the first stop of all."""

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest

from proxy.config import parse_policy
from proxy.core.events import (
    AnyEvent,
    LimitsExtended,
    SessionOpened,
    StepReleased,
    StepReserved,
    StepSettled,
)
from proxy.core.loops.policy import Loops
from proxy.core.usage import Usage
from proxy.dry_run.judging import Judged, Reached, judge_session
from proxy.dry_run.recorded import Recorded
from proxy.dry_run.runs import recorded
from proxy.dry_run.spending import Prices
from proxy.dry_run.trajectory import read_trajectory
from proxy.prices.book import PriceBook
from proxy.prices.table import load_table
from tests.fakes import FakeClock

DEFAULT = Loops()
START = 1_800_000_000.0
NO_LIMITS = dict.fromkeys(("steps", "cost_usd", "tokens", "duration_seconds"))


def call(
    number: int,
    cost_micro_usd: int = 1000,
    tools: tuple[str, ...] = (),
    *,
    tokens: int = 10,
    seconds: float = 10.0,
    model: str = "m",
) -> list[AnyEvent]:
    at, call_id = START + number * seconds, f"c{number}"
    usage = Usage(input_tokens=tokens)
    return [
        StepReserved(at, call_id=call_id, step=number, model=model, hold_cost_micro_usd=10**9),
        StepSettled(
            *(at + 1, call_id),
            usage=usage,
            cost_micro_usd=cost_micro_usd,
            tokens=tokens,
            tools=tools,
        ),
    ]


def log(*calls: list[AnyEvent], opened: SessionOpened | None = None) -> tuple[AnyEvent, ...]:
    return (opened or SessionOpened(START), *[event for one in calls for event in one])


def judged(
    limits: Mapping[str, object],
    events: tuple[AnyEvent, ...],
    *profiles: object,
    tenant: str = "",
    agent: str | None = None,
    is_timed: bool = True,
) -> Judged:
    """Under these limits and no others."""
    policy = {"limits": {**NO_LIMITS, **limits}, "profiles": profiles}
    session = Recorded("s1", "g", events, tenant, agent, is_timed=is_timed)
    return judge_session(parse_policy(json.dumps(policy), "p.yaml", {}).policy, session)


FIVE = log(*(call(n) for n in range(1, 6)))


def test_a_limit_stops_at_the_first_call_that_it_would_refuse() -> None:
    """What it would have saved is that call and all after it."""
    found = judged({"steps": 3}, FIVE)

    assert (found.steps, found.cost_micro_usd) == (5, 5000)
    assert found.stop == Reached("limits.steps", "stop", 4, saved_steps=2, saved_micro_usd=2000)
    assert found.rung == "stop"


def test_what_is_far_from_every_limit_is_not_touched() -> None:
    found = judged({"steps": 50}, FIVE)

    assert (found.reached, found.stop, found.rung) == ((), None, None)


def test_a_warning_is_its_own_rung() -> None:
    """At 0.8 of six steps: the sixth call would be warned, so five are not."""
    assert judged({"steps": 6}, FIVE).reached == ()
    assert judged({"steps": 5}, FIVE).reached == (Reached("limits.steps", "warn", 5),)


def test_each_limit_is_followed_past_the_stop_of_another() -> None:
    """So that one sees what each of them is worth."""
    found = judged({"steps": 2, "cost_usd": 0.004}, FIVE)

    stops = {one.rule: one.step for one in found.reached if one.rung == "stop"}
    assert stops == {"limits.steps": 3, "limits.cost_usd": 5}
    assert found.stop is not None
    assert found.stop.rule == "limits.steps"


@pytest.mark.parametrize(
    ("limit", "most", "rule", "step"),
    [
        ("cost_usd", 0.0025, "limits.cost_usd", 4),
        ("tokens", 20, "limits.tokens", 3),
        ("duration_seconds", 35, "limits.duration_seconds", 4),
        ("tool_calls", 2, "limits.tool_calls", 3),
        ("per_tool", {"send_*": 1}, "limits.per_tool.send_*", 2),
        ("cost_usd_per_minute", 0.003, "limits.cost_usd_per_minute", 4),
    ],
)
def test_every_limit_of_a_session_is_judged(limit: str, most: object, rule: str, step: int) -> None:
    tools = ("send_mail",)
    events = log(*(call(n, tools=tools) for n in range(1, 6)))

    found = judged({limit: most}, events)

    assert (found.stop and (found.stop.rule, found.stop.step)) == (rule, step)


def test_what_calls_in_flight_hold_counts_as_it_did() -> None:
    """A hold of a thousand dollars leaves the one beside it nothing."""
    first, second = call(1), call(2)
    events = (SessionOpened(START), first[0], second[0], first[1], second[1])

    stop = judged({"cost_usd": 999}, events).stop

    assert stop is not None
    assert stop.step == 2


def test_one_call_above_what_a_call_may_cost_is_a_stop() -> None:
    events = log(call(1), call(2, cost_micro_usd=9000), call(3))

    stop = judged({"request_cost_usd": 0.005}, events).stop

    assert stop == Reached(
        "limits.request_cost_usd", "stop", 2, saved_steps=2, saved_micro_usd=10_000
    )
    assert judged({"request_cost_usd": 0.009}, events).stop is None, "so much it may cost"


def test_limits_that_need_a_clock_are_not_judged_without_true_times() -> None:
    """Recorded runs have none: all of one would fall into one second."""
    policy = {"duration_seconds": 1, "cost_usd_per_minute": 0.000001}

    assert judged(policy, FIVE).stop is not None
    assert judged(policy, FIVE, is_timed=False).stop is None


def test_a_retry_is_no_new_step_and_its_cost_is_that_steps() -> None:
    first, second = call(1), call(2)
    again = StepReserved(START + 30, call_id="r", step=1, retry=True, model="m")
    paid = StepSettled(START + 31, call_id="r", cost_micro_usd=50)

    found = judged({"steps": 1}, (SessionOpened(START), *first, again, paid, *second))

    assert found.steps == 2
    assert found.cost_micro_usd == 2050
    assert found.stop is not None
    assert (found.stop.step, found.stop.saved_micro_usd) == (2, 1000)


def test_a_retry_of_a_call_that_is_not_in_the_log_is_a_step() -> None:
    """An SDK may try again what failed in the generation before."""
    again = StepReserved(START, call_id="r", step=7, retry=True, model="m")

    assert judged({"steps": 9}, (SessionOpened(START), again)).steps == 1


def test_a_call_that_was_never_sent_is_no_step() -> None:
    unsent: list[AnyEvent] = [
        StepReserved(START, call_id="u", step=2, model="m"),
        StepReleased(START, call_id="u", reason="x"),
    ]

    found = judged({"steps": 1}, log(call(1), unsent))

    assert (found.steps, found.stop) == (1, None)


def test_what_a_human_added_still_holds() -> None:
    extended: list[AnyEvent] = [LimitsExtended(START, added=(("steps", 2),))]

    assert judged({"steps": 3}, log(extended, *(call(n) for n in range(1, 6)))).stop is None


def test_a_runs_own_budget_still_holds() -> None:
    opened = SessionOpened(START, budget_steps=2)

    stop = judged({"steps": 50}, log(*(call(n) for n in range(1, 6)), opened=opened)).stop

    assert stop is not None
    assert stop.step == 3


def test_profiles_are_laid_over_by_agent_tenant_and_model() -> None:
    profiles = (
        {"match": {"agent": "triage"}, "limits": {"steps": 2}},
        {"match": {"tenant": "t1"}, "limits": {"steps": 3}},
        {"match": {"model": "big*"}, "limits": {"steps": 4}},
    )
    big = log(*(call(n, model="big-1") for n in range(1, 6)))

    def stopped(
        events: tuple[AnyEvent, ...], tenant: str = "", agent: str | None = None
    ) -> int | None:
        stop = judged({"steps": 99}, events, *profiles, tenant=tenant, agent=agent).stop
        return stop.step if stop else None

    assert stopped(FIVE) is None
    assert stopped(FIVE, agent="triage") == 3
    assert stopped(FIVE, tenant="t1") == 4
    assert stopped(big) == 5


# Loops ----------------------------------------------------------------------------------------


def looping(count: int, loops: Loops | None = DEFAULT, *, coda: bool = False) -> Judged:
    """A run that makes one call over and over, and whose last answer asks for it once more."""
    call_ = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    ask = {"role": "assistant", "content": None, "tool_calls": [call_]}
    result = {"role": "tool", "tool_call_id": "c", "content": "no such page, try another one"}
    end = ask if coda else {"role": "assistant", "content": "I give up."}
    messages = [{"role": "user", "content": "Go."}, *[ask, result] * count, end]
    line = {"messages": messages, "usage": [{"prompt_tokens": 1, "cost": 0.001}] * (count + 1)}
    policy = replace(parse_policy("", "p.yaml", {}).policy, loops=loops)
    prices = Prices(policy, PriceBook(load_table(), FakeClock()))
    read = read_trajectory(json.dumps(line).encode())
    return judge_session(policy, recorded(read, prices, loops or DEFAULT, "r", "g"))


@pytest.mark.parametrize(
    ("count", "rung"),
    [(1, None), (2, "warn"), (3, "steer"), (4, "final_answer"), (5, "stop"), (9, "stop")],
)
def test_a_loop_climbs_as_far_as_it_goes(count: int, rung: str | None) -> None:
    found = looping(count)

    repeat = [one for one in found.reached if one.rule == "loops.repeat"]
    assert [one.rung for one in repeat] == ([rung] if rung else [])
    assert found.rung == rung


def test_a_loop_is_stopped_at_the_request_that_brings_its_fifth_result() -> None:
    found = looping(9)

    assert found.stop == Reached("loops.repeat", "stop", 6, 5, ("look",), 5, 5000)


def test_detectors_are_followed_each_by_itself() -> None:
    """Live, the strongest alone is told of; here one sees what each is worth."""
    rules = {one.rule: (one.rung, one.step) for one in looping(9).reached}

    assert rules == {"loops.repeat": ("stop", 6), "loops.repeat_any_result": ("stop", 6)}


def test_a_run_that_ends_with_the_call_that_is_stopped_was_stopped() -> None:
    """Nothing could have followed, whatever came of it: so it saves nothing, and counts."""
    found = looping(4, coda=True)

    assert found.stop == Reached("loops.repeat_any_result", "stop", 6, 5, ("look",), 0, 0)
    assert found.steps == 5


def test_a_run_that_ends_with_a_call_whose_result_would_matter_was_not() -> None:
    """`repeat` waits for the fifth result, and so do milder rungs."""
    found = looping(4, Loops(repeat_any_result=None), coda=True)

    assert found.stop is None
    rungs = {one.rule: (one.rung, one.step) for one in looping(3, coda=True).reached}
    assert rungs["loops.repeat_any_result"] == ("warn", 4), "not steered by a fifth request"


def test_loops_that_are_off_say_nothing() -> None:
    assert looping(9, None).reached == ()


def test_loops_that_only_observe_stop_nothing() -> None:
    found = looping(9, Loops(observe=True))

    assert found.stop is None
    assert {one.rung for one in found.reached} == {"observe"}
    assert found.reached[0].count == 9
