"""Webhooks of a real sidecar at a real receiver: signed, never lost, and never in a call's way."""

import asyncio
import base64
import hmac
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
from aiohttp import web

from proxy.admin.shapes import Json
from proxy.simulator import Simulator
from tests.integration.crew_kit import serving
from tests.integration.kit import PRICES, Sidecar, sidecar

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
HANDOFF = "limits: {steps: 1, on_limit: handoff}\n"


@dataclass(frozen=True)
class Post:
    """A request as the receiver got it."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Json]:
        decoded = json.loads(self.body)
        assert isinstance(decoded, dict)
        return decoded


class Receiver:
    """Whoever is told. answers: not set, it takes requests and does not answer."""

    def __init__(self) -> None:
        self.status = 200
        self.answers = asyncio.Event()
        self.answers.set()
        self.location = ""
        self.posts: list[Post] = []
        self.port = 0
        self._changed = asyncio.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def handle(self, request: web.Request) -> web.Response:
        post = Post(request.path, request.headers, await request.read())
        async with self._changed:
            self.posts.append(post)
            self._changed.notify_all()
        await self.answers.wait()
        headers = {"location": self.location} if self.location else {}
        return web.Response(status=self.status, headers=headers)

    async def got(self, count: int) -> list[Post]:
        """What came, once it is so many."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.posts) >= count)
        return self.posts


@asynccontextmanager
async def receiving(receiver: Receiver) -> AsyncIterator[Receiver]:
    """It listens, at the port where it did before if it did."""
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", receiver.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", receiver.port)
    await site.start()
    receiver.port = runner.addresses[0][1]
    try:
        yield receiver
    finally:
        receiver.answers.set()
        await runner.cleanup()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving(Receiver()) as receiver:
        yield receiver


def told_at(receiver: Receiver, shape: str = "generic") -> str:
    hook = f"url: '{receiver.url}', format: {shape}, secret_env: HOOK_SECRET"
    return HANDOFF + f"handoff: {{webhook: {{{hook}}}}}\n"


ENV = {"HOOK_SECRET": SECRET}


async def stop(on: Sidecar, session: str = "s1") -> None:
    """The session uses its one step, and asks again."""
    assert (await on.call(session=session)).status == 200
    assert (await on.call(session=session)).error["code"] == "awaiting_human"


async def events_of(on: Sidecar, session: str = "s1") -> list[str]:
    events = (await on.admin("GET", f"/sessions/{session}/events"))["events"]
    assert isinstance(events, list)
    return [str(event["type"]) for event in events if isinstance(event, dict)]


async def delivered(on: Sidecar, session: str = "s1") -> None:
    """The log says so."""
    while "WebhookDelivered" not in await events_of(on, session):  # noqa: ASYNC110 - it is asked
        await asyncio.sleep(0.05)  # noqa: TID251 - of a real server


def _documented() -> Callable[[Mapping[str, str], bytes, str], None]:
    """The function that docs/handoff.md gives to receivers."""
    page = (Path(__file__).parents[2] / "docs" / "handoff.md").read_text()
    code = page.split("```python\n", 1)[1].split("```", 1)[0]
    names: dict[str, object] = {"Mapping": Mapping, "base64": base64, "hmac": hmac, "time": time}
    exec(code, names)
    return cast(Callable[[Mapping[str, str], bytes, str], None], names["verify"])


documented = _documented()


def verify(post: Post, secret: str = SECRET) -> None:
    documented(post.headers, post.body, secret)


async def test_a_handoff_is_told_once_and_signed(tmp_path: Path, receiver: Receiver) -> None:
    async with sidecar(tmp_path, told_at(receiver), env=ENV) as on:
        await stop(on)
        (post,) = await receiver.got(1)
        await delivered(on)

        verify(post)
        data = post.json["data"]
        assert isinstance(data, dict)
        assert (data["session"], data["limit"], data["state"]) == ("s1", "steps", "awaiting_human")
        assert data["outcome"] is None
        assert "holdfast sessions extend s1" in str(data["message"])
        assert post.headers["content-type"] == "application/json"
        assert post.headers["webhook-id"] == data["handoff"]
        assert "authorization" not in post.headers
        shown = json.dumps(await on.admin("GET", "/policy"))
        assert "/hook" not in shown
        assert SECRET not in shown


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        (b"x", {}),
        (b"", {"webhook-id": "another"}),
        (b"", {"webhook-timestamp": "1"}),
        (b"", {"webhook-signature": "v1,AAAA"}),
    ],
)
async def test_what_was_altered_does_not_verify(
    tmp_path: Path, receiver: Receiver, body: bytes, changed: dict[str, str]
) -> None:
    async with sidecar(tmp_path, told_at(receiver), env=ENV) as on:
        await stop(on)
        (post,) = await receiver.got(1)

        verify(post)
        with pytest.raises(ValueError, match=r"not from Holdfast|too old"):
            documented({**dict(post.headers), **changed}, post.body + body, SECRET)


