"""Real SDKs whose model asks for the same email twice: their tool sends it once."""

from pathlib import Path

import pytest

from proxy.simulator import ToolCall, Turn
from tests.clients.kit import Stage, python, stage
from tests.clients.models import CONCLUDED, Scripted
from tests.clients.tap import Seen

pytestmark = [pytest.mark.sdk, pytest.mark.timeout(120)]

POLICY = 'tools: {side_effects: ["send_*"]}\n'
ANN = ToolCall("send_email", {"to": "ann@example.org", "subject": "Hello"})
BOB = ToolCall("send_email", {"to": "bob@example.org", "subject": "Hello"})
TO_ANN, TO_BOB = "ann@example.org: Hello", "bob@example.org: Hello"
RECORDED = "Email 1 is on its way to ann@example.org."
RUNS = {
    python("openai_loop"): "chat chat-stream responses responses-stream responses-stored",
    python("anthropic_loop"): "whole stream",
    python("langgraph_loop"): "chat chat-stream responses responses-stream",
    python("agents_loop"): "responses responses-stream chat chat-stream",
}


def clients(*programs: tuple[str, str]) -> pytest.MarkDecorator:
    """A test of each of these, in all its modes."""
    every = [pytest.param((*p, *RUNS[p].split()), id=Path(p[1]).name) for p in programs]
    return pytest.mark.parametrize("command", every)


async def run(on: Stage, command: tuple[str, ...], sent: list[str], *, asked: int) -> None:
    """Each mode of it concludes after so many requests of its own, and has sent these.

    What a stream has said before a call that is kept from the agent has been said.
    """
    ended = await on.run(*command, env={"CLIENT_TOOL": "send_email"})
    assert len(ended.reports) == len(command[2:])
    for report in ended.reports:
        assert str(report.get("text")).endswith(CONCLUDED), report
        assert report["sent"] == sent, report
    assert len(on.front.requests) == asked * len(command[2:])
    assert all(answer.status == 200 for answer in on.back.answers)
    for session in await on.sessions():
        assert session["steps"] == asked


def check_told(command: tuple[str, ...], last: list[Seen]) -> None:
    """The last request of each mode has both calls with one result. Where the provider keeps the
    history, it sends what is new."""
    told = [seen.body.count(RECORDED.encode()) for seen in last]
    assert told == [1 if mode.endswith("stored") else 2 for mode in command[2:]]


@clients(*RUNS)
async def test_an_email_asked_for_again_is_sent_once(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    """The model is given the recorded result and concludes; the agent sees nothing but that."""
    model = Scripted(
        {
            0: Turn(tool_calls=(ANN,)),
            1: Turn(text="Once more, to be sure.", tool_calls=(ANN,)),
            2: Turn(text=CONCLUDED),
        }
    )
    async with stage(tmp_path, POLICY, script=model) as on:
        await run(on, command, [TO_ANN], asked=2)

        assert len(on.back.requests) == 3 * len(command[2:])
        check_told(command, on.back.requests[2::3])


@clients(*RUNS)
async def test_an_email_asked_for_beside_a_new_one_is_sent_once(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    """The new one alone reaches the agent; the model finds both in what it is asked next."""
    model = Scripted(
        {
            0: Turn(tool_calls=(ANN,)),
            1: Turn(tool_calls=(ANN, BOB)),
            3: Turn(text=CONCLUDED),
        }
    )
    async with stage(tmp_path, POLICY, script=model) as on:
        await run(on, command, [TO_ANN, TO_BOB], asked=3)

        assert len(on.back.requests) == 3 * len(command[2:])
        check_told(command, on.back.requests[2::3])


@pytest.mark.parametrize(
    "command",
    [
        (*python("openai_loop"), "chat-stream"),
        (*python("anthropic_loop"), "whole"),
        (*python("langgraph_loop"), "responses"),
    ],
    ids=["openai-chat-stream", "anthropic-whole", "langgraph-responses"],
)
async def test_an_email_is_not_sent_again_by_an_agent_that_starts_again(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    """Nor by one that finds another sidecar on the same store: its model gets the first result."""
    model = Scripted({0: Turn(tool_calls=(ANN,)), 1: Turn(text=CONCLUDED)})
    store = f"sqlite:///{tmp_path}/ledger.db"
    sent = []
    for _ in range(2):
        async with stage(tmp_path, POLICY, script=model, store=store) as on:
            base = f"{on.front.url}/s/nightly-42"
            named = {"OPENAI_BASE_URL": f"{base}/v1", "ANTHROPIC_BASE_URL": base}
            report = (await on.run(*command, env=named | {"CLIENT_TOOL": "send_email"})).report
            assert str(report.get("text")).endswith(CONCLUDED), report
            sent.append(report["sent"])
            assert RECORDED.encode() in on.back.requests[-1].body

    assert sent == [[TO_ANN], []]


@clients(python("openai_loop"), python("anthropic_loop"))
async def test_an_email_asked_for_twice_at_once_is_sent_once(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    """Two calls of one answer: the agent is handed one of them."""
    model = Scripted({0: Turn(tool_calls=(ANN, ANN)), 2: Turn(text=CONCLUDED)})
    async with stage(tmp_path, POLICY, script=model) as on:
        await run(on, command, [TO_ANN], asked=2)

        assert all(s.body.count(RECORDED.encode()) == 2 for s in on.back.requests[1::2])
