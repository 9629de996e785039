"""What one tenant's sessions were given, in memory: the links, the tracks, the open attempts."""

from collections.abc import Mapping

import msgspec

from proxy.core.evidence import Found, find, sole
from proxy.core.links import (
    CROWD,
    IDS_KEPT,
    SESSIONS_PER_LINK,
    Links,
    Track,
    answer_turn,
    is_random_id,
    said_links,
    turns_of,
)
from proxy.core.request import Request
from proxy.core.usage import Answer

RETRY_SECONDS = 120.0
"""How long after an attempt its client may still send it again; SDKs wait 60 s at most."""
_SHARED_BY_MOST = 32
_ATTEMPTS_KEPT = 1024
_NEVER = float("-inf")


class Attempt(msgspec.Struct, eq=False):
    """A request under way, or one that failed and may come again. before: the tip before it.
    after: tip and last of the answer that came when its client had gone."""

    track: Track
    before: bytes
    at: float
    failed: bool = False
    client_gone: bool = False
    after: tuple[bytes, bytes] | None = None


class TenantIndex:
    """One tenant's. The oldest links go first: evidence is read from the newest back."""

    def __init__(self, tenant: str) -> None:
        self.links = Links(tenant)
        self.tracks_by_link: dict[bytes, tuple[Track, ...]] = {}
        self._tracks: dict[tuple[str, str], Track] = {}
        self._attempts: dict[bytes, tuple[Attempt, ...]] = {}
        self._crowded: dict[bytes, float] = {}

    @property
    def size(self) -> int:
        """Links and tracks: sessions that were all given the same share their links."""
        return len(self.tracks_by_link) + len(self._tracks)

    def lookup(self, link: bytes) -> tuple[Track, ...]:
        return self.tracks_by_link.get(link, ())

    def track(self, session: str, thread: str, begun: Track | None = None) -> Track:
        """The track that is kept, else the one begun or a new one: kept once a link leads to it."""
        return self._tracks.get((session, thread)) or begun or Track(session, thread)

    def keep(self, track: Track) -> Track:
        """Keeps a track as the newest, or gives the one already kept in its place."""
        key = (track.session, track.thread)
        kept = self._tracks.pop(key, track)
        self._tracks[key] = kept
        return kept

    def add(self, link: bytes, track: Track) -> None:
        """`track` was given this too. A link that too many were given leads to CROWD; but a whole
        history to those that still wait at its end, so that a run is told from its reruns."""
        known = self.tracks_by_link.get(link)
        if known is None:
            self.tracks_by_link[link] = (track,)
            return
        if known is CROWD or track in known:
            return
        if len(known) >= _SHARED_BY_MOST and track.tip == link:
            known = tuple([other for other in known if other.tip == link])
        full = len(known) >= _SHARED_BY_MOST
        self.tracks_by_link[link] = CROWD if full else (*known, track)

    def load(self, rows: Mapping[bytes, tuple[str, ...]]) -> None:
        """Takes in what a store knows: not where its sessions stand, nor all they were given."""
        for link, sessions in rows.items():
            if len(sessions) >= SESSIONS_PER_LINK:
                self.tracks_by_link[link] = CROWD
                continue
            for session in sessions:
                if all(track.session != session for track in self.lookup(link)):
                    self.add(link, self.keep(Track(session, shortens=True, midway=True)))

    def begin(self, body_digest: bytes, attempt: Attempt) -> None:
        """A new attempt takes the place of the same track's earlier ones."""
        others = self._attempts.pop(body_digest, ())
        if others:
            session = attempt.track.session
            others = tuple([other for other in others if other.track.session != session])
            if len(others) >= _SHARED_BY_MOST:
                others = self._thinned(body_digest, others, attempt.at)
        self._attempts[body_digest] = (*others, attempt)
        if len(self._attempts) > _ATTEMPTS_KEPT:
            del self._attempts[next(iter(self._attempts))]

    def _thinned(
        self, body_digest: bytes, attempts: tuple[Attempt, ...], now: float
    ) -> tuple[Attempt, ...]:
        """Without those that failed too long ago to come again: a fleet whose provider is down
        would be remembered for ever. Of too many that may still come, the oldest go too, and
        nobody is told by this body until they could not come any more."""
        may_come = [a for a in attempts if a.failed and now - a.at <= RETRY_SECONDS]
        if len(may_come) > _SHARED_BY_MOST:
            may_come = may_come[-_SHARED_BY_MOST:]
            self._crowded[body_digest] = now
            if len(self._crowded) > _ATTEMPTS_KEPT:
                del self._crowded[next(iter(self._crowded))]
        return tuple([a for a in attempts if not a.failed or a in may_come])

    def end(self, body_digest: bytes, session: str) -> Attempt | None:
        """Takes an attempt out, None where it is not known any more."""
        attempts = self._attempts.pop(body_digest, ())
        if len(attempts) == 1 and attempts[0].track.session == session:
            return attempts[0]
        ended = [attempt for attempt in attempts if attempt.track.session == session]
        if rest := [attempt for attempt in attempts if attempt.track.session != session]:
            self._attempts[body_digest] = tuple(rest)
        return ended[-1] if ended else None

    def retried(self, body_digest: bytes, now: float, *, counted: bool) -> Track | None:
        """The track of the one session that may be sending this body again. counted: it says so."""
        attempts = self._attempts.get(body_digest)
        if attempts is None or now - self._crowded.get(body_digest, _NEVER) <= RETRY_SECONDS:
            return None
        recent = [attempt for attempt in attempts if now - attempt.at <= RETRY_SECONDS]
        return sole([a.track for a in recent if counted or a.client_gone])

    def drop_oldest(self) -> int:
        """Forgets an eighth of the links and of the tracks; returns how many together."""
        before = self.size
        for link in list(self.tracks_by_link)[: -(-len(self.tracks_by_link) // 8)]:
            del self.tracks_by_link[link]
        for key in list(self._tracks)[: -(-len(self._tracks) // 8)]:
            del self._tracks[key]
        return before - self.size


def proven(index: TenantIndex, request: Request) -> Found | None:
    if request.previous_response_id is not None:
        track = sole(index.lookup(index.links.response(request.previous_response_id)))
        if track is not None:
            return Found(track, "response_id")
    return find(index.links, request, index.lookup)


def advance(links: Links, track: Track, request: Request) -> None:
    """`track` goes on to `request`."""
    history = request.history
    asked = links.asked(history.chain)
    if track.last and asked != track.asked:
        newest = next(turns_of(history), None)
        whole = newest and links.history(history.before(newest.start), newest.said)
        track.shortens = track.shortens or whole != track.tip
    track.asked = track.tip = asked
    track.root = track.root or asked
    track.model = request.model


def adopt(index: TenantIndex, track: Track, request: Request) -> None:
    """A session opened in the middle of a history was given those of its answers that somebody was.

    Not the others: a message that its client wrote may stand in another's history as well."""
    for _, link in said_links(index.links, request.history):
        if index.lookup(link):
            track.midway = track.shortens = True
            index.add(link, track)


def remember(
    index: TenantIndex, track: Track, request: Request, answer: Answer
) -> tuple[bytes, ...]:
    """Links `track` to its answer; returns the links to persist, at most IDS_KEPT + 4."""
    links, history = index.links, request.history
    given = [
        links.call_id(call.call_id)
        for call in answer.tool_calls[:IDS_KEPT]
        if is_random_id(call.call_id, call.name)
    ]
    if answer.response_id is not None and request.dialect == "responses":
        given.append(links.response(answer.response_id))
    track.tip = track.last = b""
    if answer.text or answer.tool_calls:
        turn = answer_turn(answer, len(history.messages))
        track.tip = links.history(history.chain, turn.said)
        track.last = links.said(turn.said)
        given += [track.last, track.tip]
        if history.messages:
            given.append(links.heard(history.messages[-1].content_digest, turn.said))
            index.add(links.asked(history.chain), track)
    for link in given:
        index.add(link, track)
    return tuple(given)
