"""Webhooks on a real (memory) store: delivered at least once, whoever is away, and by one alone."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from proxy.core import events as ev
from proxy.core.handoff import Handoff, Webhook
from proxy.core.policy import Policy
from proxy.core.session import SessionKey
from proxy.errors import StoreUnavailable, UpstreamUnavailable
from proxy.stores import Append, SessionRow, Stored
from proxy.stores.memory import MemoryStore
from proxy.webhooks import MOST_AT_HAND, Webhooks
from proxy.wire import Headers, Incoming, Outgoing, Timeouts
from proxy.workers.owners import FolderOwners
from proxy.workers.peers import FolderPeers
from tests.fakes import turns
from tests.unit.test_ledger import KEY, Bench

HOOK = Webhook("http://hooks.example/secret-path", "generic", "SECRET")
POLICY = Policy({}, (), handoff=Handoff(webhook=HOOK))


class Away(MemoryStore):
    """A store that can be away."""

    away = False

    def append(self, append: Append):  # type: ignore[no-untyped-def]  # as the store's own
        if self.away:
            raise StoreUnavailable("away")
        return super().append(append)

    async def read(self, key: SessionKey, after_seq: int = 0) -> list[Stored]:
        if self.away:
            raise StoreUnavailable("away")
        return list(await super().read(key, after_seq))


@dataclass
class Receiver:
    """Whoever is told. answers: a status each, or an error; the last one again and again."""

    answers: list[int | Exception] = field(default_factory=lambda: [200])
    got: list[Outgoing] = field(default_factory=list)

    async def send(
        self,
        request: Outgoing,
        timeouts: Timeouts,
        on_sent: Callable[[], None] | None = None,
        on_left: Callable[[Incoming], Awaitable[None]] | None = None,
    ) -> Incoming:
        self.got.append(request)
        await turns(1)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return _Answer(answer)

    async def close(self) -> None:
        return


class _Answer:
    """A head, and a body that breaks off."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.headers: Headers = ()

    async def chunks(self) -> AsyncIterator[bytes]:
        raise UpstreamUnavailable("reset", kind="reset")
        yield b""

    async def pass_on(self, take: Callable[[bytes], bool]) -> bool:
        raise UpstreamUnavailable("reset", kind="reset")

    async def take_arrived(self, take: Callable[[bytes], object]) -> None:
        return

    def unread_part(self) -> float:
        return 0.0

    def release(self) -> None:
        return

    def expect_more_within(self, seconds: float) -> None:
        return

    async def read(self, limit_bytes: int) -> bytes:
        raise UpstreamUnavailable("reset", kind="reset")

    def close(self) -> None:
        return


class Office:
    """One process that delivers, on its own bench."""

    def __init__(self, bench: Bench, folder: Path, name: str, policy: Policy = POLICY) -> None:
        self.bench = bench
        self.current = policy
        self.receiver = Receiver()
        self.observed: list[tuple[str, str]] = []
        self.owners = FolderOwners(folder, name)
        self.owners.claim()
        self.webhooks = Webhooks(
            bench.another(name),
            bench.store,
            self.receiver,
            self,
            {"SECRET": "s"},
            self.owners,
            FolderPeers(self.owners, name),
            bench.clock,
            bench.tasks,
            lambda shape, outcome: self.observed.append((shape, outcome)),
        )

    async def looks(self) -> None:
        await self.webhooks._look()
        await turns()

    async def waits(self, seconds: float) -> None:
        for _ in range(int(seconds * 2)):
            self.bench.clock.advance(0.5)
            await turns()


def handed_off(name: str = "h1", owner: str = "me") -> ev.HandedOff:
    return ev.HandedOff(
        at=1.0, handoff=name, code="c", message="m", blocking=True, notify=True, owner=owner
    )


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    bench = Bench(Away())
    await bench.store.open()
    yield Office(bench, tmp_path, "me")
    await bench.tasks.close()
    await bench.store.close()


async def put(office: Office, *events: ev.AnyEvent, key: SessionKey = KEY) -> None:
    await office.bench.ledger.record(key, *events)


async def owed(office: Office) -> list[SessionRow]:
    return list(await office.bench.store.list_queue("owed", 100))


