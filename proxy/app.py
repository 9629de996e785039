"""The composition root: builds every object once and passes it down. No globals."""

import asyncio
import hmac
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress

from proxy.admin.crew import Crew
from proxy.admin.door import Door, Site, listen, own_hosts
from proxy.admin.live import Live
from proxy.admin.token import admin_token
from proxy.attempting.building import build_attempting
from proxy.backend import build_backend
from proxy.breakers.building import build_breakers
from proxy.breakers.registry import Breakers
from proxy.call_lines import CallLines
from proxy.callers import Callers
from proxy.calls import Calls
from proxy.checkpoints import build_records
from proxy.claims import Claims
from proxy.clock import Clock, SystemClock
from proxy.config.watch import PolicyWatcher
from proxy.contents import build_recording
from proxy.control import Control
from proxy.core.decision import Refusal
from proxy.core.events import AnyEvent
from proxy.core.memo import Memo, memo_bytes
from proxy.core.session import SessionKey, SessionState
from proxy.errors import HoldfastError
from proxy.governed import Governed, Parts
from proxy.guard.building import build_guarded
from proxy.guard.recall import Recall
from proxy.human import Human
from proxy.identity import SessionIndex
from proxy.ids import unique_ids
from proxy.intake import Intake
from proxy.joining import Joins
from proxy.ledger import Ledger
from proxy.logs import line_writer, log_ready, log_warnings
from proxy.metrics import Metrics
from proxy.prices.book import PriceBook
from proxy.prices.table import load_table
from proxy.readiness import Readiness
from proxy.records import CallRecord
from proxy.relay import Relay
from proxy.relay_plain import Plain
from proxy.replaying.building import build_replays
from proxy.replies import wire_refusal
from proxy.reservation import idle_seconds
from proxy.retelling import Retelling
from proxy.settings import Settings as Settings
from proxy.settling import Settler
from proxy.stores.urls import chain_key
from proxy.sweeper import Sweeper
from proxy.tasks import Tasks
from proxy.usual import UsualOutput
from proxy.webhooks import Webhooks
from proxy.wire.bounds import Bounds
from proxy.wire.client import UpstreamPool
from proxy.wire.server import Server, serve
from proxy.workers.board import State
from proxy.workers.seat import Seat

_CUT_SECONDS = 2.0
_LINKS_PER_SESSION = 64


