"""`holdfast serve --workers N`: several processes, one sidecar, whichever of them dies."""

import asyncio
import json
import os
import re
import signal
import subprocess
from asyncio.subprocess import PIPE
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from proxy.admin.shapes import Json
from proxy.errors import StoreUnavailable
from proxy.simulator import Script, Simulator, Turn
from proxy.stores import OpenHold
from proxy.workers.seat import number_of
from tests.integration.crew_kit import Client, Serving, crew, quickest, serving
from tests.integration.kit import MODEL, PRICES, TOKEN, Answer, frames, sidecar
from tests.integration.test_cli_serve import SERVE
from tests.integration.test_joining import AGAIN, GIVES_UP, said

pytestmark = [pytest.mark.process, pytest.mark.timeout(40)]

ENDLESS = Script((Turn(text_tokens=100_000, chunk_gap_seconds=0.005),))
SLOW = Script((Turn(text="Hello. " * 40, chunk_gap_seconds=0.02),))


async def until_ready(on: Serving) -> None:
    while (await on.text("/readyz"))[0] != 200:
        pass


async def test_steps_of_one_session_are_counted_exactly(tmp_path: Path) -> None:
    """Whichever workers its calls reach: one ledger decides. Any worker tells the same."""
    async with crew(tmp_path, policy="limits: {steps: 30, parallel: null}") as (on, sim):
        answers = await asyncio.gather(*(on.call() for _ in range(45)))

        admitted = [answer for answer in answers if answer.status == 200]
        assert sorted(int(a.headers["x-holdfast-step"]) for a in admitted) == list(range(1, 31))
        refused = {a.error["code"] for a in answers if a.status != 200}
        assert refused == {"step_limit_exceeded"}
        assert sim.totals.requests == 30
        assert len({line["worker"] for line in await on.lines_of("s1", 45)}) > 1
        shown = [await on.admin("GET", "/sessions/s1") for _ in range(8)]
        assert [one["steps"] for one in shown] == [30] * 8
        assert {one["held_usd"] for one in shown} == {0}


async def test_a_kill_cuts_the_streams_of_every_worker(tmp_path: Path) -> None:
    """Within 100 ms, whichever worker hears the command; later calls are refused by all."""
    loop = asyncio.get_running_loop()
    async with crew(tmp_path, policy="limits: {parallel: null}", script=ENDLESS) as (on, _):
        clients = await on.pinned(4)

        async def killed(session: str) -> float:
            streams = [await client.streaming(session) for client in clients]
            began = loop.time()
            killing = asyncio.ensure_future(on.admin("POST", f"/sessions/{session}/kill"))
            rests = await asyncio.gather(*(stream.content.read() for stream in streams))
            took = loop.time() - began

            assert (await killing)["state"] == "killed"
            told = [json.loads(frames(body)[-1][1])["error"]["code"] for body in rests]
            assert told == ["session_killed"] * 4
            refused = [await client.call(session=session) for client in clients]
            assert [answer.error["code"] for answer in refused] == ["session_killed"] * 4
            return took

        assert await quickest(killed, 0.1) < 0.5  # 0.1 on a machine that does nothing else


async def test_another_sidecar_on_the_ledger_kills_as_well(tmp_path: Path) -> None:
    """Its own workers are not all who may carry out a session's calls."""
    loop = asyncio.get_running_loop()
    async with crew(tmp_path, 2, script=ENDLESS) as (on, sim), serving(tmp_path, sim.url, 1) as by:

        async def killed(session: str) -> float:
            stream = await on.streaming(session)
            began = loop.time()
            killing = asyncio.ensure_future(by.admin("POST", f"/sessions/{session}/kill"))
            rest = await stream.content.read()
            took = loop.time() - began

            assert json.loads(frames(rest)[-1][1])["error"]["code"] == "session_killed"
            assert (await killing)["state"] == "killed"
            return took

        assert await quickest(killed, 0.1) < 0.5


