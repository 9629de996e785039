"""What a loop means for a call: from `decide` through the log to the next `decide`."""

from dataclasses import replace

import pytest
from msgspec.structs import replace as changed

from proxy.core import events as ev
from proxy.core.decision import Admit, Decision, DecisionName, Refusal
from proxy.core.engine import Rules, decide
from proxy.core.looping import refuse_loop
from proxy.core.loops.finding import Finding, Rung
from proxy.core.loops.policy import Loops
from proxy.core.loops.turns import asked_by, tail_of
from proxy.core.policy import Limits
from proxy.core.request import Message
from proxy.core.session import EMPTY, SessionState, apply, fold
from proxy.core.usage import Answer, ToolCall
from tests.unit.core.loops.kit import message, request_of
from tests.unit.core.test_engine import ASK, NOW

LOOPS = Loops()
RULES = Rules(Limits(), loops=LOOPS)


class Run:
    """An agent that always does the same, with the log of its session."""

    def __init__(self, rules: Rules = RULES) -> None:
        self.rules = rules
        self.log: list[ev.AnyEvent] = [ev.SessionOpened(NOW)]
        self.history: list[Message] = [message("user", "go")]

    @property
    def state(self) -> SessionState:
        return fold(self.log)

    def decision(self) -> Decision:
        tail = tail_of(request_of(self.history, ["fetch"]))
        return decide(self.rules, self.state, changed(ASK, tail=tail), (), NOW)

    def ask(self, call_id: str = "c") -> Decision:
        decided = self.decision()
        if isinstance(decided, Admit):
            noted = decided.noted
            self.log.append(
                ev.StepReserved(NOW, call_id, decided.step, thread=noted.thread, turn=noted.round,
                                tail=noted.key, users=noted.users)
            )  # fmt: skip
            if decided.loop is not None and decided.at_rung:
                loop = decided.loop
                self.log.append(ev.LoopNoticed(NOW, loop.detector, loop.rung, loop.count))
        return decided

    def answered(self, call_id: str = "c") -> None:
        call = ToolCall(f"t{len(self.log)}", "fetch", "{}")
        asked = asked_by(Answer("", (call,)), LOOPS)
        self.log.append(ev.StepSettled(NOW, call_id, tools=("fetch",), asked=asked))
        self.history += [message("assistant", "", [call]), message("tool", "404", (), call.call_id)]

    def turns(self, count: int) -> list[Decision]:
        decided = []
        for _ in range(count):
            self.answered()
            decided.append(self.ask())
        return decided


def begun(rules: Rules = RULES) -> Run:
    run = Run(rules)
    run.ask()
    return run


def named(decision: Decision) -> DecisionName | str:
    return decision.name if isinstance(decision, Admit) else decision.code


def test_a_loop_climbs_the_ladder_through_the_log() -> None:
    run = begun()

    decided = run.turns(5)

    assert [named(one) for one in decided] == [
        *("allow", "warn", "steer", "final_answer", "loop_detected"),
    ]
    stop = decided[-1]
    assert isinstance(stop, Refusal)
    assert stop.facts is not None
    assert (stop.status, stop.type, stop.facts.limit, stop.facts.maximum, stop.facts.used) == (
        *(422, "session_limit", "loops.repeat", 5, 5),
    )
    assert "`fetch` was called 5 times in a row" in stop.message


def test_a_rung_is_in_the_log_once_and_in_the_state() -> None:
    run = begun()
    run.turns(4)

    noticed = [event for event in run.log if isinstance(event, ev.LoopNoticed)]

    assert [event.rung for event in noticed] == ["warn", "steer", "final_answer"]
    assert run.state.rung == "final_answer"
    assert run.state.cycles == 4


def test_a_side_call_leaves_the_rung_and_a_new_word_of_the_user_ends_it() -> None:
    run = begun()
    run.turns(3)
    main, run.history = run.history, [message("user", "a title, please")]
    run.ask("title")
    beside = run.state.rung
    run.history = [*main, message("user", "Stop that.")]
    run.ask()

    assert (beside, run.state.rung) == ("steer", None)


def test_without_loops_in_the_policy_nothing_is_noted() -> None:
    run = begun(Rules(Limits()))

    assert {named(one) for one in run.turns(9)} == {"allow"}
    assert run.state.threads == {}


