"""holdfast replay."""

import argparse
import gzip
import json
from pathlib import Path

import pytest

from proxy.cli import replay
from proxy.core.events import SessionOpened, StepReserved, StepSettled
from proxy.core.session import SessionKey
from proxy.stores import Append
from proxy.stores.sqlite import SqliteStore
from tests.fakes_stores import NOW, SECRET

ANSWER = {"role": "assistant", "content": "Well."}
MESSAGES = [m for n in range(4) for m in ({"role": "user", "content": str(n)}, ANSWER)]
USAGE = [{"prompt_tokens": 9, "completion_tokens": 1, "cost": 0.5}] * 4


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    replay.add_arguments(parser)
    return replay.run(parser.parse_args(words))


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "p.yaml"
    path.write_text(
        "limits: {steps: 2, cost_usd: null}\n"
        "budgets: [{scope: global, window: 1d, cost_usd: 0.6}]\n"
    )
    return path


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    path = tmp_path / "mine.jsonl.gz"
    line = {"id": "r1", "messages": MESSAGES, "success": True, "usage": USAGE}
    path.write_bytes(gzip.compress(json.dumps(line).encode()))
    return path


def test_recorded_runs_are_judged(
    policy: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a user sees before he puts a policy in force."""
    assert run(str(policy), "--from", str(runs), "--list") == 0

    told = capsys.readouterr().out.splitlines()
    assert told[0] == ("mine  r1  good  limits.steps: stop at step 3 of 4, saves 2 steps, $1.0000")
    assert told[1] == "1 sessions (1 good, 0 bad), 4 steps, $2.00"
    rule = next(line for line in told if line.startswith("limits.steps"))
    assert " ".join(rule.split()) == "limits.steps 1 0 0 0 1 2 1.0000 100.00% 100.00% - -"


def test_the_same_as_json(policy: Path, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(policy), "--from", str(runs), "--json", "--list") == 0

    figures = json.loads(capsys.readouterr().out)
    assert figures["sessions"] == 1
    assert figures["faults"] == 0
    assert figures["rules"][0]["cost_saved_usd"] == 1.0
    assert figures["budgets"] == [], "recorded runs have no times"
    assert figures["touched"] == [
        {
            "session": "r1",
            "group": "mine",
            "success": True,
            "steps": 4,
            "rules": [
                {
                    "rule": "limits.steps",
                    "rung": "stop",
                    "step": 3,
                    "count": 0,
                    "tools": [],
                    "steps_saved": 2,
                    "cost_saved_usd": 1.0,
                }
            ],
        }
    ]


@pytest.mark.parametrize("form", ["{}", "sqlite:///{}"])
async def test_a_ledger_is_judged(
    form: str, policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its file or as a store URL; without its key, and while it is in use."""
    path = tmp_path / "ledger.db"
    store = SqliteStore(path, SECRET)
    await store.open()
    events = [
        event
        for n in range(1, 5)
        for event in (
            StepReserved(NOW, call_id=f"c{n}", step=n),
            StepSettled(NOW, call_id=f"c{n}", cost_micro_usd=250_000),
        )
    ]
    await store.append(Append(SessionKey("t", "s1"), (SessionOpened(NOW, agent="coder"), *events)))

    assert run(str(policy), "--from", form.format(path), "--list") == 0

    await store.close()
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "coder  s1  -  limits.steps: stop at step 3 of 4, saves 2 steps, $0.5000"
    assert told[1] == "1 sessions, 4 steps, $1.00"
    budget = next(line for line in told if line.startswith("budgets.global.1d"))
    assert budget.split() == ["budgets.global.1d", "1", "1", "1.0000", "0.6000", "0.4000"]


def test_several_sources_are_counted_together(
    policy: Path, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "theirs.jsonl"
    other.write_bytes(gzip.decompress(runs.read_bytes()))

    assert run(str(policy), "--from", str(runs), str(other)) == 0

    told = capsys.readouterr().out
    assert told.startswith("2 sessions (2 good, 0 bad), 8 steps, $4.00")
    assert [line.split()[0] for line in told.splitlines() if line.startswith(("mine", "theirs"))]


def test_what_cannot_be_read_is_told_with_its_line_and_the_rest_is_judged(
    policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A script must not take half of the figures for all of them: 1."""
    path = tmp_path / "mine.jsonl"
    good = json.dumps({"messages": MESSAGES})
    path.write_text("\n".join([good, *["{}"] * 30, good]))

    assert run(str(policy), "--from", str(path)) == 1

    out, err = capsys.readouterr()
    assert out.startswith("2 sessions, 8 steps")
    lines = err.splitlines()
    assert lines[0] == f'{path}:2: missing required field "messages"'
    assert lines[19] == f'{path}:21: missing required field "messages"'
    assert lines[20:] == ["… and 10 more"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nowhere.jsonl", "nowhere.jsonl: cannot be read: No such file or directory"),
        ("sqlite:///nowhere.db", "sqlite:///nowhere.db: the ledger nowhere.db is unavailable"),
        ("memory://", "memory://: a store in memory is gone with its process"),
        (".", ".: cannot be read: Is a directory"),
    ],
)
def test_a_source_that_is_none_is_told(
    source: str, said: str, policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(str(policy), "--from", source) == 1

    out, err = capsys.readouterr()
    assert out == "no sessions\n"
    assert err.startswith(said)


def test_a_policy_that_is_broken_is_told(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `holdfast check` does."""
    path = tmp_path / "p.yaml"
    path.write_text("limits: {steps: many}\n")

    assert run(str(path), "--from", str(runs)) == 1
    assert capsys.readouterr().err.startswith(f"{path}:1:17: limits.steps: ")


def test_without_a_policy_the_shipped_one_is_tried(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--from", str(runs)) == 0
    assert "No rule would have said anything." in capsys.readouterr().out
