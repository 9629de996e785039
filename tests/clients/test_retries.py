"""An SDK that gives up waiting and asks again gets the answer of its first attempt, paid once."""

from pathlib import Path

import pytest

from tests.clients.checks import billed_micro_usd, check_session
from tests.clients.kit import node, python, stage
from tests.clients.test_tool_loops import SIMULATED, check_reports

pytestmark = [pytest.mark.sdk, pytest.mark.timeout(180)]

LOOPS = {
    python("openai_loop"): ("chat", "chat-stream", "responses", "responses-stream"),
    node("openai_loop"): ("chat", "chat-stream", "responses", "responses-stream"),
    python("anthropic_loop"): ("whole", "stream"),
    node("anthropic_loop"): ("whole", "stream"),
}


@pytest.mark.parametrize(
    "command", [pytest.param((*p, *modes), id=Path(p[1]).name) for p, modes in LOOPS.items()]
)
async def test_every_retry_after_a_time_out_is_paid_once(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    """The provider takes twice as long for its head as the client waits."""
    modes = command[2:]
    async with stage(tmp_path) as on:
        on.sim.fail("slow_head=1.0", times=4 * len(modes))
        ended = await on.run(*command, env={"CLIENT_TIMEOUT_SECONDS": "0.5"})

        check_reports(ended.reports, modes, SIMULATED)
        journal, sessions = on.sim.journal, await on.sessions()
        assert len(on.front.requests) >= 2 * 4 * len(modes)
        assert len(journal) == 4 * len(modes)
        assert len(sessions) == len(modes)
        for i, session in enumerate(sessions):
            billed = billed_micro_usd(journal[4 * i : 4 * i + 4])
            check_session(session, steps=4, tool_calls=3, cost=billed)
