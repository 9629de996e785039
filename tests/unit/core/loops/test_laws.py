"""Made loops: whatever they are disguised as, each is found at its threshold, no call sooner."""

import json
from collections.abc import Callable, Sequence
from random import Random

import pytest

from proxy.core.loops.finding import Finding
from proxy.core.loops.policy import Loops, Rungs
from proxy.core.usage import ToolCall
from tests.unit.core.loops.kit import Agent, Session, begun, call

LOOPS = Loops()
ONLY_REPEAT = Loops(repeat_any_result=None, stall=None, error_streak=None, empty=None)
TOOLS = ("fetch", "search", "parse", "edit", "test", "list", "read", "open")
Turned = Callable[[], Finding | None]


def noise(random: Random) -> str:
    """What a gateway, a clock or a random number puts into a result."""
    digits, seconds = f"{random.randrange(16**12):012x}", random.randrange(60)
    said = {
        "request_id": f"req-{digits[:8]}a1",
        "trace": f"{digits[:8]}-{digits[8:]}-4000-8000-{digits}",
        "at": f"2026-{1 + seconds % 12:02d}-07T10:46:{seconds:02d}.{seconds}Z",
        "epoch": 1_700_000_000 + seconds,
        "took": f"{seconds}.5s",
        "elapsed_ms": seconds,
    }
    return json.dumps(said)


def runs(turned: Turned, most: int = 400) -> list[Finding | None]:
    """Turns until the loop is stopped."""
    found: list[Finding | None] = []
    while len(found) < most:
        found.append(turned())
        if found[-1] is not None and found[-1].rung == "stop":
            return found
    raise AssertionError("never stopped")


class Rounder:
    """An agent that goes round, disguised: noise, calls side by side in any order, requests sent
    again, a history that is cut."""

    def __init__(self, period: int, seed: int) -> None:
        self.random = Random(seed)
        self.period = period
        self.turns = 0
        self.ids = self.random.choice(["", "call_0"])
        self.agent = begun(Session(ONLY_REPEAT), ids=self.ids)

    def turn(self) -> Finding | None:
        step, self.turns = self.turns % self.period, self.turns + 1
        said = f"{TOOLS[step]} says no {noise(self.random)}"
        calls = [(call(TOOLS[step]), said), (call(TOOLS[step], '{"q":2}'), said)]
        calls = calls[:1] if self.ids else calls[: 1 + step % 2]
        self.random.shuffle(calls)
        found = self.agent.turn(*calls)
        if self.random.random() < 0.25:
            assert self.agent.asks() == found
        if self.random.random() < 0.25:
            self.agent.history = self.agent.history[-len(calls) - 1 :]
        return found


@pytest.mark.parametrize("period", range(1, 9))
@pytest.mark.parametrize("seed", range(12))
def test_a_way_round_of_any_length_is_stopped_at_its_fifth_time(period: int, seed: int) -> None:
    """And told and concluded once each on the way; nothing is said before it has come twice."""
    found = runs(Rounder(period, seed).turn)

    last = found[-1]
    assert last is not None
    assert (len(found), last.count, last.period) == (5 * period, 5, period)
    acted = [f.rung for f in found if f is not None and f.rung in ("steer", "final_answer")]
    assert acted == ["steer", "final_answer"]
    assert found[: 2 * period - 1] == [None] * (2 * period - 1)


@pytest.mark.parametrize(
    ("loops", "pairs", "detector"),
    [
        (Loops(), lambda n: ((call(), f"news {n}"),), "repeat_any_result"),
        (Loops(), lambda n: ((call("search", json.dumps({"q": n})), "a page of sorry"),), "stall"),
        (Loops(), lambda n: ((call(TOOLS[n % 7], json.dumps({"q": n})), "[]"),), "empty"),
        (Loops(), lambda n: ((call(TOOLS[n % 7], json.dumps({"q": n})), f"Error: {n} is bad"),),
         "error_streak"),
        (Loops(), lambda n: ((call("wait", "{}"), "pending"),), "polling"),
        (Loops(), lambda n: ((call("get_a_status" if n % 2 else "search"), "pending"),), "polling"),
    ],
)  # fmt: skip
def test_each_detector_stops_at_its_threshold(
    loops: Loops, pairs: Callable[[int], Sequence[tuple[ToolCall, str]]], detector: str
) -> None:
    agent, numbers = begun(Session(loops)), iter(range(1_000))

    found = runs(lambda: agent.turn(*pairs(next(numbers))))

    field = "polling_bound" if detector == "polling" else detector
    last, ladder = found[-1], getattr(loops, field)
    assert last is not None
    assert isinstance(ladder, Rungs)
    assert (last.detector, last.count, len(found)) == (detector, ladder.stop, ladder.stop)


def test_text_without_a_call_is_stopped_at_its_threshold() -> None:
    agent = begun()

    found = runs(lambda: agent.says("I will do it now.", "continue"))

    assert len(found) == 6  # the first `continue` is a new word
    assert found[-1] is not None
    assert found[-1].detector == "text"


@pytest.mark.parametrize(
    "pairs",
    [
        lambda n: ((call("delete", json.dumps({"id": f"{n:08x}-0000-4000-8000-{n:012}"})), "ok"),),
        lambda n: ((call("is_prime", json.dumps({"n": n})), "false"),),
        lambda n: ((call("list", json.dumps({"page": n})), f"page {n} of 200: item {7 * n}"),),
        lambda n: ((call("edit", f'{{"line": {n}}}'), "The file was edited."),) if n % 2 else
                  ((call("test"), "1 failed, 3 passed in 0.5s"),),
        lambda n: ((call("get_build_status"), f"{n // 50 * 10} % done"),),
        lambda n: ((call("bash", '{"command": "sleep 5; tail log"}'), f"line {n // 50}"),),
        lambda n: ((call("read", json.dumps({"f": n})), f"file {n}"), (call("read", "{}"), "top")),
        lambda n: ((call("get_user", json.dumps({"id": n})),
                    f'{{"id": "{n:08x}-0000-4000-8000-000000000000", "name": "user {n}"}}'),),
    ],
)  # fmt: skip
def test_what_healthy_agents_do_two_hundred_times_is_never_touched(
    pairs: Callable[[int], Sequence[tuple[ToolCall, str]]],
) -> None:
    agent: Agent = begun()

    rungs = {finding.rung for n in range(200) if (finding := agent.turn(*pairs(n)))}

    assert rungs <= {"warn"}
