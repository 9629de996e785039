"""Tool loops of SDKs whose provider speaks another dialect than they do: they cannot tell."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.checks import billed_micro_usd, check_session
from tests.clients.kit import Stage, node, python, stage
from tests.clients.test_tool_loops import AIMOCK, AIMOCK_RUN_MICRO_USD, SIMULATED, check_reports

pytestmark = [pytest.mark.sdk, pytest.mark.timeout(120)]

CHAT = ("chat", "chat-stream", "chat-helper")
RESPONSES = ("responses", "responses-stream", "responses-helper")
MESSAGES = ("whole", "stream", "helper")


@dataclass(frozen=True, slots=True)
class Pair:
    """A client, its modes, and the one endpoint that its provider has."""

    program: tuple[str, str]
    modes: tuple[str, ...]
    endpoint: str

    @property
    def name(self) -> str:
        """For the names of tests."""
        return f"{Path(self.program[1]).name} {self.modes[0]} on {self.endpoint}"

    @property
    def path(self) -> str:
        """Of that endpoint."""
        return "/v1/messages" if self.endpoint == "messages" else "/v1/chat/completions"

    def policy(self, origin: str) -> str:
        """Everything goes to a provider that has this endpoint only."""
        anthropic = self.endpoint == "messages"
        base, dialect = (origin, "anthropic") if anthropic else (f"{origin}/v1", "openai")
        told = f"base_url: {base}, dialect: {dialect}, api_key: k, endpoints: [{self.endpoint}]"
        return f'upstreams:\n  only: {{{told}}}\nroutes: [{{match: {{model: "*"}}, to: [only]}}]\n'


PAIRS = (
    Pair(python("openai_loop"), CHAT, "messages"),
    Pair(node("openai_loop"), CHAT, "messages"),
    Pair(python("anthropic_loop"), MESSAGES, "chat"),
    Pair(node("anthropic_loop"), MESSAGES, "chat"),
    Pair(python("openai_loop"), RESPONSES, "chat"),
    Pair(node("openai_loop"), RESPONSES, "chat"),
    Pair(python("openai_loop"), RESPONSES, "messages"),
)
every_pair = pytest.mark.parametrize("pair", [pytest.param(p, id=p.name) for p in PAIRS])


async def run_loops(on: Stage, pair: Pair, text: str) -> None:
    """Four requests for each run, each sent once, in the provider's dialect and by its key."""
    ended = await on.run(*pair.program, *pair.modes)

    check_reports(ended.reports, pair.modes, text)
    assert len(on.front.calls()) == 4 * len(pair.modes)
    assert [seen.path for seen in on.back.calls()] == [pair.path] * 4 * len(pair.modes)
    for seen in on.back.calls():
        assert (seen.header("x-api-key") or seen.header("authorization") or "").endswith("k")
    assert [bool(a.to.json.get("stream")) for a in on.front.answers] == [
        bool(seen.json.get("stream")) for seen in on.back.calls()
    ]


@every_pair
async def test_a_tool_loop_against_the_simulated_provider(tmp_path: Path, pair: Pair) -> None:
    """Steps, tool calls and cost are those of the provider's own dialect."""
    async with stage(tmp_path, pair.policy) as on:
        await run_loops(on, pair, SIMULATED)
        journal, sessions = on.sim.journal, await on.sessions()
        assert len(sessions) == len(pair.modes)
        for i, session in enumerate(sessions):
            billed = billed_micro_usd(journal[4 * i : 4 * i + 4])
            check_session(session, steps=4, tool_calls=3, cost=billed)


@every_pair
async def test_a_tool_loop_against_aimock(tmp_path: Path, pair: Pair, aimock: str) -> None:
    """A provider that nobody here wrote reads what we make of a request."""
    async with stage(tmp_path, pair.policy, upstream=aimock) as on:
        await run_loops(on, pair, AIMOCK)
        sessions = await on.sessions()
        assert len(sessions) == len(pair.modes)
        for session in sessions:
            check_session(session, steps=4, tool_calls=3, cost=AIMOCK_RUN_MICRO_USD)
