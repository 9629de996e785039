"""Real SDKs and frameworks whose model goes round in circles: every rung, to a graceful end.

One call with one result, again and again: the first that repeats is the second.
"""

from collections import Counter
from pathlib import Path

import pytest

from proxy.simulator import ToolCall
from tests.clients.checks import added, withheld
from tests.clients.kit import Finished, Stage, node, python, stage
from tests.clients.models import CONCLUDED, Heeds, Looping

pytestmark = [pytest.mark.sdk, pytest.mark.timeout(120)]

RIVERS = ToolCall("lookup", {"topic": "rivers"})
LAKES = ToolCall("lookup", {"topic": "lakes"})
RESULT = "A fact about rivers."
LADDER = "loops: {repeat: {warn: 2, steer: 3, final_answer: 4, stop: 5}}\n"
MARKER = "Automatic notice of the gateway"
MESSAGE = "I need manual help."
HANDOFF = """\
limits: {on_limit: handoff}
handoff: {reply: message}
"""
CLIMBED = ["allow", "allow", "warn", "steer", "final_answer"]
RUNS = {
    python("openai_loop"): "chat chat-stream responses responses-stream responses-stored",
    python("anthropic_loop"): "whole stream",
    python("agents_loop"): "responses responses-stream chat chat-stream",
    python("langgraph_loop"): "chat chat-stream responses responses-stream",
    python("pydantic_loop"): "chat responses messages",
    node("openai_loop"): "chat-stream responses-stream",
    node("anthropic_loop"): "whole stream",
}

IN_PEACE = python("openai_loop"), python("anthropic_loop"), python("langgraph_loop")
"""`test_handoff_messages` has them all."""


def clients(*programs: tuple[str, str]) -> pytest.MarkDecorator:
    """A test of each of these, in all its modes."""
    every = [pytest.param((*p, *RUNS[p].split()), id=Path(p[1]).name) for p in programs]
    return pytest.mark.parametrize("command", every)


every_client = clients(*RUNS)


def looping(heeds: Heeds) -> Looping:
    return Looping((RIVERS,), heeds, LAKES, MARKER)


async def run(on: Stage, command: tuple[str, ...], *, calls: int) -> Finished:
    """Runs all modes, each of which comes to so many calls at the provider."""
    ended = await on.run(*command)
    assert len(ended.reports) == len(command[2:])
    assert len(on.back.requests) == calls * len(command[2:])
    return ended


def decisions(on: Stage, calls: int) -> list[list[str | None]]:
    """What each answer of a run of so many calls says was decided, a list for each mode."""
    said = [answer.header("x-holdfast-decision") for answer in on.front.answers]
    return [said[i : i + calls] for i in range(0, len(said), calls)]


