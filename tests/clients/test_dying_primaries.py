"""The SDKs, as they are, through a first provider that fails in every way there is.

They get the other provider's answer and never know; or, where none can be given, one exception,
for one request. None of their own retries comes upon ours.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from proxy.admin.shapes import Json
from proxy.simulator import Script, Turn
from tests.clients.agents import SAID, run_codex, shown, three_calls_of
from tests.clients.checks import billed_micro_usd, booked_micro_usd
from tests.clients.falling import Falling, falling
from tests.clients.kit import node, python
from tests.clients.test_tool_loops import SIMULATED, check_reports

pytestmark = [pytest.mark.sdk, pytest.mark.timeout(120)]

LOOPS = {
    python("openai_loop"): ("chat", "chat-stream", "responses", "responses-stream"),
    node("openai_loop"): ("chat", "chat-stream", "responses", "responses-stream"),
    python("anthropic_loop"): ("whole", "stream"),
    node("anthropic_loop"): ("whole", "stream"),
}
SWIFT = """
timeouts: {connect: 1}
retries: {max: 0}
breakers: {slow_seconds: 0.5, answer_seconds: 0.5, stall_seconds: 1,
           consecutive_failures: 1000, minimum_calls: 1000}
deadline_seconds: 20
"""
"""Each call is to meet the dying provider anew; keys and rate limits shut it all the same."""
QUICK = "timeouts: {connect: 1}\ndeadline_seconds: 10\n"
LONG = Script((Turn(text_tokens=400),))
BEFORE = (
    *("dead", "reset", "status=401", "status=404", "status=429;retry_after=5", "status=429"),
    *("status=500", "status=502;body=html", "status=503", "status=529", "empty", "malformed_json"),
    *("slow_head=3", "cut_bytes=60;how=close", "cut_events=0;how=reset"),
)
"""Ways of failing before anything of the answer has come, streamed or not."""
BEFORE_IN_STREAMS = ("slow_first_token=3", "stall=0", "error_event=0", "failed_event=0")
WITHIN = (
    *("cut_events=9", "cut_events=9;how=close", "cut_events=9;how=reset", "stall=9"),
    *("error_event=9", "failed_event=9"),
)
"""After some of a stream has come."""


Play = Callable[[Path, tuple[str, str], str], Awaitable[None]]


async def each_sdk(folder: Path, play: Play, fault: str) -> None:
    """All four at once, each on a stage of its own; most of the time is waited."""
    async with asyncio.TaskGroup() as group:
        for number, program in enumerate(LOOPS):
            (folder / str(number)).mkdir()
            group.create_task(_named(play, folder / str(number), program, fault))


async def _named(play: Play, folder: Path, program: tuple[str, str], fault: str) -> None:
    try:
        await play(folder, program, fault)
    except AssertionError as error:
        error.add_note(f"with {Path(program[1]).name} and {fault}")
        raise


def streamed(program: tuple[str, str]) -> tuple[str, ...]:
    return tuple(mode for mode in LOOPS[program] if "stream" in mode)


def attempts(on: Falling) -> int:
    """What has come to the first provider."""
    return sum(1 for entry in on.first.journal if entry.method == "POST")


async def billed_and_booked(on: Falling) -> tuple[int, int]:
    """What the second provider bills, and what all sessions cost by the sidecar's word."""
    booked = sum(map(booked_micro_usd, await on.sessions()))
    return billed_micro_usd(on.second.journal), booked


@pytest.mark.parametrize("fault", [*BEFORE, *BEFORE_IN_STREAMS])
async def test_an_agent_runs_to_its_end_on_the_fallback(tmp_path: Path, fault: str) -> None:
    """Four requests a run, as ever, each answered by the second provider."""
    await each_sdk(tmp_path, run_to_the_end, fault)


async def run_to_the_end(folder: Path, program: tuple[str, str], fault: str) -> None:
    modes = streamed(program) if fault in BEFORE_IN_STREAMS else LOOPS[program]
    async with falling(folder, SWIFT, dead=int(fault == "dead")) as on:
        if fault != "dead":
            on.first.fail(fault)
        ended = await on.run(*program, *modes)

        check_reports(ended.reports, modes, SIMULATED)
        assert len(on.front.calls()) == 4 * len(modes)
        assert len(on.back.calls()) == len(on.second.journal) == 4 * len(modes)
        assert {a.status for a in on.front.answers} == {200}
        few = fault.startswith(("status=401", "status=429", "dead"))
        if "slow" not in fault:  # where a busy machine may give one up before it has arrived
            assert attempts(on) == 4 * len(modes) or (few and attempts(on) <= 2)
        sessions = await on.sessions()
        assert [(s["steps"], s["tool_calls"]) for s in sessions] == [(4, 3)] * len(modes)
        billed, booked = await billed_and_booked(on)
        assert booked >= billed
        if fault.startswith(("status", "dead")):
            assert booked == billed