def test_a_retry_is_decided_on_alike_and_counts_nothing() -> None:
    """The first attempt failed: the SDK sends it again."""
    run = begun()
    run.turns(2)
    run.answered()
    first = run.ask("c1")
    run.log.append(ev.StepSettled(NOW, "c1", "failed", 500))

    again = run.ask("c2")

    assert (named(first), named(again)) == ("steer", "steer")
    assert isinstance(again, Admit)
    assert not again.at_rung
    assert run.state.cycles == 3


@pytest.mark.parametrize(
    "event", [ev.LimitsExtended(NOW, (("steps", 5),)), ev.Guided(NOW, "Try the other one.")]
)
def test_a_human_ends_all_that_was_counted(event: ev.AnyEvent) -> None:
    run = begun()
    run.turns(5)
    run.log.append(event)

    assert named(run.ask()) == "allow"
    assert run.state.rung is None
    assert [named(one) for one in run.turns(2)] == ["warn", "steer"]


def test_a_steered_call_is_held_with_what_it_is_told() -> None:
    """The note is paid for like the rest of the prompt."""
    run = begun()
    *_, warned, steered = run.turns(3)

    assert isinstance(warned, Admit)
    assert isinstance(steered, Admit)
    assert steered.hold_input_tokens > warned.hold_input_tokens


def test_a_stopped_loop_does_not_wait_for_money_and_a_killed_session_says_so() -> None:
    """`held_at` puts a refusal in line; a loop's stop would only be told later."""
    run = begun()
    run.turns(5)
    held = ev.StepReserved(NOW, "x", 9, hold_cost_micro_usd=10_000_000, hold_tokens=4_900_000)
    run.log.append(held)

    assert named(run.decision()) == "loop_detected"
    run.log.append(ev.SessionKilled(NOW))
    assert named(run.decision()) == "session_killed"


def test_an_observed_loop_changes_nothing_but_the_record() -> None:
    run = begun(replace(RULES, loops=Loops(observe=True)))

    decided = run.turns(9)

    assert {named(one) for one in decided} == {"allow"}
    assert [event.rung for event in run.log if isinstance(event, ev.LoopNoticed)] == ["observe"] * 4


def test_an_answer_of_another_generation_makes_a_thread_of_its_own() -> None:
    """What is still in flight when a session begins anew must not hang in the new one's history."""
    run = begun()
    run.turns(3)
    run.log.append(ev.SessionOpened(NOW + 1, generation=2))
    run.answered()

    assert [named(one) for one in (run.ask(), *run.turns(3))] == [
        "allow",
        "warn",
        "steer",
        "final_answer",
    ]


def test_a_log_from_before_folds_to_the_same() -> None:
    reserved = ev.StepReserved(NOW, "c", 1)

    state = apply(apply(EMPTY, reserved), ev.StepSettled(NOW, "c"))

    assert (state.threads, state.cycles, state.rung) == ({}, 0, None)


@pytest.mark.parametrize("rung", ["observe", "warn", "steer", "final_answer", "stop"])
def test_the_refusal_of_a_loop_says_how_to_go_on(rung: Rung) -> None:
    found = Finding("cycle", rung, 5, 5, ("search", "parse"), 2)

    refusal = refuse_loop(found, EMPTY, "s1", 400)

    assert refusal.status == 400
    assert "`search` → `parse`" in refusal.message
    assert "holdfast sessions extend s1" in refusal.message


@pytest.mark.parametrize(("pause", "is_new"), [(29.0, False), (30.0, True)])
def test_how_long_a_user_has_to_wait_to_say_the_same_anew(pause: float, is_new: bool) -> None:
    """Between the last thing that happened in the session and now."""
    run = Run()
    for _ in range(2):
        run.ask()
        asked = asked_by(Answer("On it."), LOOPS)
        run.log.append(ev.StepSettled(NOW, "c", asked=asked))
        run.history += [message("assistant", "On it."), message("user", "go")]
    tail = tail_of(request_of(run.history, ["fetch"]))

    decided = decide(RULES, run.state, changed(ASK, tail=tail), (), NOW + pause)

    assert isinstance(decided, Admit)
    assert bool(decided.noted.users) is is_new


@pytest.mark.parametrize(("observe", "expected"), [(False, ("loops.repeat",)), (True, ())])
def test_the_client_is_told_of_a_loop_unless_it_is_only_observed(
    observe: bool, expected: tuple[str, ...]
) -> None:
    run = begun(replace(RULES, loops=Loops(observe=observe)))

    told = [one.loop_warnings for one in run.turns(2) if isinstance(one, Admit)]

    assert told == [(), expected]