async def test_slack_is_told_in_a_text(tmp_path: Path, receiver: Receiver) -> None:
    async with sidecar(tmp_path, told_at(receiver, "slack"), env=ENV) as on:
        await stop(on)
        (post,) = await receiver.got(1)

        assert list(post.json) == ["text", "mrkdwn", "unfurl_links", "unfurl_media"]
        assert str(post.json["text"]).startswith("Session s1 waits for a human.")


async def test_pagerduty_is_told_with_its_routing_key(tmp_path: Path, receiver: Receiver) -> None:
    receiver.status = 202
    key = "R" * 32
    env = {"HOOK_SECRET": key}
    async with sidecar(tmp_path, told_at(receiver, "pagerduty"), env=env) as on:
        await stop(on)
        (post,) = await receiver.got(1)
        await delivered(on)

        assert (post.json["routing_key"], post.json["event_action"]) == (key, "trigger")
        assert post.json["dedup_key"] == post.headers["webhook-id"]


async def test_a_secret_that_came_out_of_a_file_is_the_same_without_its_line_end(
    tmp_path: Path, receiver: Receiver
) -> None:
    """`kubectl create secret --from-file` keeps it, and nobody sees it."""
    env = {"HOOK_SECRET": f"{SECRET}\n"}
    async with sidecar(tmp_path, told_at(receiver), env=env) as on:
        await stop(on)
        (post,) = await receiver.got(1)

        verify(post)


async def test_a_receiver_that_hangs_delays_no_call(tmp_path: Path, receiver: Receiver) -> None:
    receiver.answers.clear()
    loop = asyncio.get_running_loop()
    async with sidecar(tmp_path, told_at(receiver), env=ENV) as on:
        for n in range(12):
            await stop(on, f"s{n}")
        began = loop.time()
        await stop(on, "last")
        took = loop.time() - began

        assert took < 1
        receiver.answers.set()
        posts = await receiver.got(13)
        assert len({post.headers["webhook-id"] for post in posts}) == 13


async def test_a_redirect_is_not_followed(tmp_path: Path, receiver: Receiver) -> None:
    """Nobody but the policy says where a session is talked about."""
    async with receiving(Receiver()) as elsewhere:
        receiver.status, receiver.location = 307, elsewhere.url
        async with sidecar(tmp_path, told_at(receiver), env=ENV) as on:
            await stop(on)
            await receiver.got(2)

            assert elsewhere.posts == []


async def test_a_receiver_that_comes_back_is_told(tmp_path: Path) -> None:
    """It was not there when it happened."""
    receiver = Receiver()
    async with receiving(receiver):
        policy = told_at(receiver)
    async with sidecar(tmp_path, policy, env=ENV) as on:
        await stop(on)
        await asyncio.sleep(0.3)  # noqa: TID251 - the receiver is really away
        async with receiving(receiver):
            (post,) = await receiver.got(1)
            verify(post)
            await delivered(on)


async def test_a_webhook_that_comes_with_the_policys_next_reload_is_told(
    tmp_path: Path, receiver: Receiver
) -> None:
    """The URL was wrong; whoever mends it loses nothing."""
    wrong = told_at(receiver).replace("/hook", "/gone")
    receiver.status = 404
    async with sidecar(tmp_path, wrong, env=ENV) as on:
        await stop(on)
        await receiver.got(2)
        receiver.status = 200
        (tmp_path / "policy.yaml").write_text(PRICES + told_at(receiver))
        await on.admin("POST", "/policy/reload")
        await delivered(on)

        assert receiver.posts[-1].path == "/hook"


async def test_without_a_webhook_a_call_is_held_all_the_same(tmp_path: Path) -> None:
    async with sidecar(tmp_path, HANDOFF) as on:
        await stop(on)

        assert await events_of(on) == [
            *("SessionOpened", "StepReserved", "StepSettled", "HandedOff", "CallRefused")
        ]


async def metrics(on: Sidecar) -> str:
    async with on.http.get(f"{on.admin_url}/metrics") as response:
        return await response.text()


async def test_metrics_say_who_waits_and_how_long_it_took(
    tmp_path: Path, receiver: Receiver
) -> None:
    async with sidecar(tmp_path, told_at(receiver), env=ENV) as on:
        assert "holdfast_handoffs_open 0.0" in await metrics(on)
        for name in ("s1", "s2"):
            await stop(on, name)
            await delivered(on, name)
        shown = await metrics(on)
        assert "holdfast_handoffs_open 2.0" in shown
        assert 'holdfast_handoffs_total{reason="step_limit_exceeded"} 2.0' in shown
        assert 'holdfast_webhooks_total{format="generic",outcome="delivered"} 2.0' in shown
        assert 'holdfast_decisions_total{decision="handoff",reason="awaiting_human"} 2.0' in shown

        await on.admin("POST", "/sessions/s1/extend", {"steps": 1})
        shown = await metrics(on)
        assert "holdfast_handoffs_open 1.0" in shown
        assert 'holdfast_handoff_answer_seconds_count{action="extend"} 1.0' in shown