class App:
    """One sidecar: the data port, the admin port, and everything behind them. With a seat: one
    worker of several that are a sidecar together.

    Construction raises PolicyInvalid, StoreUnavailable and ValueError (a store URL) and opens
    nothing but files; `start` listens.
    """

    def __init__(
        self,
        settings: Settings,
        env: Mapping[str, str],
        clock: Clock | None = None,
        seat: Seat | None = None,
    ) -> None:
        self.settings = settings
        self._env = env
        self.clock = clock = clock or SystemClock()
        self.tasks = Tasks()
        self._seat = seat
        watched = (settings.policy_path, env, clock, log_warnings)
        self.watcher = seat.shared.watcher if seat else PolicyWatcher(*watched)
        self.store_url = settings.store_url or self.watcher.current.store_url
        self._key = chain_key(self.store_url, env)
        name = seat.owner() if seat else f"{os.getpid()}-{secrets.token_hex(8)}"
        self.calls = Calls()
        self.lines = CallLines(line_writer(), clock, seat.number if seat else None)
        self.live = Live()
        self.metrics = Metrics(lambda: self.ledger.running, lambda: self.calls.streams)
        self.metrics.count_reloads(self.watcher.outcomes)
        self._backend = build_backend(
            *(self.store_url, self._key, env, name, seat, self.watcher, self.metrics),
            *(clock, self.tasks, lambda: idle_seconds(self.watcher.current)),
        )
        self.store = self._backend.store
        self.owners, self.peers = self._backend.owners, self._backend.peers
        self._recorder, self.contents = build_recording(self.store, self._key, env, self.watcher)
        self.joins = Joins(clock, self.peers, self.tasks)
        self._ready = Readiness(seat, self.store, self.watcher, self._backend.said)
        self._orphaned = False
        self.port, self.admin_port = settings.port, settings.admin_port

    async def start(self) -> None:
        """Opens the store and listens on both ports. Raises StoreUnavailable and OSError."""
        await self.store.open()
        await self._backend.claim(self.watcher)
        self._ready.writable = True
        self.upstreams = UpstreamPool(self._env)
        relay = self._build()
        on_gone, on_missed = self.sweeper.recover, self.control.catch_up
        self._backend.watch(self.ledger.forget_spooled, on_gone, on_missed)
        await self.crew.join(self.owners.name)
        policy = self.watcher.current
        bounds = Bounds(
            head_bytes=policy.bounds.header_bytes,
            header_bytes=policy.bounds.header_bytes // 2,
            body_seconds=policy.timeouts.body,
        )
        self._server: Server = await serve(
            relay.handle,
            host=self.settings.host,
            port=self.settings.port,
            bounds=bounds,
            refusal=wire_refusal,
            reuse_port=self._seat is not None,
        )
        self.port = self._server.port
        self._admin = self._admin_door()
        self.admin_port = self._admin.port
        self.tasks.spawn(self.watcher.run(), "watch the policy")
        self.tasks.spawn(self.sweeper.run(), "sweep")
        self.tasks.spawn(self.webhooks.run(), "deliver webhooks")
        self.tasks.spawn(self._ready.watch_store(self.clock), "watch the store")
        if self._seat is None:
            log_ready(self.port, self.admin_port, self.store_url)
        else:
            self._seat.say(State.READY)

    def _build(self) -> Relay:
        clock, policy, new_id = self.clock, self.watcher, unique_ids()
        sessions = policy.current.bounds.sessions_in_memory
        self.ledger = Ledger(
            *(self.store, clock, self.owners.name, self.tasks),
            sessions_in_memory=sessions,
            observers=[self.metrics.observe_event, self.live.observe, self._handed_off],
            on_write=self.metrics.observe_store,
        )
        self.breakers = self._breakers()
        memo = Memo(memo_bytes(sessions), secrets.randbits(64))
        links, shared = sessions * _LINKS_PER_SESSION, self._seat is not None
        index = SessionIndex(self.store, links, clock, shared=shared, memo=memo)
        prices, usual = PriceBook(load_table(), clock), UsualOutput()
        callers = Callers(hmac.digest(self._key, b"tenant", "sha256"))
        intake = Intake(policy, index, prices, usual, callers, clock)
        settler = Settler(self.ledger, index, prices, usual, self._recorder)
        recall = Recall(self.ledger, self.store, lambda: bool(self.peers.others()))
        governed = self._governed(intake, index, settler, recall, memo)
        plain = Plain(policy, intake, index, self.ledger, self.upstreams, clock)
        self._build_oversight(index)
        claims = Claims(policy, intake, self.ledger, recall)
        return Relay(governed, plain, claims, self._ready.now, new_id, self._observe)

    def _governed(
        self, intake: Intake, index: SessionIndex, settler: Settler, recall: Recall, memo: Memo
    ) -> Governed:
        clock, ledger = self.clock, self.ledger
        attempting = build_attempting(self.upstreams, self.breakers, intake, ledger, settler, clock)
        guarded = build_guarded(
            *(self.owners.name, intake, ledger, attempting, settler, recall, self.calls, clock)
        )
        retelling = Retelling(ledger, self.calls)
        replays = build_replays(
            *(ledger, self.store, self.contents, recall, retelling, self.joins),
            *(clock, memo, self._observe),
        )
        return Governed(
            Parts(
                policy=self.watcher,
                intake=intake,
                ledger=ledger,
                index=index,
                attempting=attempting,
                calls=self.calls,
                joins=self.joins,
                settler=settler,
                guarded=guarded,
                replays=replays,
                retelling=retelling,
                clock=clock,
                new_id=unique_ids(),
                observe=self._observe,
            )
        )

    def _breakers(self) -> Breakers:
        shown = (self.live.tell, self.metrics.registry)
        return build_breakers(self.watcher, self.clock, self._seat, self.peers, self.tasks, *shown)

    def _build_oversight(self, index: SessionIndex) -> None:
        clock, policy = self.clock, self.watcher
        self.sweeper = Sweeper(
            *(self.ledger, self.store, clock, lambda: idle_seconds(policy.current), self.owners),
            lambda: policy.current.checkpoints,
            self._backend.is_spooled,
        )
        self.control = Control(
            self.ledger, self.store, self.calls, clock, policy, self.peers, self._refresh
        )
        self.human = Human(self.ledger, self.store, clock, self.control.show, self.control.tell)
        self.webhooks = Webhooks(
            *(self.ledger, self.store, self.upstreams, policy, self._env, self.owners, self.peers),
            *(clock, self.tasks, self.metrics.observe_webhook),
        )
        self.crew = Crew(
            *(self._seat, self.peers, self.calls, self.joins, self.metrics, self.live, policy),
            *(self.breakers, clock, self.tasks, self._refresh, index.share, self.human.waiting),
        )

    def _handed_off(self, key: SessionKey, event: AnyEvent, state: SessionState) -> None:
        self.webhooks.observe(key, event)

    async def _refresh(self, key: SessionKey) -> None:
        await self.ledger.refresh(key)

    def _observe(self, call: CallRecord) -> None:
        self.metrics.observe_call(call)
        self.lines.add(call)

    def _admin_door(self) -> Door:
        if self._seat is not None:
            listening, token = self._seat.shared.admin, self._seat.shared.token
        else:
            listening = listen(self.settings.admin_host, self.settings.admin_port)
            token = admin_token(self._env, self.store_url, listening.getsockname()[1])
        records = build_records(self.control, self.contents, self._key)
        shown = (self.control, self.human, records, self.watcher, self.crew, self.breakers)
        site = Site(*shown, self._ready.now, token, own_hosts(self._env))
        return Door(listening, site, self.tasks)

    def mind_supervisor(self, stop: asyncio.Event) -> None:
        """Books what a worker held that has died; stops where the supervisor itself has."""

        def orphaned() -> None:
            self._orphaned = True
            stop.set()

        if self._seat is not None:
            self._seat.listen(lambda: self.tasks.spawn(self.sweeper.recover(), "recover"), orphaned)

    async def drain(self) -> None:
        """Takes no new calls, lets those in flight finish, cuts what is left, settles all. Orphaned
        it does so at once: whoever starts another sidecar waits for the ports."""
        self._ready.draining = True
        self._server.stop_accepting()
        if self._seat is not None:
            self._seat.say(State.DRAINING)
        if self._orphaned:
            await self._admin.close()
        if not await self._server.drain(0 if self._orphaned else self.settings.drain_seconds):
            message = "The proxy is shutting down and could not wait any longer for this answer."
            self.calls.cut_all(Refusal(503, "upstream_unavailable", "upstream_error", message))
            await self._server.drain(_CUT_SECONDS)
        await self.close()

    async def close(self) -> None:
        """Ends everything now; what was submitted is still written."""
        await self._server.close()
        await self._admin.close()
        await self.peers.close()
        await self.upstreams.close()
        await self.ledger.drained()
        with suppress(HoldfastError):
            await self.sweeper.sweep()
        await self.tasks.close()
        await self.ledger.drained()
        await self.store.close()
        await self._backend.leave(settled=not self.ledger.running)
        self.lines.flush()


async def run_until_stopped(app: App, stop: asyncio.Event) -> None:
    """Serves until `stop` is set, then drains."""
    await app.start()
    app.mind_supervisor(stop)
    try:
        await stop.wait()
    finally:
        await app.drain()
