"""Forks, imports and deletions where the ledger is in Redis or Valkey."""

from pathlib import Path

import pytest

from tests.fakes_redis import RedisServer
from tests.integration.agent_kit import Agent
from tests.integration.kit import sidecar
from tests.integration.test_checkpoints import KEYED, RUN, got, raw, verified
from tests.integration.test_copies import exported, imported


@pytest.mark.parametrize("kind", ["redis", "valkey"])
async def test_a_session_is_copied_and_deleted_there_as_anywhere(tmp_path: Path, kind: str) -> None:
    server = RedisServer(kind, tmp_path / "server").start()
    env = {**KEYED, "HOLDFAST_STATE_DIR": str(tmp_path)}
    try:
        async with sidecar(tmp_path, script=RUN, store=server.url, env=env) as on:
            await Agent(on, "chat", stream=True).finish()
            status, fork = await got(on, "s1/fork", "POST", {"step": 2, "session": "f"})
            assert (status, fork["missing"]) == (201, [])
            status, copy = await imported(on, await exported(on), "?as=copy")
            assert (status, copy["imported"]["own"], copy["imported"]["readable"]) == (
                201,
                True,
                True,
            )
            for session in ("s1", "f", "copy"):
                assert await verified(on, session) is None
            assert (await got(on, "s1", "DELETE"))[0] == 200

            asked = len(on.sim.journal)
            assert await Agent(on, "chat", stream=True, session="f").finish() == "All done."
            assert len(on.sim.journal) == asked + 1
            assert (await raw(on, "copy/checkpoint?step=3&raw=1"))[0] == 200
            assert (await imported(on, await exported(on, "copy"), "?as=s1"))[0] == 409
            assert (await got(on, "f/fork", "POST", {"session": "s1"}))[0] == 201
            assert await verified(on, "s1") is None
    finally:
        server.stop()
