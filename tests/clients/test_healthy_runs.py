"""A run of fifty turns that never repeats itself passes as if nobody looked for loops in it."""

from pathlib import Path

import pytest

from tests.clients.checks import check_forwarded
from tests.clients.kit import Stage, python, stage
from tests.clients.models import CONCLUDED, Working

pytestmark = [pytest.mark.sdk, pytest.mark.timeout(120)]

TURNS = 50
ON = 'tools: {side_effects: ["send_*"]}\n'  # and the loops of the default policy
OFF = "loops: off\n"
RUNS = {
    python("openai_loop"): "chat responses-stream",
    python("anthropic_loop"): "stream",
    python("agents_loop"): "responses",
    python("langgraph_loop"): "chat-stream",
}


def check_answers(on: Stage) -> None:
    """The client was answered what the provider said, byte for byte. A chat stream apart: the
    usage that was asked for on the way is taken out of it."""
    for theirs, sent in zip(on.front.answers, on.back.answers, strict=True):
        chat = theirs.to.path.endswith("/chat/completions")
        assert theirs.body == sent.body or (chat and theirs.to.json.get("stream"))


async def run(folder: Path, command: tuple[str, ...], policy: str) -> list[bytes]:
    """Runs it to its end; what was forwarded."""
    modes = command[2:]
    async with stage(folder, policy, script=Working("lookup", TURNS)) as on:
        ended = await on.run(*command)
        for report in ended.reports:
            assert report.get("text") == CONCLUDED, report
            assert isinstance(report["looked_up"], list)
            assert len(report["looked_up"]) == TURNS
        assert len(on.back.requests) == len(modes) * (TURNS + 1)
        assert {a.header("x-holdfast-decision") for a in on.front.answers} == {"allow"}
        check_forwarded(on)
        check_answers(on)
        return [seen.body for seen in on.back.requests]


def clients(*programs: tuple[str, str]) -> pytest.MarkDecorator:
    """A test of each of these, in all its modes."""
    every = [pytest.param((*p, *RUNS[p].split()), id=Path(p[1]).name) for p in programs]
    return pytest.mark.parametrize("command", every)


@clients(python("agents_loop"), python("langgraph_loop"))
async def test_nothing_is_added_and_nothing_kept(tmp_path: Path, command: tuple[str, ...]) -> None:
    """The same bytes both ways."""
    await run(tmp_path, command, ON)


@clients(python("openai_loop"), python("anthropic_loop"))
async def test_nothing_differs_from_a_run_that_nobody_looks_at(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    """The same bytes both ways, and the same as with all detectors off."""
    watched = await run(tmp_path / "watched", command, ON)
    unwatched = await run(tmp_path / "unwatched", command, OFF)

    assert watched == unwatched