async def test_what_was_handed_off_is_told_at_once(office: Office) -> None:
    event = handed_off()
    await put(office, event)
    office.webhooks.observe(KEY, event)
    await turns()

    (request,) = office.receiver.got
    headers = dict(request.headers)
    assert (request.method, request.url) == ("POST", HOOK.url)
    assert headers["webhook-id"] == "h1"
    assert headers["webhook-signature"].startswith("v1,")
    assert await owed(office) == []
    assert office.observed == [("generic", "delivered")]


async def test_what_tells_nobody_is_not_told(office: Office) -> None:
    event = ev.HandedOff(at=1.0, handoff="h1", blocking=True)
    await put(office, event)
    office.webhooks.observe(KEY, event)
    await office.looks()

    assert office.receiver.got == []


async def test_a_receiver_that_is_away_for_an_hour_is_told_after_it(office: Office) -> None:
    """With some thirty attempts, not thousands, and within the longest pause."""
    office.receiver.answers = [UpstreamUnavailable("x", kind="connect"), 503, 302, 404]
    await put(office, handed_off())
    await office.looks()
    await office.waits(3_600)
    attempts = len(office.receiver.got)
    office.receiver.answers = [204]
    await office.waits(300)

    assert 12 <= attempts <= 40
    assert len(office.receiver.got) == attempts + 1
    assert await owed(office) == []
    assert {dict(request.headers)["webhook-id"] for request in office.receiver.got} == {"h1"}


async def test_the_first_attempts_follow_soon(office: Office) -> None:
    """A receiver that restarts is back in seconds, and so is a human."""
    office.receiver.answers = [500, 500, 200]
    await put(office, handed_off())
    await office.looks()
    await office.waits(4)

    assert len(office.receiver.got) == 3


async def test_a_redirect_is_not_followed(office: Office) -> None:
    """It would take what is said of a session where no policy names."""
    office.receiver.answers = [307]
    await put(office, handed_off())
    await office.looks()

    assert [request.url for request in office.receiver.got] == [HOOK.url]
    assert office.observed == [("generic", "failed")]


async def test_it_is_told_once_however_often_it_is_looked_for(office: Office) -> None:
    event = handed_off()
    await put(office, event)
    office.webhooks.observe(KEY, event)
    office.webhooks.observe(KEY, event)
    for _ in range(3):
        await office.looks()
    await office.waits(20)

    assert len(office.receiver.got) == 1


async def test_after_a_restart_what_is_owed_is_told(office: Office, tmp_path: Path) -> None:
    """By a process of another name; nobody else is there."""
    await put(office, handed_off(owner="before"))
    await office.looks()

    assert len(office.receiver.got) == 1


async def test_of_several_processes_one_tells_for_the_dead(office: Office, tmp_path: Path) -> None:
    """And those that live tell what they have handed off themselves, however slowly."""
    other = Office(office.bench, tmp_path, "other")
    (tmp_path / "other.sock").touch()
    (tmp_path / "me.sock").touch()
    await put(office, handed_off("dead", owner="gone"), handed_off("theirs", owner="other"))
    for one in (office, other, office, other):
        await one.looks()

    assert [dict(r.headers)["webhook-id"] for r in office.receiver.got] == ["dead"]
    assert [dict(r.headers)["webhook-id"] for r in other.receiver.got] == ["theirs"]
    other.owners.leave(settled=True)


async def test_a_store_that_is_away_delays_it(office: Office) -> None:
    store = office.bench.store
    assert isinstance(store, Away)
    event = handed_off()
    await put(office, event)
    store.away = True
    office.webhooks.observe(KEY, event)
    await office.waits(10)
    assert office.receiver.got == []
    store.away = False
    await office.waits(30)

    assert len(office.receiver.got) == 1
    assert await owed(office) == []


async def test_what_was_delivered_is_not_told_again_while_it_cannot_be_written(
    office: Office,
) -> None:
    store = office.bench.store
    assert isinstance(store, Away)
    await put(office, handed_off())
    real = office.receiver.send

    async def send(
        request: Outgoing, timeouts: Timeouts, on_sent: object = None, on_left: object = None
    ) -> Incoming:
        store.away = True
        return await real(request, timeouts)

    office.receiver.send = send  # type: ignore[method-assign]
    await office.looks()
    await office.waits(60)
    assert len(office.receiver.got) == 1
    store.away = False
    await office.waits(300)

    assert len(office.receiver.got) == 1
    assert await owed(office) == []


