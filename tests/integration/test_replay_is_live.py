"""Recorded runs sent through a sidecar as their agents sent them: what is done to them is what the
dry run of the same policy says."""

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.admin.shapes import Json
from proxy.core.loops.finding import RUNGS, Rung
from proxy.dry_run.judging import Judged
from proxy.dry_run.trajectory import read_trajectory, steps_of
from tests.fakes_wire import ScriptedUpstream, answer
from tests.integration.kit import Sidecar, sidecar
from tests.loops_report import judged_runs

SAMPLE = Path(__file__).parent.parent / "data" / "trajectories_sample.jsonl.gz"


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the sample. steps: where its answers are. judged: by the dry run."""

    messages: Sequence[Json]
    steps: Sequence[int]
    judged: Judged

    def requests(self) -> list[list[Json]]:
        """What it sent; where it ended with calls, also what it would have sent next."""
        sent = [list(self.messages[:at]) for at in self.steps]
        last = self.messages[self.steps[-1]]
        assert isinstance(last, dict)
        calls = last.get("tool_calls") or []
        assert isinstance(calls, list)
        if calls and len(self.messages) == self.steps[-1] + 1:
            results: list[Json] = [
                {"role": "tool", "tool_call_id": call["id"], "content": "something else"}
                for call in calls
                if isinstance(call, dict)
            ]
            sent.append([*self.messages, *results])
        return sent

    def answers(self) -> list[Json]:
        """What each request is answered, as far as the dry run lets it go."""
        stop = self.judged.stop
        answers = [self.messages[at] for at in self.steps]
        if stop is not None:
            return answers[: stop.step - 1]
        more = len(self.requests()) - len(answers)
        done: Json = {"role": "assistant", "content": "Done."}
        return [*answers, *[done] * more]


def sample() -> list[Run]:
    with gzip.open(SAMPLE) as file:
        lines = file.read().splitlines()
    runs = []
    for line, judged in zip(lines, judged_runs([SAMPLE]), strict=True):
        steps = steps_of(read_trajectory(line).messages)
        runs.append(Run(json.loads(line)["messages"], steps, judged))
    return runs


def answered(message: Json) -> bytes:
    """A provider's answer with this message."""
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}
    whole = {"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage}
    return answer(json.dumps(whole).encode(), "200 OK", "content-type: application/json")


async def told(on: Sidecar, run: Run, session: str) -> tuple[Rung | None, int | None]:
    """The strongest rung that it came to, and which request was refused."""
    said: set[str] = set()
    for number, messages in enumerate(run.requests(), 1):
        got = await on.call(session=session, messages=messages)
        if got.status != 200:
            assert got.error["code"] == "loop_detected", got.body
            return "stop", number
        if number <= len(run.steps):  # what it did not send was told nothing
            said.add(got.headers["x-holdfast-decision"])
    return next((rung for rung in reversed(RUNGS) if rung in said), None), None


@pytest.mark.timeout(60)
async def test_runs_are_done_to_what_their_dry_run_says(tmp_path: Path) -> None:
    """Through the parser, the ledger and the wire: every rung, and the request that is refused."""
    runs = sample()
    played = [message for run in runs for message in run.answers()]
    policy = "limits: {cost_usd: null, tokens: null}\nbudgets: []\n"

    async with (
        ScriptedUpstream(*[[answered(message)] for message in played]) as upstream,
        sidecar(tmp_path, policy, upstream=upstream.url) as on,
    ):
        for number, run in enumerate(runs):
            rung, refused = await told(on, run, f"run-{number}")

            name, stop = run.judged.session.name, run.judged.stop
            assert refused == (stop.step if stop else None), name
            assert rung == run.judged.rung, name
        assert len(upstream.received) == len(played)
