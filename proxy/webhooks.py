"""Tells whoever the policy names that a session waits: at least once, and never in a call's way.

Theory of operation. The log is the queue: a webhook is owed until the log says that it was
delivered. Here is only what is under way: a task for each handoff that this process made or took
over, up to a bound; the rest stays in the log, where every process looks for it. What a process has
handed off it delivers itself; when it has died, the first of the living takes it over. Who dies
between delivering and saying so delivers twice, under the same id.
"""

import logging
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count

from proxy.clock import Clock
from proxy.core import events as ev
from proxy.core.handoff import Webhook
from proxy.core.notices import Notice, notice_of, signature_of
from proxy.core.policy import Policy
from proxy.core.session import SessionKey
from proxy.core.webhook_formats.registry import FORMATS, body_of
from proxy.errors import StoreUnavailable, UpstreamUnavailable
from proxy.intake import PolicySource
from proxy.ledger import Ledger
from proxy.stores import SessionRow, Store
from proxy.tasks import Tasks
from proxy.wire import Headers, Outgoing, Timeouts, Upstreams
from proxy.workers.owners import Owners
from proxy.workers.peers import Peers

log = logging.getLogger(__name__)

MOST_AT_HAND = 256
_LOOK_SECONDS = 5.0
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 300.0
_ANSWER_BYTES = 65_536
_TIMEOUTS = Timeouts(connect=5.0, head=10.0, idle=10.0, total=15.0)


class Webhooks:
    """One for each process. observed: told the format and what came of each attempt."""

    def __init__(
        self,
        ledger: Ledger,
        store: Store,
        upstreams: Upstreams,
        policy: PolicySource,
        env: Mapping[str, str],
        owners: Owners,
        peers: Peers,
        clock: Clock,
        tasks: Tasks,
        observed: Callable[[str, str], None],
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._upstreams = upstreams
        self._policy = policy
        self._env = env
        self._owners = owners
        self._peers = peers
        self._clock = clock
        self._tasks = tasks
        self._observed = observed
        self._under_way: set[str] = set()
        self._others: dict[str, str] = {}

    def observe(self, key: SessionKey, event: ev.AnyEvent) -> None:
        """Told of every event of this process: what it hands off it tells at once."""
        if type(event) is ev.HandedOff and event.notify:
            self._take(key, event.handoff)

    async def run(self) -> None:
        """Looks for what is owed until cancelled: what was before a restart, what a process left
        that died, what was too much to keep at hand."""
        while True:
            with suppress(StoreUnavailable):
                await self._look()
            await self._clock.sleep(_LOOK_SECONDS)

    async def _look(self) -> None:
        others: dict[str, str] = {}
        for row in await self._store.list_queue("owed", 4 * MOST_AT_HAND):
            for handoff in row.head.owed:
                if handoff in self._under_way:
                    continue
                owner = self._others.get(handoff) or await self._owner(row, handoff)
                if self._is_mine(owner):
                    self._take(row.key, handoff)
                else:
                    others[handoff] = owner
        self._others = others

    async def _owner(self, row: SessionRow, handoff: str) -> str:
        for stored in await self._store.read(row.key):
            event = stored.event
            if isinstance(event, ev.HandedOff) and event.handoff == handoff:
                return event.owner
        return ""

    def _is_mine(self, owner: str) -> bool:
        me = self._owners.name
        if owner == me:
            return True
        if self._owners.lives(owner):
            return False
        others = [name for name in self._peers.others() if self._owners.lives(name)]
        return me == min([me, *others])

    def _take(self, key: SessionKey, handoff: str) -> None:
        if handoff not in self._under_way and len(self._under_way) < MOST_AT_HAND:
            self._under_way.add(handoff)
            self._tasks.spawn(self._deliver(key, handoff), "deliver a webhook")

    async def _deliver(self, key: SessionKey, handoff: str) -> None:
        """Until it was taken, or nothing is owed any more."""
        try:
            for attempt in count(1):
                policy = self._policy.current
                with suppress(StoreUnavailable):
                    if await self._attempt(policy, key, handoff, attempt):
                        return
                await self._pause(policy, attempt)
        finally:
            self._under_way.discard(handoff)

    async def _attempt(self, policy: Policy, key: SessionKey, handoff: str, attempt: int) -> bool:
        """Whether nothing is left to do."""
        read = [stored.event for stored in await self._store.read(key)]
        notice, webhook = notice_of(key, read, handoff), policy.handoff.webhook
        if notice is None:
            return True
        if webhook is None:  # taken out of the policy: what is open waits for another
            if notice.outcome is not None:
                await self._done(key, handoff, 0)
            return notice.outcome is not None
        failure = await self._send(webhook, notice)
        self._observed(webhook.format, "failed" if failure else "delivered")
        facts = {"handoff": handoff, "session": key.session, "attempt": attempt}
        if failure is not None:
            log.warning("a webhook was not taken", extra={**facts, "reason": failure})
            return False
        log.info("a webhook was delivered", extra=facts)
        await self._done(key, handoff, attempt)
        return True

    async def _done(self, key: SessionKey, handoff: str, attempts: int) -> None:
        """Says so in the log, however long that takes: else it would be sent again."""
        delivered = ev.WebhookDelivered(self._clock.now(), handoff, attempts)
        for attempt in count(1):
            with suppress(StoreUnavailable):
                await self._ledger.record(key, delivered)
                return
            await self._clock.sleep(_pause_seconds(attempt))

    async def _send(self, webhook: Webhook, notice: Notice) -> str | None:
        """None where it was taken, else why not: without the URL, which may be a secret itself."""
        secret = None
        if webhook.secret_env is not None:
            secret = self._env.get(webhook.secret_env, "").rstrip("\r\n").encode()
            if not secret:
                return f"{webhook.secret_env} is not set"
        body = body_of(notice, webhook.format, secret)
        headers = self._headers(webhook, notice.handoff.handoff, secret, body)
        request = Outgoing("POST", webhook.url, headers, body)
        try:
            answer = await self._upstreams.send(request, _TIMEOUTS)
        except UpstreamUnavailable as error:
            return error.kind
        except ValueError:
            return "the URL cannot be used"
        try:
            with suppress(UpstreamUnavailable):  # the status says it all
                await answer.read(_ANSWER_BYTES)
        finally:
            answer.close()
        return None if 200 <= answer.status < 300 else f"HTTP {answer.status}"

    def _headers(
        self, webhook: Webhook, handoff: str, secret: bytes | None, body: bytes
    ) -> Headers:
        now = int(self._clock.now())
        headers: Headers = (
            ("content-type", "application/json"),
            ("user-agent", "holdfast"),
            ("webhook-id", handoff),
            ("webhook-timestamp", str(now)),
        )
        if secret is None or FORMATS[webhook.format].own_key is not None:
            return headers
        return (*headers, ("webhook-signature", signature_of(secret, handoff, now, body)))

    async def _pause(self, policy: Policy, attempt: int) -> None:
        """Until the next attempt: at once under another policy, which may name who is there."""
        until = self._clock.monotonic() + _pause_seconds(attempt)
        while (left := until - self._clock.monotonic()) > 0 and self._policy.current is policy:
            await self._clock.sleep(min(left, _LOOK_SECONDS))


def _pause_seconds(attempt: int) -> float:
    """Twice as long each time, up to a bound, and half of it by chance: many must not come back at
    once."""
    longest = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** min(attempt - 1, 30))
    return longest * (0.5 + random.random() / 2)  # noqa: S311 - no secret
