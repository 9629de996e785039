"""Recorded runs as logs."""

import json
from pathlib import Path

from proxy.config import parse_policy
from proxy.core.events import SessionOpened, StepReserved, StepSettled
from proxy.core.loops.policy import Loops
from proxy.core.loops.rounds import ASKED, ROUND
from proxy.dry_run.lines import Fault
from proxy.dry_run.recorded import Recorded
from proxy.dry_run.runs import fifth_in_a_row, recorded_runs
from proxy.dry_run.spending import Prices
from proxy.dry_run.trajectory import read_trajectory, steps_of
from proxy.prices.book import PriceBook
from proxy.prices.table import load_table
from tests.fakes import FakeClock

Messages = list[dict[str, object]]
ASK: dict[str, object] = {"role": "user", "content": "Go."}


def turn(*calls: tuple[str, str]) -> dict[str, object]:
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": f"c{at}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for at, (name, arguments) in enumerate(calls)
        ],
    }


def result(text: str = "no", of: str = "c0") -> dict[str, object]:
    return {"role": "tool", "tool_call_id": of, "content": text}


def written(folder: Path, *lines: object, name: str = "mine.jsonl.gz") -> list[Recorded | Fault]:
    path = folder / name
    path.write_text(
        "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    )
    policy = parse_policy("prices: {m: {input: 1, output: 1}}", "p.yaml", {}).policy
    return list(recorded_runs(path, Prices(policy, PriceBook(load_table(), FakeClock())), Loops()))


def test_a_run_becomes_a_log_of_a_call_for_each_answer(tmp_path: Path) -> None:
    messages = [ASK, turn(("look", "{}"), ("see", "{}")), result(), turn(("look", "{}"))]
    usage = [{"prompt_tokens": 8, "completion_tokens": 2}]
    line = {"id": "r1", "messages": messages, "model": "m", "success": False, "usage": usage}

    (run,) = written(tmp_path, line)

    assert isinstance(run, Recorded)
    assert (run.name, run.group, run.success, run.is_timed) == ("r1", "mine", False, False)
    assert [type(event) for event in run.events] == [
        *(SessionOpened, StepReserved, StepSettled, StepReserved, StepSettled)
    ]
    first = run.events[2]
    assert isinstance(first, StepSettled)
    assert (first.tools, first.tokens, first.cost_micro_usd) == (("look", "see"), 10, 10)
    assert (run.unpriced, run.guessed) == (0, 1)


def reserved(folder: Path, *messages: object) -> list[StepReserved]:
    (run,) = written(folder, {"messages": messages})
    assert isinstance(run, Recorded)
    last = [run.coda] if run.coda else []
    return [e for e in (*run.events, *last) if isinstance(e, StepReserved)]


def test_each_request_notes_what_it_brings(tmp_path: Path) -> None:
    """The same that a live one notes, so that a ledger is judged by the same means."""
    (run,) = written(tmp_path, {"messages": [ASK, *loop(2), turn()]})

    assert isinstance(run, Recorded)
    facts = [
        (len(e.users), len(e.turn)) if isinstance(e, StepReserved) else len(e.asked)
        for e in run.events
        if isinstance(e, StepReserved | StepSettled)
    ]
    assert facts == [(8, 0), ASKED, (0, ROUND), ASKED, (0, ROUND), 0]


def test_ids_that_every_turn_shares_are_told_apart_by_their_turns(tmp_path: Path) -> None:
    """Some servers give one id to each call of a run."""
    requests = reserved(tmp_path, ASK, *loop(5), turn())

    assert [len(one.turn) for one in requests] == [0, *[ROUND] * 5]
    assert len({one.turn for one in requests}) == 2


def test_a_run_that_ends_with_a_call_would_have_gone_on(tmp_path: Path) -> None:
    """What came of its last calls is as the run has it, else like nothing before."""
    both = turn(("look", "{}"), ("see", "{}"))
    whole = reserved(tmp_path, ASK, both, result("x"), result("y", "c1"), both, result("x"))

    assert len(whole) == 3
    assert whole[2].turn[:8] == whole[1].turn[:8], "the same calls"
    assert whole[2].turn[8:16] != whole[1].turn[8:16], "and another result"
    assert len(reserved(tmp_path, ASK, both, result("x"), result("y", "c1"))) == 2
    assert len(reserved(tmp_path, ASK, turn())) == 1, "it asked for nothing"


def test_what_is_broken_is_told_by_its_line_and_the_rest_is_read(tmp_path: Path) -> None:
    line = {"messages": [ASK, turn()]}

    found = written(tmp_path, line, '{"messages": 5}', "x", line)

    path = tmp_path / "mine.jsonl.gz"
    assert [str(one) if isinstance(one, Fault) else one.name for one in found] == [
        "line 1",
        f"{path}:2: messages: expected a list",
        f"{path}:3: not JSON: JSON is malformed: invalid character (byte 0)",
        "line 4",
    ]


def test_a_run_without_an_answer_is_none(tmp_path: Path) -> None:
    """It made no call, so there is nothing to judge."""
    assert written(tmp_path, {"messages": [ASK]}) == []


def fifth(messages: Messages) -> int | None:
    run = read_trajectory(json.dumps({"messages": messages}).encode())
    return fifth_in_a_row(run.messages, steps_of(run.messages))


def loop(count: int, *calls: tuple[str, str]) -> Messages:
    return [m for _ in range(count) for m in (turn(*calls or (("look", '{"a": 1}'),)), result())]


def test_five_identical_calls_in_a_row_are_a_runaway() -> None:
    """The yardstick for the detectors, so it knows nothing of them: neither results nor rungs."""
    assert fifth([ASK, *loop(4)]) is None
    assert fifth([ASK, *loop(5)]) == 5
    assert fifth([ASK, *loop(9)]) == 5
    assert fifth([ASK, *loop(4), turn(("look", '{ "a":1}'))]) == 5


def test_another_call_between_ends_the_row() -> None:
    assert fifth([ASK, *loop(4), turn(("see", "{}")), result(), *loop(4)]) is None
    assert fifth([ASK, *loop(4), turn(("look", '{"a": 2}')), result(), *loop(4)]) is None


def test_the_same_call_twice_in_one_answer_counts_once() -> None:
    """The model has not seen what came of the first."""
    twice = (("look", "{}"), ("look", "{}"))

    assert fifth([ASK, *loop(4, *twice)]) is None
    assert fifth([ASK, *loop(5, *twice)]) == 5


def test_a_row_may_begin_behind_another_call_of_one_answer() -> None:
    """Some models ask for two things and then for the second again and again."""
    both = turn(("book", "{}"), ("look", '{"a": 1}'))

    assert fifth([ASK, both, result(), *loop(4)]) == 5


def test_a_user_who_says_something_new_begins_a_new_count() -> None:
    again: dict[str, object] = {"role": "user", "content": "And now?"}

    assert fifth([ASK, *loop(3), again, *loop(4)]) is None
    assert fifth([ASK, *loop(3), ASK, *loop(2)]) == 5, "nothing new"
