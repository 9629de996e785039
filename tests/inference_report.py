"""How well sessions are told apart without any header, on recorded runs: `python -m
tests.inference_report [FILE…]`.

Runs are interleaved, 50 at a time, those with the same first prompt side by side; requests are real
chat bodies, read by the dialect. Each run's history is echoed as its mode says.
"""

import asyncio
import gzip
import json
import os
import random
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from proxy.core.dialects.base import Bounds
from proxy.core.dialects.chat import CHAT
from proxy.core.identity import Identified
from proxy.core.paths import split_path
from proxy.core.request import Request
from proxy.core.usage import Answer, ToolCall
from proxy.identity import SessionIndex
from proxy.wire import Head
from tests.fakes import FakeClock
from tests.fakes_identity import FakeLinkStore

Json = Mapping[str, object]
Mode = Callable[[Sequence[Json]], list[Json]]
"""How a client echoes the history up to a step."""
FILES = ("tau2", "tau_bench", "swebv_gemini3", "mint", "whissle_mab", "toolbench")
INTERLEAVED = 50
_TARGET = "/v1/chat/completions"
_ARGUMENT_SEPARATORS = (",", ":")


@dataclass(frozen=True, slots=True)
class Run:
    """One recorded run. steps: where its model's own answers are (a canned greeting is not one)."""

    name: str
    model: str
    messages: tuple[Json, ...]
    steps: tuple[int, ...]
    first_prompt: str


@dataclass(slots=True)
class Score:
    """Requests by what became of them. right: it opened its run's first session, or joined one of
    its run's. split: it opened another. wrong: it joined a session of another run."""

    right: int = 0
    split: int = 0
    wrong: int = 0
    runs: int = 0
    runs_split: set[str] = field(default_factory=set)

    @property
    def requests(self) -> int:
        return self.right + self.split + self.wrong


def data_directory() -> Path | None:
    """Where the recorded runs are: $HOLDFAST_DATA, or ../shared/data beside the repository."""
    root = Path(__file__).resolve().parents[2] / "shared" / "data"
    found = Path(os.environ.get("HOLDFAST_DATA", root)) / "trajectories"
    return found if found.is_dir() else None


def load_runs(path: Path) -> list[Run]:
    """The runs of one file (JSON lines, gzipped) that have a step."""
    with gzip.open(path, "rt") as lines:
        runs = [_run(json.loads(line)) for line in lines]
    return [run for run in runs if run.steps]


def _run(record: Mapping[str, object]) -> Run:
    messages = cast("Sequence[Json]", record["messages"])
    first = next(i for i, m in enumerate(messages) if m["role"] not in ("system", "assistant"))
    steps = [i for i, m in enumerate(messages) if m["role"] == "assistant" and i > first]
    prompt = json.dumps(messages[first])
    return Run(str(record["id"]), str(record["model"]), tuple(messages), tuple(steps), prompt)


# How a client echoes the history up to a step ------------------------------------------------


def verbatim(history: Sequence[Json]) -> list[Json]:
    return list(history)


def reserialised(history: Sequence[Json]) -> list[Json]:
    """Keys in another order, arguments dumped again, "" for null, text as parts, decoration."""
    return [_respelt(message) for message in history]


def trimmed(history: Sequence[Json]) -> list[Json]:
    """The system prompt and the last six messages."""
    return _shortened(history, 6, [])


def trimmed_middle(history: Sequence[Json]) -> list[Json]:
    """The system prompt, the first prompt and the last four messages."""
    return _shortened(history, 4, [m for m in history if m["role"] != "system"][:1])


def compacted(history: Sequence[Json]) -> list[Json]:
    """A summary, in the same words for every run, and the last four messages."""
    said = "This session continues an earlier one; what was done so far has been summarised."
    return _shortened(history, 4, [{"role": "user", "content": said}])


def compacted_hard(history: Sequence[Json]) -> list[Json]:
    """A summary and the last two messages."""
    return _shortened(history, 2, [{"role": "user", "content": f"So far: {len(history)} turns."}])


def mixed(history: Sequence[Json]) -> list[Json]:
    """Another of these at every step."""
    modes = (verbatim, reserialised, trimmed, trimmed_middle, compacted, compacted_hard)
    return modes[len(json.dumps(history[-1])) % len(modes)](history)


MODES: tuple[Mode, ...] = (
    verbatim,
    reserialised,
    trimmed,
    trimmed_middle,
    compacted,
    compacted_hard,
    mixed,
)