@pytest.mark.parametrize("fault", WITHIN)
async def test_a_stream_that_dies_within_is_one_exception(tmp_path: Path, fault: str) -> None:
    """Half of one answer and half of another is none."""
    await each_sdk(tmp_path, fail_within, fault)


async def fail_within(folder: Path, program: tuple[str, str], fault: str) -> None:
    modes = streamed(program)
    async with falling(folder, SWIFT, script=LONG) as on:
        on.first.fail(fault)
        ended = await on.run(*program, *modes)

        check_errors(ended.reports, modes)
        assert len(on.front.calls()) == len(modes)
        assert attempts(on) == len(modes)
        assert on.second.journal == ()


@pytest.mark.parametrize("fault", [fault for fault in BEFORE if "slow" not in fault])
async def test_where_all_are_down_there_is_one_exception(tmp_path: Path, fault: str) -> None:
    """For one request: we have tried again already, within what the retries allow."""
    await each_sdk(tmp_path, fail_everywhere, fault)


async def fail_everywhere(folder: Path, program: tuple[str, str], fault: str) -> None:
    modes = LOOPS[program]
    async with falling(folder, SWIFT, dead=2 * (fault == "dead")) as on:
        if fault != "dead":
            on.first.fail(fault)
            on.second.fail(fault)
        ended = await on.run(*program, *modes)

        check_errors(ended.reports, modes)
        assert len(on.front.calls()) == len(modes)
        assert attempts(on) + len(on.second.journal) <= 2 * len(modes)
        assert {a.status for a in on.front.answers} <= {502, 503, 504}
        assert {a.header("x-should-retry") for a in on.front.answers} == {"false"}


def check_errors(reports: list[dict[str, Json]], modes: tuple[str, ...]) -> None:
    """Each mode ended with an exception that says something, and no tool was run."""
    assert [report["mode"] for report in reports] == list(modes)
    for report in reports:
        assert report.get("text") is None
        assert report["error"]
        assert report["message"]
        assert report["looked_up"] == []


ECHOES = three_calls_of(
    "exec_command", {"cmd": "echo one"}, {"cmd": "echo two"}, {"cmd": "echo three"}
)


@pytest.mark.agents
@pytest.mark.parametrize("fault", [*BEFORE, *BEFORE_IN_STREAMS])
async def test_codex_runs_to_its_end_on_the_fallback(tmp_path: Path, fault: str) -> None:
    async with falling(tmp_path, SWIFT, script=ECHOES, dead=int(fault == "dead")) as on:
        if fault != "dead":
            on.first.fail(fault)
        ended = await run_codex(on)

        assert ended.code == 0, ended.err
        assert ended.out.strip() == SAID
        assert len(on.front.calls("/responses")) == len(on.second.journal) == 4


@pytest.mark.agents
@pytest.mark.parametrize("fault", [fault for fault in WITHIN if "event=" not in fault])
async def test_codex_stops_where_a_stream_breaks_off(tmp_path: Path, fault: str) -> None:
    """It takes every other end of a stream for a reason to ask five times more."""
    async with falling(tmp_path, SWIFT, script=LONG) as on:
        on.first.fail(fault)
        ended = await run_codex(on)

        assert ended.code != 0
        assert len(on.front.calls("/responses")) == 1
        assert attempts(on) == 1


@pytest.mark.agents
@pytest.mark.parametrize("fault", ["error_event=9", "failed_event=9"])
async def test_codex_is_led_away_from_a_provider_that_fails_in_streams(
    tmp_path: Path, fault: str
) -> None:
    """It asks again after a provider's own error, and by then another is asked."""
    async with falling(tmp_path, QUICK, script=LONG) as on:
        on.first.fail(fault)
        ended = await run_codex(on)

        assert ended.code == 0, ended.err
        assert attempts(on) <= 5
        assert len(on.second.journal) == 1


@pytest.mark.agents
@pytest.mark.parametrize("fault", ["dead", "status=503"])
async def test_codex_is_told_that_all_are_down(tmp_path: Path, fault: str) -> None:
    """It asks thirty times, whatever it is told, and gets thirty answers; the providers hear of
    few of them."""
    async with falling(tmp_path, QUICK, script=ECHOES, dead=2 * (fault == "dead")) as on:
        if fault != "dead":
            on.first.fail(fault)
            on.second.fail(fault)
        ended = await run_codex(on)

        assert ended.code != 0
        assert "second" in shown(ended), ended.err
        assert len(on.front.answers) == len(on.front.requests)
        assert attempts(on) + len(on.second.journal) <= 12