def check_forwarded(on: Stage, calls: int) -> None:
    """The client's own words go upstream untouched, with a note from the rung `steer` on."""
    modes = len(on.back.requests) // calls
    for mode in range(modes):
        for call in range(calls):
            sent = on.front.requests[mode * len(on.front.requests) // modes + call]
            forwarded = on.back.requests[mode * calls + call]
            notes = added(sent, forwarded)
            assert len(notes) == (CLIMBED[call] in ("steer", "final_answer"))
            assert all("lookup" in note and RESULT not in note for note in notes)
            assert withheld(forwarded) == (CLIMBED[call] == "final_answer")


@every_client
async def test_a_model_that_heeds_nothing_is_stopped(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    """At the fifth identical call, with an error that the SDK raises and does not try again."""
    async with stage(tmp_path, LADDER, script=looping("nothing")) as on:
        ended = await run(on, command, calls=5)

        for report, session in zip(ended.reports, await on.sessions(), strict=True):
            assert report.get("status_code") == 422, report
            assert "loop_detected" in str(report["body"])
            assert str(session["session"]) in str(report["message"])
            assert "lookup" in str(report["message"])
            assert report["looked_up"] == ["rivers"] * 5
            assert (session["steps"], session["refusals"]) == (5, 1)
        assert decisions(on, 6) == [[*CLIMBED, None]] * len(command[2:])
        check_forwarded(on, 5)


@every_client
async def test_a_model_without_its_tools_concludes(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    """The run ends as any run does: the agent is handed a text, and its program exits with 0."""
    async with stage(tmp_path, LADDER, script=looping("withheld")) as on:
        ended = await run(on, command, calls=5)

        assert ended.code == 0
        for report in ended.reports:
            assert report.get("text") == CONCLUDED, report
            assert report["looked_up"] == ["rivers"] * 4
        assert decisions(on, 5) == [CLIMBED] * len(command[2:])
        check_forwarded(on, 5)


@every_client
async def test_a_model_that_heeds_the_note_goes_on(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    """It looks for something else, its tools are not withheld, and nothing more is said to it."""
    async with stage(tmp_path, LADDER, script=looping("note")) as on:
        ended = await run(on, command, calls=5)

        assert ended.code == 0
        for report in ended.reports:
            assert report.get("text") == CONCLUDED, report
            assert report["looked_up"] == ["rivers", "rivers", "rivers", "lakes"]
        assert decisions(on, 5) == [["allow", "allow", "warn", "steer", "allow"]] * len(command[2:])


@pytest.mark.parametrize("mode", ["structured-chat", "structured-messages"])
async def test_where_a_tool_is_forced_a_run_concludes_by_a_call(tmp_path: Path, mode: str) -> None:
    """Without tools pydantic-ai's model could only say a text: it would be asked again, and the run
    would fail in the end with `Exceeded maximum output retries`."""
    result = ToolCall("final_result", {"text": CONCLUDED})
    model = Looping((RIVERS,), "note", result, "by the call that gives the final answer")
    async with stage(tmp_path, LADDER, script=model) as on:
        ended = await run(on, (*python("pydantic_loop"), mode), calls=5)

        assert ended.report.get("text") == CONCLUDED, ended.report
        assert ended.report["looked_up"] == ["rivers"] * 4
        assert decisions(on, 5) == [CLIMBED]
        sent, forwarded = on.front.requests[-1], on.back.requests[-1]
        assert len(added(sent, forwarded)) == 1
        assert forwarded.json["tool_choice"] == sent.json["tool_choice"]


@clients(*IN_PEACE)
async def test_a_stop_that_a_human_is_told_of_ends_the_run_in_peace(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    """With `on_limit: handoff` and `reply: message` the agent's last answer is that message."""
    async with stage(tmp_path, LADDER + HANDOFF, script=looping("nothing")) as on:
        ended = await run(on, command, calls=5)

        assert ended.code == 0
        for report, session in zip(ended.reports, await on.sessions(), strict=True):
            assert report.get("text") == MESSAGE, report
            assert report["looked_up"] == ["rivers"] * 5
            assert (session["state"], session["steps"]) == ("awaiting_human", 5)
        waiting = (await on.side.admin("GET", "/handoffs"))["handoffs"]
        assert isinstance(waiting, list)
        assert len(waiting) == len(command[2:])


@pytest.mark.parametrize(
    "command",
    [(*python("openai_loop"), "chat-stream"), (*python("langgraph_loop"), "responses")],
    ids=["openai", "langgraph"],
)
async def test_a_circle_of_two_calls_climbs_too(tmp_path: Path, command: tuple[str, ...]) -> None:
    """Once around is two calls: noticed after the second round, concluded after the fourth."""
    policy = "loops: {cycle: {warn: 2, steer: 3, final_answer: 4, stop: 5}}\n"
    async with stage(tmp_path, policy, script=Looping((RIVERS, LAKES), "withheld")) as on:
        ended = await run(on, command, calls=9)

        assert ended.report.get("text") == CONCLUDED, ended.report
        assert ended.report["looked_up"] == ["rivers", "lakes"] * 4
        (said,) = decisions(on, 9)
        assert (said[4], said[6], said[8]) == ("warn", "steer", "final_answer")
        assert set(said[:4]) == {"allow"}


@pytest.mark.parametrize("session", ["", "/s/one"], ids=["three-sessions", "one-session"])
async def test_parallel_runs_climb_each_for_itself(tmp_path: Path, session: str) -> None:
    """Three LangGraph runs with one prompt and one loop: no call of one counts for another."""
    async with stage(tmp_path, LADDER, script=looping("withheld")) as on:
        base = {"OPENAI_BASE_URL": f"{on.front.url}{session}/v1"}
        ended = await on.run(*python("langgraph_loop"), "parallel", env=base)

        assert ended.report.get("text") == [CONCLUDED] * 3, ended.report
        assert len(on.back.requests) == 3 * 5
        said = Counter(answer.header("x-holdfast-decision") for answer in on.front.answers)
        assert said == {"allow": 6, "warn": 3, "steer": 3, "final_answer": 3}
        assert len(await on.sessions()) == (1 if session else 3)
