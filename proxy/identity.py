"""Finds the session of a request: what it names itself, else what only that session was given.

The index is memory, bounded; the store behind it is asked where memory does not know a history, so
that a restart keeps its sessions. What proves a session is decided in `core.evidence`.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from proxy.clock import Clock
from proxy.core.evidence import Found, evidence_links, find
from proxy.core.identity import (
    SESSION_DIGITS,
    Identified,
    Named,
    named_session,
    session_digits,
)
from proxy.core.links import Track, has_history
from proxy.core.memo import Memo
from proxy.core.paths import PathParts
from proxy.core.request import Request
from proxy.core.usage import Answer
from proxy.tenant_index import Attempt, TenantIndex, adopt, advance, proven, remember
from proxy.wire import Head

_UNANSWERED_TENANTS = 64
_RANDOM_BYTES = 2048


class LinkStore(Protocol):
    """The part of a Store that is asked here."""

    async def find_links(
        self, tenant: str, links: Sequence[bytes]
    ) -> Mapping[bytes, tuple[str, ...]]: ...


class SessionIndex:
    """Which session each request belongs to. One for the process, used from its event loop.

    capacity: links and tracks in memory, over all tenants (some 140 bytes each, four to seven a
    step). Over it the tenant with the most loses its oldest, so that none can push out another's.
    shared: other processes write to the store too: what is not proven by an id is looked up there,
    since memory does not know whom else the same answer was given to. memo: what answered requests
    were read as.
    """

    def __init__(
        self,
        store: LinkStore,
        capacity: int,
        clock: Clock,
        *,
        shared: bool = False,
        memo: Memo | None = None,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._store = store
        self._capacity = capacity
        self._clock = clock
        self._shared = shared
        self.memo = memo
        self._random_bytes = random_bytes
        self._digits = ""
        self._tenants: dict[str, TenantIndex] = {}
        self._unanswered: dict[str, None] = {}
        self._size = 0

    def share(self) -> None:
        """From now on other processes write to the store too."""
        self._shared = True

    @property
    def size(self) -> int:
        """Links and tracks in memory."""
        return self._size

    @property
    def tenants(self) -> int:
        """Tenants in memory."""
        return len(self._tenants)

    async def identify(
        self, tenant: str, head: Head, parts: PathParts, request: Request | None
    ) -> Identified:
        """The session of a request. Raises MalformedRequest (an id that cannot be one) and
        StoreUnavailable. request None: not governed, then only what it names itself counts."""
        headers = head.fields
        named = named_session(headers, parts, request)
        if named.session is not None:
            thread = named.thread or self._thread_within(tenant, named.session, request)
            return _identified(named, named.session, named.source, thread)
        if request is None:
            return _identified(named, "", "none", "")
        counted = headers.get("x-stainless-retry-count", "0") != "0"
        found, doubtful = self._known(tenant, request, counted=counted)
        if doubtful:
            found = await self._looked_up(tenant, request, found)
        if found is not None:
            return _identified(named, found.track.session, found.source, found.track.thread)
        session = self._new_session()
        return Identified(session, "new", named.agent, named.parent, is_new=True)

    def remember_request(self, tenant: str, who: Identified, request: Request) -> None:
        """A request was admitted and goes upstream."""
        index = self._tenants.get(tenant) or self._opened(tenant)
        track = index.track(who.session, who.thread)
        index.begin(request.body_digest, Attempt(track, track.tip, self._clock.monotonic()))
        advance(index.links, track, request)

    def remember_failure(
        self, tenant: str, who: Identified, request: Request, *, client_gone: bool
    ) -> None:
        """The client was given no whole answer and may send the same again."""
        index = self._tenants.get(tenant)
        attempt = None if index is None else index.end(request.body_digest, who.session)
        if index is None or attempt is None:
            return
        attempt.failed, attempt.client_gone = True, client_gone
        attempt.at = self._clock.monotonic()
        attempt.track.tip = attempt.before
        index.begin(request.body_digest, attempt)

    def remember_answer(
        self, tenant: str, who: Identified, request: Request, answer: Answer
    ) -> tuple[bytes, ...]:
        """A request was answered; in part, where it failed before: then it may still come again.
        Returns the links to persist with its settlement: at most IDS_KEPT + 4, none for a session
        that its client names (it will again)."""
        if self.memo is not None and request.learned is not None:
            self.memo.keep(request.learned)
        index = self._tenants.get(tenant) or self._opened(tenant)
        attempt = index.end(request.body_digest, who.session)
        track = index.track(who.session, who.thread, attempt.track if attempt else None)
        before = index.size
        if not track.last:
            adopt(index, track, request)
        last = track.last
        lasting = remember(index, track, request, answer)
        if lasting or track.midway:  # a link leads to it
            index.keep(track)
        if attempt is not None and attempt.failed:
            attempt.after = (track.tip, track.last)
            track.tip, track.last = attempt.before, last
            index.begin(request.body_digest, attempt)
        self._grown(tenant, index, index.size - before)
        named = who.source in ("path", "header") or who.source.startswith("client:")
        return () if named else lasting

    def remember_given(self, tenant: str, who: Identified, request: Request) -> None:
        """A retry was given the answer of the attempt that failed: it will not come again."""
        index = self._tenants.get(tenant)
        attempt = None if index is None else index.end(request.body_digest, who.session)
        if attempt is not None and attempt.after is not None:
            attempt.track.tip, attempt.track.last = attempt.after

    def _new_session(self) -> str:
        """Chance is fetched for some hundred at once: a call of the kernel takes longer than all
        the rest."""
        if len(self._digits) < SESSION_DIGITS:
            self._digits = session_digits(self._random_bytes(_RANDOM_BYTES))
        session = "s_" + self._digits[-SESSION_DIGITS:]
        self._digits = self._digits[:-SESSION_DIGITS]
        return session

    def _known(self, tenant: str, request: Request, *, counted: bool) -> tuple[Found | None, bool]:
        """What memory proves, and whether the store may know more."""
        index = self._tenants.get(tenant) or TenantIndex(tenant)
        goes_on = has_history(request)
        found = proven(index, request) if goes_on else None
        if found is None:
            now = self._clock.monotonic()
            retried = index.retried(request.body_digest, now, counted=counted)
            found = None if retried is None else Found(retried, "retry")
        unsure = found is None or (self._shared and found.source in ("prefix", "answer"))
        return found, goes_on and unsure

    async def _looked_up(self, tenant: str, request: Request, found: Found | None) -> Found | None:
        index = self._tenants.get(tenant) or TenantIndex(tenant)
        rows = await self._store.find_links(tenant, evidence_links(index.links, request))
        if not rows:
            return found
        index = self._tenants.get(tenant) or self._opened(tenant)
        before = index.size
        index.load(rows)
        self._grown(tenant, index, index.size - before)
        return proven(index, request)

    def _thread_within(self, tenant: str, session: str, request: Request | None) -> str:
        """The thread of a session that its client names: the one with this history, else a new one,
        named after what it begins with."""
        if request is None or not request.messages:
            return ""
        index = self._tenants.get(tenant) or TenantIndex(tenant)

        def lookup(link: bytes) -> list[Track]:
            return [track for track in index.lookup(link) if track.session == session]

        found = find(index.links, request, lookup)
        if found is not None:
            return found.track.thread
        return index.links.asked(request.history.chain).hex()[:8]

    def _opened(self, tenant: str) -> TenantIndex:
        """A tenant that was given nothing may be a made-up credential: only a few are kept."""
        index = self._tenants[tenant] = TenantIndex(tenant)
        self._unanswered[tenant] = None
        if len(self._unanswered) > _UNANSWERED_TENANTS:
            oldest = next(iter(self._unanswered))
            del self._unanswered[oldest], self._tenants[oldest]
        return index

    def _grown(self, tenant: str, index: TenantIndex, size: int) -> None:
        if index.size:
            self._unanswered.pop(tenant, None)
        self._size += size
        while self._size > self._capacity:
            largest = max(self._tenants, key=lambda name: self._tenants[name].size)
            self._size -= self._tenants[largest].drop_oldest()
            if not self._tenants[largest].size:
                del self._tenants[largest]


def _identified(named: Named, session: str, source: str, thread: str) -> Identified:
    return Identified(session, source, named.agent, named.parent, thread, named_thread=named.thread)