def _respelt(message: Json) -> Json:
    if message["role"] != "assistant":
        return dict(reversed(list(message.items())))
    text = message.get("content")
    calls = cast("Sequence[Mapping[str, Mapping[str, str]]]", message.get("tool_calls") or ())
    respelt: dict[str, object] = {"refusal": None, "annotations": []}
    if calls:
        respelt["tool_calls"] = [
            {
                "index": place,
                "function": {
                    "arguments": _dumped_again(call["function"]["arguments"]),
                    "name": call["function"]["name"],
                },
                "type": "function",
                "id": call["id"],
            }
            for place, call in enumerate(calls)
        ]
    respelt["content"] = [{"text": text, "type": "text"}] if text else ""
    return {**respelt, "role": "assistant"}


def _dumped_again(arguments: str) -> str:
    try:
        value = json.loads(arguments)
    except ValueError:
        return arguments
    return json.dumps(value, separators=_ARGUMENT_SEPARATORS, sort_keys=True)


def _shortened(history: Sequence[Json], keep: int, instead: list[Json]) -> list[Json]:
    """The last `keep` messages, and more where a tool's result would lack its call: providers
    refuse that."""
    system = [message for message in history if message["role"] == "system"]
    spoken = [message for message in history if message["role"] != "system"]
    start = len(spoken) - keep
    while start > 0 and spoken[start]["role"] == "tool":
        start -= 1
    if start <= len(instead):
        return list(history)
    return [*system, *instead, *spoken[start:]]


# Playing runs ---------------------------------------------------------------------------------


@dataclass(slots=True)
class _Player:
    """One run as it goes: its next step, and the request it waits for an answer to."""

    run: Run
    step: int = 0
    pending: tuple[Identified, Request] | None = None


async def play(runs: Iterable[Run], mode: Mode, seed: int = 0) -> Score:
    """Interleaves runs at random and scores every request."""
    ordered = sorted(runs, key=lambda run: (run.first_prompt, run.name))
    chance = random.Random(seed)
    index = SessionIndex(FakeLinkStore(), 10_000_000, FakeClock())
    score, owners = Score(runs=len(ordered)), dict[str, str]()
    for begin in range(0, len(ordered), INTERLEAVED):
        live = [_Player(run) for run in ordered[begin : begin + INTERLEAVED]]
        while live:
            player = chance.choice(live)
            if player.pending is None:
                await _ask(index, player, mode, score, owners)
            else:
                _answer(index, player)
                if player.step == len(player.run.steps):
                    live.remove(player)
    return score


async def _ask(
    index: SessionIndex,
    player: _Player,
    mode: Mode,
    score: Score,
    owners: dict[str, str],
) -> None:
    run = player.run
    messages = mode(run.messages[: run.steps[player.step]])
    request = CHAT.parse(json.dumps({"model": run.model, "messages": messages}).encode(), Bounds())
    who = await index.identify("tenant", Head("POST", _TARGET, ()), split_path(_TARGET), request)
    if who.is_new and player.step:
        score.split += 1
        score.runs_split.add(run.name)
    elif owners.setdefault(who.session, run.name) == run.name:
        score.right += 1
    else:
        score.wrong += 1
    owners.setdefault(who.session, run.name)
    index.remember_request("tenant", who, request)
    player.pending = who, request


def _answer(index: SessionIndex, player: _Player) -> None:
    assert player.pending is not None
    message = player.run.messages[player.run.steps[player.step]]
    calls = cast("Sequence[Mapping[str, Mapping[str, str]]]", message.get("tool_calls") or ())
    asked = [
        ToolCall(str(c["id"]), c["function"]["name"], c["function"]["arguments"]) for c in calls
    ]
    answer = Answer(str(message.get("content") or ""), tuple(asked))
    index.remember_answer("tenant", *player.pending, answer)
    player.pending = None
    player.step += 1


def main(names: Sequence[str]) -> int:
    directory = data_directory()
    if directory is None:
        print("no recorded runs: set HOLDFAST_DATA", file=sys.stderr)
        return 1
    by_file = {name: load_runs(directory / f"{name}.jsonl.gz") for name in names or FILES}
    if len(by_file) > 1:
        by_file["all"] = [run for runs in by_file.values() for run in runs]
    print("| file | mode | requests | right | split | wrong | runs | of them split |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for name, runs in by_file.items():
        for mode in MODES:
            score = asyncio.run(play(runs, mode))
            print(
                f"| {name} | {mode.__name__} | {score.requests} "
                f"| {score.right / score.requests:.2%} | {score.split} | {score.wrong} "
                f"| {score.runs} | {len(score.runs_split)} |"
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