async def test_a_kill_reaches_the_others_though_the_ledger_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs is cut, wherever; what comes later cannot be refused yet, and that is said."""
    store = f"sqlite:///{tmp_path}/ledger.db"
    async with (
        sidecar(tmp_path, script=ENDLESS, store=store) as on,
        sidecar(tmp_path, store=store) as by,
    ):

        async def away(session: str) -> list[str]:
            raise StoreUnavailable("away")

        monkeypatch.setattr(by.app.store, "find_tenants", away)
        running = asyncio.ensure_future(on.call(stream=True, bound=90_000))
        await on.sim.wait_for(lambda sim: len(sim.journal) == 1)
        told = await by.admin("POST", "/sessions/s1/kill")

        assert told["error"] == {
            "message": "away",
            "type": "admin_error",
            "code": "store_unavailable",
        }
        answer = await running
        assert b'"code":"session_killed"' in answer.body


async def test_pause_resume_and_extend_are_heard_by_every_worker(tmp_path: Path) -> None:
    """A worker that goes by what it remembers would refuse a session that was let go on."""
    async with crew(tmp_path, policy="limits: {steps: 8}") as (on, _):
        clients = await on.pinned(4)
        for client in clients:
            assert (await client.call()).status == 200

        async def codes() -> list[str]:
            answers = [await client.call() for client in clients]
            return ["" if a.status == 200 else str(a.error["code"]) for a in answers]

        await on.admin("POST", "/sessions/s1/pause")
        assert await codes() == ["session_paused"] * 4
        await on.admin("POST", "/sessions/s1/resume")
        assert await codes() == [""] * 4
        assert await codes() == ["step_limit_exceeded"] * 4
        await on.admin("POST", "/sessions/s1/extend", {"steps": 4})
        assert await codes() == [""] * 4


async def test_a_policy_reaches_every_worker(tmp_path: Path) -> None:
    """By the admin API at once; by its file (a ConfigMap's link too) and by SIGHUP soon after."""
    async with crew(tmp_path) as (on, _):
        policy = tmp_path / "policy.yaml"

        async def steps() -> set[Json]:
            return {(await _policy(on))[0] for _ in range(12)}

        policy.write_text(f"{PRICES}limits: {{steps: 41}}\n")
        assert await on.admin("POST", "/policy/reload") == {"outcome": "applied", "error": None}
        assert await steps() == {41}
        policy.write_text(f"{PRICES}limits: {{steps: 42}}\n")
        while await steps() != {42}:
            pass
        for number in (43, 44):
            (tmp_path / f"data-{number}").mkdir()
            (tmp_path / f"data-{number}/policy.yaml").write_text(f"limits: {{steps: {number}}}\n")
        _link(tmp_path / "..data", "data-43")
        _link(policy, "..data/policy.yaml")
        while await steps() != {43}:
            pass
        _link(tmp_path / "..data", "data-44")
        on.process.send_signal(signal.SIGHUP)
        while await steps() != {44}:
            pass
        counted = (await on.text("/metrics"))[1]
        assert _metric(counted, 'holdfast_policy_reloads_total{outcome="applied"}') == 4


def _link(path: Path, to: str) -> None:
    aside = path.with_name("aside")
    aside.symlink_to(to)
    aside.replace(path)


async def test_a_broken_policy_is_taken_by_none_of_them(tmp_path: Path) -> None:
    """Nor by a worker that starts while it is there: it goes on with the last good one."""
    async with crew(tmp_path, 2, policy="limits: {steps: 41}") as (on, _):
        (tmp_path / "policy.yaml").write_text("limits: {stepz: 1}\n")
        answer = await on.admin("POST", "/policy/reload")
        assert answer["outcome"] == "refused"
        assert "stepz: unknown key" in str(answer["error"])

        killed = on.pids()[0]
        os.kill(killed, signal.SIGKILL)
        await on.told_of(killed)
        await until_ready(on)
        said = [await _policy(on) for _ in range(12)]
        assert {steps for steps, _ in said} == {41}
        while "None" in {error for _, error in [await _policy(on) for _ in range(12)]}:
            pass
        assert "stepz" in (await on.text("/readyz"))[1]


async def _policy(on: Serving) -> tuple[Json, str]:
    """The limit of steps that some worker has in force, and why it is not another."""
    told = await on.admin("GET", "/policy")
    assert isinstance(told["policy"], dict)
    assert isinstance(told["policy"]["limits"], dict)
    return told["policy"]["limits"]["steps"], str(told["error"])


async def test_metrics_are_the_sum_of_all_workers(tmp_path: Path) -> None:
    """Scraped anywhere; and what a dead worker had counted is not lost."""
    async with crew(tmp_path) as (on, sim):
        clients = await on.pinned(4)
        for client in clients:
            await client.call()
        calls = sim.totals.requests

        async def counted(name: str) -> set[float]:
            return {_metric((await on.text("/metrics"))[1], name) for _ in range(6)}

        requests = 'holdfast_requests_total{endpoint="chat",status="200",stream="false",upstream='
        assert await counted(requests) == {calls}
        assert await counted("holdfast_overhead_seconds_count") == {calls}
        assert await counted('holdfast_overhead_seconds_bucket{le="+Inf"}') == {calls}
        assert await counted("holdfast_holds") == {0}
        assert "s1" not in (await on.text("/metrics"))[1]
        billed = sum(entry.input_tokens + 2 * entry.output_tokens for entry in sim.journal)
        assert {round(usd * 1e6) for usd in await counted("holdfast_cost_usd_total")} == {billed}

        killed = on.pids()[1]
        os.kill(killed, signal.SIGKILL)
        await on.told_of(killed)
        assert await counted(requests) == {calls}
        await until_ready(on)
        assert await counted(requests) == {calls}


def _metric(text: str, name: str) -> float:
    """The first value whose line begins so."""
    found = re.search(rf"^{re.escape(name)}.* (\S+)$", text, re.MULTILINE)
    assert found is not None, name
    return float(found[1])


async def test_what_a_killed_worker_held_is_booked_at_once(tmp_path: Path) -> None:
    """Not at its deadline, some minutes later; nobody else's hold is, and nobody else's client
    sees anything of it. Another worker takes its place."""
    loop = asyncio.get_running_loop()
    async with crew(tmp_path, script=SLOW) as (on, _):
        streams = {f"s{n}": await on.streaming(f"s{n}", bound=200) for n in range(20)}
        workers = {hold.key.session: _worker(hold) for hold in await on.open_holds()}
        victim = Counter(workers.values()).most_common(1)[0][0]
        lost = {session for session, worker in workers.items() if worker == victim}
        pids = on.pids()
        rests = {session: asyncio.ensure_future(_rest(s)) for session, s in streams.items()}

        began = loop.time()
        os.kill(pids[victim], signal.SIGKILL)
        while any(hold.key.session in lost for hold in await on.open_holds()):
            pass
        print(f"{len(lost)} holds booked {(loop.time() - began) * 1000:.0f} ms after kill -9")
        assert loop.time() - began < 10
        left = {hold.key.session for hold in await on.open_holds()}
        assert left
        assert not left & lost

        whole = {session for session, rest in rests.items() if b"[DONE]" in await rest}
        assert whole == streams.keys() - lost
        for session in streams:
            last = (await _events(on, session))[-1]
            assert last["type"] == "StepSettled"
            assert last.get("outcome") == ("expired" if session in lost else None)
        await until_ready(on)
        assert len(set(on.pids()) - set(pids)) == 1
        assert await on.open_holds() == []
        assert len(await on.pinned(4)) == 4


def _worker(hold: OpenHold) -> int:
    return number_of(hold.owner)


async def _rest(stream: aiohttp.ClientResponse) -> bytes:
    """What still comes of it, b"" where it is cut off."""
    try:
        return await stream.content.read()
    except aiohttp.ClientPayloadError:
        return b""


async def _events(on: Serving, session: str) -> list[dict[str, Json]]:
    told = await on.admin("GET", f"/sessions/{session}/events")
    assert isinstance(told["events"], list)
    return [event for event in told["events"] if isinstance(event, dict)]


async def test_a_worker_that_dies_again_and_again_is_started_later_each_time(
    tmp_path: Path,
) -> None:
    """Else a crash at the start would take a core; the others serve meanwhile, and /readyz says
    what is wrong."""
    async with crew(tmp_path, 2) as (on, _):
        stays = on.pids()[1]
        for _ in range(4):
            (dies,) = set(on.pids()) - {stays}
            os.kill(dies, signal.SIGKILL)
            await on.told_of(dies)
            while not set(on.pids()) - {stays}:
                said = await on.text("/readyz")
                is_down = not set(on.pids()) - {stays}
                assert said == (503, "not ready: 1 of 2 workers are up\n") or not is_down
                assert await on.text("/healthz", admin=False) == (200, "ok\n")
        await until_ready(on)
        waits = [line["again_in_seconds"] for line in on.log if "again_in_seconds" in line]
        assert waits == [0.0, 0.1, 0.2, 0.4]


async def test_without_their_supervisor_workers_end(tmp_path: Path) -> None:
    """Nobody is left who would start them anew. They cut what they carry out with an error and
    book it; whoever starts next finds the ports free."""
    loop = asyncio.get_running_loop()
    async with crew(tmp_path, 3, script=ENDLESS) as (on, sim):
        streams = [await on.streaming(f"s{n}") for n in range(6)]
        began = loop.time()
        os.kill(on.process.pid, signal.SIGKILL)
        rests = await asyncio.gather(*(_rest(stream) for stream in streams))

        assert {json.loads(frames(rest)[-1][1])["error"]["code"] for rest in rests} == {
            "upstream_unavailable"
        }
        await on.ended()
        print(f"ended {(loop.time() - began) * 1000:.0f} ms after their supervisor")
        assert await on.open_holds() == []
        assert list((tmp_path / "ledger.db.owners").iterdir()) == []
        async with serving(tmp_path, sim.url, 3, ports=on.ports) as again:
            assert (await again.call(session="s1")).status == 200


async def test_a_start_books_what_a_whole_sidecar_held_that_was_killed(tmp_path: Path) -> None:
    """All of it at once, as by a node's memory killer; in whatever number it starts again."""
    async with Simulator(script=ENDLESS, seed=1) as sim:
        async with serving(tmp_path, sim.url, 3) as on:
            for n in range(6):
                await on.streaming(f"s{n}")
            processes = (on.process.pid, *on.pids())
            for number in (signal.SIGSTOP, signal.SIGKILL):  # so that none sees another die
                for pid in processes:
                    os.kill(pid, number)
            await on.process.wait()
            assert len(await on.open_holds()) == 6
        async with serving(tmp_path, sim.url, 1) as again:
            while await again.open_holds():
                pass
            outcomes = [(await _events(again, f"s{n}"))[-1]["outcome"] for n in range(6)]
            assert outcomes == ["expired"] * 6


async def test_a_start_leaves_the_holds_of_those_who_live_alone(tmp_path: Path) -> None:
    """Another sidecar on the same ledger is no crashed one, nor is one that is slow."""
    async with crew(tmp_path, 2, script=ENDLESS) as (on, sim):
        stream = await on.streaming()
        (held,) = await on.open_holds()
        async with serving(tmp_path, sim.url, 2) as other:
            assert await other.stop() == 0

        assert await on.open_holds() == [held]
        assert not stream.content.at_eof()


async def test_a_stop_lets_the_streams_of_all_workers_end(tmp_path: Path) -> None:
    """0, everything booked, nothing left behind."""
    async with crew(tmp_path, script=SLOW) as (on, _):
        streams = [await on.streaming(f"s{n}", bound=200) for n in range(12)]
        rests = [asyncio.ensure_future(_rest(stream)) for stream in streams]

        assert await on.stop() == 0
        assert all(b"[DONE]" in rest for rest in await asyncio.gather(*rests))
        assert await on.open_holds() == []
        assert list((tmp_path / "ledger.db.owners").iterdir()) == []


async def test_a_conversation_is_one_session_on_whichever_worker(tmp_path: Path) -> None:
    """No header, no path: what one worker answered, the others know from the ledger."""
    async with crew(tmp_path) as (on, _):
        clients = await on.pinned(4)
        messages: list[Json] = [{"role": "user", "content": "Please count the words of my text."}]
        sources, sessions = [], set()
        for turn in range(8):
            body: dict[str, Json] = {"model": MODEL, "messages": messages, "max_tokens": 100}
            answer = await clients[turn % 4].send("/v1/chat/completions", body)
            sources.append(answer.headers["x-holdfast-session-source"])
            sessions.add(answer.headers["x-holdfast-session"])
            assert answer.headers["x-holdfast-step"] == str(turn + 1)
            choices = answer.json["choices"]
            assert isinstance(choices, list)
            assert isinstance(choices[0], dict)
            messages += [choices[0]["message"], {"role": "user", "content": f"And {turn}?"}]

        assert len(sessions) == 1
        assert sources == ["new", *["prefix"] * 7]


async def test_twins_on_two_workers_are_not_merged_on_a_guess(tmp_path: Path) -> None:
    """Each worker has seen one of two sessions that began alike: it must not take what follows for
    that one's."""
    script = Script((Turn(text="I have counted the words of your text: there are four of them."),))
    async with crew(tmp_path, 2, script=script) as (on, _):
        clients = await on.pinned(2)
        first: list[Json] = [{"role": "user", "content": "Please count the words of my text."}]

        async def said(client: Client, messages: list[Json]) -> Answer:
            body: dict[str, Json] = {"model": MODEL, "messages": messages, "max_tokens": 100}
            return await client.send("/v1/chat/completions", body)

        twins = [await said(client, first) for client in clients]
        choices = twins[0].json["choices"]
        assert isinstance(choices, list)
        assert isinstance(choices[0], dict)
        then: list[Json] = [
            *first,
            choices[0]["message"],
            {"role": "user", "content": "Are you sure?"},
        ]
        answers = [await said(client, then) for client in clients]

        known = {twin.headers["x-holdfast-session"] for twin in twins}
        assert len(known) == 2
        assert not known & {answer.headers["x-holdfast-session"] for answer in answers}


async def test_the_stream_of_events_tells_of_every_worker(tmp_path: Path) -> None:
    """Of one too that was started after somebody began to watch."""
    async with crew(tmp_path, 3) as (on, _):
        headers = {"authorization": f"Bearer {TOKEN}"}
        async with on.http.get(f"{on.admin_url}/api/v1/stream", headers=headers) as watching:
            settled: set[str] = set()

            async def seen(sessions: set[str]) -> None:
                while not sessions <= settled:
                    line = await watching.content.readline()
                    event = json.loads(line[6:]) if line.startswith(b"data: ") else {}
                    if event.get("type") == "StepSettled":
                        assert event["session"] not in settled, "told twice"
                        settled.add(event["session"])

            for worker, client in enumerate(await on.pinned(3)):
                await client.call(session=f"on-{worker}")
            await seen({"on-0", "on-1", "on-2"})
            killed = next(pid for pid in on.pids() if pid != on.pid_of(watching))
            os.kill(killed, signal.SIGKILL)
            await on.told_of(killed)
            await until_ready(on)
            for worker, client in enumerate(await on.pinned(3)):
                await client.call(session=f"again-{worker}")
            await seen({"again-0", "again-1", "again-2"})


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--store", "memory://"), "memory:// is one process's own"),
        (("--policy", "no-such.yaml"), "no-such.yaml"),
        (("--host", "203.0.113.1"), "203.0.113.1"),
        (("--store", "sqlite:////proc/1/ledger.db"), "/proc/1/ledger.db"),
        (("--store", "sqlite:///letter.db"), "holdfast: the ledger letter.db is unavailable"),
        (("--workers", "0"), "expected 1 to 64"),
    ],
)
def test_what_prevents_a_start_is_told_once(
    tmp_path: Path, flags: tuple[str, str], said: str
) -> None:
    (tmp_path / "letter.db").write_text("Dear ledger, " * 100)
    done = subprocess.run(
        [*SERVE, "--workers", "4", "--port", "0", "--admin-port", "0", *flags],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=15,
    )

    assert done.returncode in (1, 2)
    assert done.stderr.count(said) == 1, done.stderr
    assert "Traceback" not in done.stderr


