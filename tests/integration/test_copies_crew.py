"""Sessions that are deleted, forked and taken in by one worker, as all the others then see them."""

import asyncio
from pathlib import Path

import pytest

from proxy.simulator import Script, Turn
from tests.integration.crew_kit import crew
from tests.integration.kit import TOKEN

pytestmark = [pytest.mark.process, pytest.mark.timeout(40)]

BEARER = {"authorization": f"Bearer {TOKEN}"}


async def test_a_deleted_id_begins_anew_on_every_worker(tmp_path: Path) -> None:
    """Each had the old session in memory, and none admits a call on what it was."""
    async with crew(tmp_path, policy="limits: {steps: 4}") as (on, _):
        clients = await on.pinned(4)
        for client in clients:
            assert (await client.call()).status == 200
        assert (await clients[0].call()).status == 422
        assert (await on.admin("DELETE", "/sessions/s1"))["state"] == "deleted"

        steps = [(await client.call()).headers["x-holdfast-step"] for client in clients]
        assert steps == ["1", "2", "3", "4"]
        assert (await clients[3].call()).status == 422


async def test_calls_and_deletions_at_once_leave_one_history(tmp_path: Path) -> None:
    """Every call is in one life of the session or in another: none is lost, none counted twice."""
    script = Script((Turn(text="so"),))
    async with crew(tmp_path, policy="limits: {parallel: null}", script=script) as (on, sim):
        clients = await on.pinned(4)
        probes = len(sim.journal)

        async def calls(client: int) -> int:
            return sum([(await clients[client].call()).status == 200 for _ in range(15)])

        async def deletions() -> int:
            done = 0
            for _ in range(20):
                url = f"{on.admin_url}/api/v1/sessions/s1"
                async with on.http.delete(url, headers=BEARER) as response:
                    assert response.status in (200, 404, 409)
                    done += response.status == 200
            return done

        answered = await asyncio.gather(*(calls(n) for n in range(4)), deletions())
        print(f"{sum(answered[:4])} calls, {answered[4]} deletions")
        assert sum(answered[:4]) == 60
        assert len(sim.journal) - probes == 60
        assert await on.open_holds() == []
        shown = [(await on.admin("GET", "/sessions/s1")) for _ in range(6)]
        assert len({str(one) for one in shown}) == 1


async def test_a_fork_and_an_import_are_there_for_every_worker(tmp_path: Path) -> None:
    """The next call may come to any of them: the recorded step is given, the new one is counted."""
    async with crew(tmp_path) as (on, sim):
        clients = await on.pinned(4)
        await clients[0].call()
        await on.admin("POST", "/sessions/s1/fork", {"step": 1, "session": "f"})
        url = f"{on.admin_url}/api/v1/sessions/"
        async with on.http.get(url + "s1/export", headers=BEARER) as response:
            file = await response.read()
        async with on.http.post(url + "import?as=copy", headers=BEARER, data=file) as response:
            assert response.status == 201

        asked = len(sim.journal)
        replayed = await clients[1].call(session="f")
        assert (replayed.headers["x-holdfast-decision"], len(sim.journal)) == ("replay", asked)
        shown = [(await client.call(session="copy", seed=1)).headers for client in clients]
        assert [headers["x-holdfast-step"] for headers in shown] == ["2", "3", "4", "5"]