@pytest.mark.process
@pytest.mark.timeout(60)
@pytest.mark.parametrize("workers", [1, 3])
async def test_killed_between_handoff_and_webhook_it_is_told_after_the_restart(
    tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 of every process; the receiver was away, and was told of nothing before."""
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    receiver = Receiver()
    async with receiving(receiver):
        policy = told_at(receiver)
    async with Simulator(seed=1) as sim:
        async with serving(tmp_path, sim.url, workers, policy=policy) as on:
            for n in range(5):
                await stop(on, f"s{n}")
            for pid in on.pids():
                signal.pidfd_send_signal(_pidfd(pid), signal.SIGKILL)
            await on.stop(signal.SIGKILL)
        async with (
            receiving(receiver),
            serving(tmp_path, sim.url, workers, policy=policy) as on,
        ):
            posts = await receiver.got(5)
            for n in range(5):
                await delivered(on, f"s{n}")
                waits = await on.call(session=f"s{n}")
                assert waits.error["code"] == "awaiting_human"
                await on.admin("POST", f"/sessions/s{n}/extend", {"steps": 1})
                answer = await on.call(session=f"s{n}")
                assert (answer.status, answer.headers["x-holdfast-step"]) == (200, "2")
    for post in posts:
        verify(post)
    assert len({post.headers["webhook-id"] for post in posts}) == 5
    assert len(posts) == 5, "told twice, though nobody died between telling and saying so"


@pytest.mark.process
@pytest.mark.timeout(60)
async def test_killed_while_it_tells_it_tells_again_under_the_same_id(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it was taken nobody knows; a receiver can drop what it has seen."""
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    receiver.answers.clear()
    policy = told_at(receiver)
    async with Simulator(seed=1) as sim:
        async with serving(tmp_path, sim.url, 1, policy=policy) as on:
            await stop(on)
            await receiver.got(1)
            for pid in on.pids():
                signal.pidfd_send_signal(_pidfd(pid), signal.SIGKILL)
            await on.stop(signal.SIGKILL)
        receiver.answers.set()
        async with serving(tmp_path, sim.url, 1, policy=policy) as on:
            posts = await receiver.got(2)
            await delivered(on)

    assert len(posts) == 2
    assert len({post.headers["webhook-id"] for post in posts}) == 1


def _pidfd(pid: int) -> int:
    return os.pidfd_open(pid)


@pytest.mark.process
@pytest.mark.timeout(60)
async def test_a_worker_that_dies_leaves_its_webhooks_to_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And each is told by one of them."""
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    receiver = Receiver()
    async with receiving(receiver):
        policy = told_at(receiver)
    async with (
        Simulator(seed=1) as sim,
        serving(tmp_path, sim.url, 3, policy=policy) as on,
    ):
        for n in range(9):
            await stop(on, f"s{n}")
        signal.pidfd_send_signal(_pidfd(on.pids()[0]), signal.SIGKILL)
        async with receiving(receiver):
            await receiver.got(9)
            for n in range(9):
                await delivered(on, f"s{n}")
            shown = (await on.text("/metrics"))[1]

    assert len({post.headers["webhook-id"] for post in receiver.posts}) == 9
    assert len(receiver.posts) == 9
    assert "holdfast_handoffs_open 9.0" in shown


@pytest.mark.process
@pytest.mark.timeout(60)
async def test_whichever_worker_is_asked_the_human_is_heard_by_all(tmp_path: Path) -> None:
    """What one worker handed over another answers, and a third lets it go on."""
    policy = "limits: {steps: 2, on_limit: handoff}\n"
    async with Simulator(seed=1) as sim, serving(tmp_path, sim.url, 3, policy=policy) as on:
        first, second, third = await on.pinned(3)
        await first.call(session="s1")
        await second.call(session="s1")
        assert (await first.call(session="s1")).error["code"] == "awaiting_human"
        assert (await third.call(session="s1")).error["code"] == "awaiting_human"
        queue = (await second.admin("GET", "/handoffs"))["handoffs"]
        assert isinstance(queue, list)
        assert len(queue) == 1

        await third.admin("POST", "/sessions/s1/guide", {"message": "Be brief."})
        await second.admin("POST", "/sessions/s1/extend", {"steps": 5})
        answers = [await client.call(session="s1") for client in (first, second, third)]

        assert [answer.headers["x-holdfast-step"] for answer in answers] == ["3", "4", "5"]
        guided = [entry for entry in sim.journal if b"Be brief." in entry.body]
        assert len(guided) == 1