async def test_a_port_that_others_listen_on_is_not_shared_with_them(tmp_path: Path) -> None:
    """SO_REUSEPORT would take half of another sidecar's calls, silently."""
    async with crew(tmp_path, 2) as (on, _):
        flags = ("--workers", "2", "--port", str(on.ports[0]), "--admin-port", "0")
        done = await asyncio.create_subprocess_exec(*SERVE, *flags, cwd=tmp_path, stderr=PIPE)
        _, said = await done.communicate()

        assert done.returncode == 1
        assert f":{on.ports[0]}: Address already in use" in said.decode()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("late", [False, True])
async def test_a_retry_joins_its_earlier_attempt_on_whichever_worker(
    tmp_path: Path, stream: bool, late: bool
) -> None:
    async with crew(tmp_path, 2) as (on, sim):
        first, other = await on.pinned(2)
        sim.forget()
        sim.fail("slow_head=0.4")
        given_up = asyncio.ensure_future(first.call(stream=stream, headers=GIVES_UP))
        await sim.wait_for(lambda sim: len(sim.journal) == 1)
        given_up.cancel()
        if late:
            await on.lines_of("s1", 1)
        retries = [other.call(stream=stream, headers=AGAIN) for _ in range(2)]
        again, third = await asyncio.gather(*retries)

        assert said(again) == said(third) == (200, "replay")
        assert again.body == third.body
        assert len(sim.journal) == 1
        session = await on.admin("GET", "/sessions/s1")
        assert (session["steps"], session["held_usd"]) == (1, 0)


async def test_a_retry_whose_earlier_worker_dies_is_a_call_of_its_own(tmp_path: Path) -> None:
    async with crew(tmp_path, 2) as (on, sim):
        first, other = await on.pinned(2)
        sim.forget()
        sim.fail("slow_head=30")
        given_up = asyncio.ensure_future(first.call(headers=GIVES_UP))
        await sim.wait_for(lambda sim: len(sim.journal) == 1)
        given_up.cancel()
        again = asyncio.ensure_future(other.call(headers=AGAIN))
        await asyncio.wait([again], timeout=0.3)
        assert not again.done()
        sim.heal()
        os.kill(on.pids()[0], signal.SIGKILL)

        assert said(await again) == (200, "allow")
