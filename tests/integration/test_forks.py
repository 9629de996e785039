"""Forks whose agents start from scratch, and sessions of other ledgers, given their answers."""

from pathlib import Path

import pytest

from proxy.core.request import DialectName
from tests.integration.agent_kit import Agent
from tests.integration.kit import DIALECTS, sidecar
from tests.integration.test_checkpoints import BEARER, KEYED, RUN, got, verified

every_dialect = pytest.mark.parametrize("dialect", DIALECTS)
streamed_or_not = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@every_dialect
@streamed_or_not
async def test_a_fork_answers_from_the_record_and_then_goes_its_own_way(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    """The agent that is pointed at it starts from scratch: two steps are given again, the third is
    asked for, and its budget is whole."""
    policy = "limits: {steps: 3}"
    async with sidecar(tmp_path, policy, script=RUN, env=KEYED) as on:
        await Agent(on, dialect, stream).finish()
        status, fork = await got(on, "s1/fork", "POST", {"step": 2, "session": "f1"})

        assert (status, fork["session"], fork["path"]) == (201, "f1", "/r/f1/v1")
        assert (fork["steps"], fork["cost_usd"], fork["resumable"]) == (0, 0, True)
        assert (fork["forked_from"], fork["step"], fork["missing"]) == ("s1", 2, [])
        assert await verified(on, "f1") is None
        asked = len(on.sim.journal)
        again = Agent(on, dialect, stream, session="f1")
        assert await again.finish() == "All done."
        assert len(on.sim.journal) == asked + 1
        assert len(again.ran) == 2
        _, shown = await got(on, "f1")
        assert shown["steps"] == 1
        _, own = await got(on, "f1/checkpoint")
        assert (own["step"], own["inherited"]) == (3, False)
        _, inherited = await got(on, "f1/checkpoint?step=2")
        _, origin = await got(on, "s1/checkpoint?step=2")
        assert inherited["inherited"] is True
        for name in ("request", "answer", "next"):
            assert inherited[name] == origin[name]
        assert await verified(on, "f1") is None
        assert await verified(on, "s1") is None


async def test_a_refusal_in_a_fork_names_the_checkpoint_that_it_is(tmp_path: Path) -> None:
    """One that a human is sent to is the fork's last, not a step of its origin."""
    async with sidecar(tmp_path, script=RUN, env=KEYED) as on:
        await Agent(on, "chat", stream=False).finish()
        await got(on, "s1/fork", "POST", {"step": 2, "session": "f1"})
        await Agent(on, "chat", stream=False, session="f1").finish()
        await on.admin("POST", "/sessions/f1/pause")
        refused = await on.call(session="f1")

        assert refused.facts["checkpoint"] == "f1@3"
        _, last = await got(on, "f1/checkpoint")
        assert last["checkpoint"] == "f1@3"


async def test_forks_of_forks_keep_their_numbers(tmp_path: Path) -> None:
    async with sidecar(tmp_path, script=RUN, env=KEYED) as on:
        await Agent(on, "chat", stream=False).finish()
        await got(on, "s1/fork", "POST", {"step": 2, "session": "f1"})
        await Agent(on, "chat", stream=False, session="f1").finish()
        status, second = await got(on, "f1/fork", "POST", {"session": "f2"})

        assert (status, second["step"], second["missing"]) == (201, 3, [])
        assert await verified(on, "f2") is None
        await on.admin("DELETE", "/sessions/s1")
        await on.admin("DELETE", "/sessions/f1")
        asked = len(on.sim.journal)
        assert await Agent(on, "chat", stream=False, session="f2").finish() == "All done."
        assert len(on.sim.journal) == asked, "all three are its own by now"


async def test_an_agent_is_answered_from_a_record_that_another_ledger_made(tmp_path: Path) -> None:
    """A session is moved with its agent: exported, taken in, and gone on with."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    other = {"HOLDFAST_CHAIN_KEY": "the key of quite another ledger's chain"}
    async with (
        sidecar(tmp_path / "a", script=RUN, env=KEYED) as one,
        sidecar(tmp_path / "b", script=RUN, env=other) as two,
    ):
        agent = Agent(one, "chat", stream=True)
        await agent.step()
        await agent.step()
        await two.call(session="mine")
        tenant = (await two.admin("GET", "/sessions/mine"))["tenant"]
        url = f"{one.admin_url}/api/v1/sessions/s1/export"
        async with one.http.get(url, headers=BEARER) as response:
            file = await response.read()
        url = f"{two.admin_url}/api/v1/sessions/import?tenant={tenant}"
        async with two.http.post(url, headers=BEARER, data=file) as response:
            assert response.status == 201

        asked = len(two.sim.journal)
        again = Agent(two, "chat", stream=True, headers={"x-holdfast-resume": "true"})
        assert await again.finish() == "All done."
        assert len(two.sim.journal) == asked + 1
        assert again.history[:5] == agent.history[:5]