async def test_more_than_can_be_kept_at_hand_is_told_all_the_same(office: Office) -> None:
    """Bounded in memory; the log has the rest."""
    office.receiver.answers = [500]
    names = [f"h{n}" for n in range(MOST_AT_HAND + 20)]
    for name in names:
        event = handed_off(name)
        await put(office, event, key=SessionKey("t", name))
        office.webhooks.observe(SessionKey("t", name), event)
    await office.looks()
    assert len(office.webhooks._under_way) == MOST_AT_HAND
    office.receiver.answers = [200]
    await office.waits(10)
    await office.looks()

    assert await owed(office) == []
    delivered = {dict(request.headers)["webhook-id"] for request in office.receiver.got}
    assert delivered == set(names)


async def test_another_policy_is_tried_at_once(office: Office) -> None:
    """Whoever has mended the URL does not wait for the longest pause."""
    office.receiver.answers = [404]
    await put(office, handed_off())
    await office.looks()
    await office.waits(900)
    office.receiver.answers = [200]
    url = "http://new.example/"
    office.current = replace(POLICY, handoff=Handoff(webhook=replace(HOOK, url=url)))
    await office.waits(6)

    assert office.receiver.got[-1].url == url
    assert await owed(office) == []


async def test_without_a_webhook_what_is_open_waits_for_one(office: Office) -> None:
    """A key that was taken out by mistake loses nothing; what was answered needs nobody."""
    office.current = replace(POLICY, handoff=Handoff())
    await put(office, handed_off("open"), handed_off("answered"))
    await put(office, ev.HandoffAnswered(at=2.0, handoff="answered"))
    await office.looks()
    await office.waits(60)
    assert [row.head.owed for row in await owed(office)] == [("open",)]
    office.current = POLICY
    await office.waits(6)

    assert [dict(request.headers)["webhook-id"] for request in office.receiver.got] == ["open"]
    assert await owed(office) == []


async def test_a_key_that_is_not_set_sends_nothing_unsigned(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever verifies would drop it, and whoever does not would learn to take such."""
    hook = replace(HOOK, secret_env="ELSEWHERE")
    office.current = replace(POLICY, handoff=Handoff(webhook=hook))
    await put(office, handed_off())
    await office.looks()

    assert office.receiver.got == []
    assert office.observed == [("generic", "failed")]
    assert [vars(record)["reason"] for record in caplog.records] == ["ELSEWHERE is not set"]


async def test_the_log_tells_nothing_that_opens_the_door(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    """The URL of an incoming webhook is a credential."""
    office.receiver.answers = [404, ValueError("bad port"), 200]
    await put(office, handed_off())
    await office.looks()
    await office.waits(20)

    assert len(office.receiver.got) == 3
    told = "".join(str(vars(record)) for record in caplog.records)
    assert "secret-path" not in told
    assert "HTTP 404" in told


@pytest.mark.parametrize("shape", ["slack", "pagerduty"])
async def test_a_routing_key_signs_nothing(office: Office, shape: str) -> None:
    """PagerDuty's is in its body; Slack's receiver knows no signature but does not mind one."""
    hook = replace(HOOK, format=shape)
    office.current = replace(POLICY, handoff=Handoff(webhook=hook))
    await put(office, handed_off())
    await office.looks()

    (request,) = office.receiver.got
    assert ("webhook-signature" in dict(request.headers)) is (shape == "slack")
    assert isinstance(request.body, bytes)
    assert (b'"routing_key":"s"' in request.body) is (shape == "pagerduty")


async def test_it_runs_until_it_is_cancelled(office: Office) -> None:
    running = office.bench.tasks.spawn(office.webhooks.run(), "deliver webhooks")
    await turns()
    await put(office, handed_off())
    await office.waits(6)
    running.cancel()
    await turns()

    assert len(office.receiver.got) == 1
    assert running.done()
