"""How long sessions are kept that nobody uses, and what is written elsewhere before they go."""

import logging
from asyncio import to_thread
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import quote

from proxy.clock import Clock
from proxy.core.checkpoints import Checkpoints
from proxy.core.session import SessionKey
from proxy.errors import SeqConflict, SessionBusy
from proxy.exports import SUFFIX, export_of, write_export
from proxy.stores import LIVE, Store
from proxy.stores.codec import encode_cursor

log = logging.getLogger(__name__)

_EVERY_SECONDS = 60.0
_ACCOUNT_SECONDS = 40 * 86_400
"""Longer than any window: what was not charged for so long is of one that is over."""
_ARCHIVED_AT_ONCE = 100
"""Then whoever sweeps gets on with the rest of it."""
_ARCHIVED = (*LIVE, "killed", "finished")
"""States of sessions that retention deletes."""
_HOLDS_SECONDS = 3 * 3600.0
_QUIET_SECONDS = 3600.0
"""A clock is believed once sessions were used, or this process ran, for the first of these by it
without a break of more than the second: by so much at the most it has jumped."""
_MOST_STEPS = 256


class Retention:
    """For one process; several may look after one store. kept: what the policy says now.
    idle_seconds: a session is kept as long as it may be idle, or its budget would begin anew before
    its time."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        kept: Callable[[], Checkpoints],
        idle_seconds: Callable[[], float],
    ) -> None:
        self._store = store
        self._clock = clock
        self._kept = kept
        self._idle_seconds = idle_seconds
        self._purged_at = float("-inf")
        self._began = clock.now(), clock.monotonic()
        self._in_use_since: float | None = None
        self._break_seconds = 0.0
        self._said = False

    def reached(self) -> float:
        """The wall's time, as far as it can have come since the start: by a clock that jumped ahead
        all would be deleted, and setting it back brings nothing back."""
        wall, monotonic = self._began
        return min(self._clock.now(), wall + self._clock.monotonic() - monotonic)

    async def look_after(self) -> None:
        """Deletes sessions that nobody has touched for the retention, tombstones as old as that,
        and accounts whose windows have long been over; once a minute, so that it is little each
        time. What holds something stays, what is not idle yet, and what should be archived and
        could not be. Nothing goes by as much of a clock as may be a jump. Raises
        StoreUnavailable."""
        if self._clock.monotonic() - self._purged_at < _EVERY_SECONDS:
            return
        now, kept = self.reached(), self._kept()
        kept_seconds = max(kept.retention_seconds, self._idle_seconds())
        ahead_seconds = await self._ahead_seconds(now)
        before = now - ahead_seconds - kept_seconds
        archived = 0
        if kept.archive is not None:
            keys = await self._store.list_idle(before, _ARCHIVED_AT_ONCE, _ARCHIVED)
            archived = await self._archive(kept.archive, keys, now)
            if archived == _ARCHIVED_AT_ONCE:
                return  # there may be more: at the next sweep, not in a minute
        self._purged_at = self._clock.monotonic()
        may_purge = kept.archive is None or archived == len(keys)
        sessions = await self._store.purge(before, now) if may_purge else 0
        accounts = await self._store.purge_accounts(now - ahead_seconds - _ACCOUNT_SECONDS)
        if ahead_seconds and not sessions:
            await self._tell(now, now - kept_seconds)
        if sessions or accounts or archived:
            facts = {"sessions": sessions, "accounts": accounts, "archived": archived}
            log.info("retention", extra=facts)

    async def _ahead_seconds(self, now: float) -> float:
        """By how much the clock may be ahead, as far as the ledger tells. One that jumped would
        delete what is young, and one that is right looks the same behind a ledger that nobody had
        used for a while: until it has held for some hours, the longest break may be all a jump."""
        if self._in_use_since is None:
            self._in_use_since, self._break_seconds = await self._find_in_use_since()
        return 0.0 if now - self._in_use_since >= _HOLDS_SECONDS else self._break_seconds

    async def _find_in_use_since(self) -> tuple[float, float]:
        """Since when, up to the start, sessions were used without a longer break; -inf where there
        was none. And the longest one, back to where they were used for hours. In steps of half an
        hour and more, for there may be a million of them: a break of that may be taken for one."""
        began = newest = since = self._began[0]
        in_use_since, longest = float("-inf"), 0.0
        for _ in range(_MOST_STEPS):
            if newest - since >= _HOLDS_SECONDS:
                return in_use_since, longest
            before = await self._used_before(since - _QUIET_SECONDS / 2)
            if before is None:
                return in_use_since, longest
            if before < since - _QUIET_SECONDS:
                in_use_since = since if not longest else in_use_since
                newest, longest = before, max(longest, since - before)
            since = before
        return in_use_since, began - since

    async def _used_before(self, then: float) -> float | None:
        """When a session was last used before that."""
        rows, _ = await self._store.list_sessions(limit=1, cursor=encode_cursor(then, 0))
        return rows[0].head.updated_at if rows else None

    async def _tell(self, now: float, before: float) -> None:
        """Once, where there is something that would have been deleted by the clock as it is."""
        if self._said or not await self._store.list_idle(before, 1, _ARCHIVED):
            return
        self._said = True
        since = now if self._in_use_since is None else self._in_use_since
        facts = {
            "unused_seconds": round(self._break_seconds),
            "wait_seconds": round(since + _HOLDS_SECONDS - now),
        }
        log.warning("sessions are kept for longer: the clock may have jumped ahead", extra=facts)

    async def _archive(self, folder: str, keys: Iterable[SessionKey], now: float) -> int:
        """Writes them down and deletes them; how many of them are done with. Where one cannot be
        written, none is tried after it: the disk is full, most likely."""
        done = 0
        for key in keys:
            dump = await self._store.dump(key)
            if dump is not None and dump.head.state in _ARCHIVED:
                try:
                    await to_thread(_write, path_in(folder, key, dump.seq), export_of(dump, now))
                except OSError as error:
                    facts = {"session": key.session, "reason": str(error)}
                    log.warning("a session cannot be archived, so it is not deleted", extra=facts)
                    return done
                try:
                    await self._store.delete(key, now, reason="retention", expected_seq=dump.seq)
                except (SeqConflict, SessionBusy):
                    log.debug("used meanwhile", extra={"session": key.session})
            done += 1
        return done


def path_in(folder: str, key: SessionKey, seq: int) -> Path:
    """Where a session is archived that ends at this event: a later one of its id does not take its
    place. A tenant may have any name."""
    return Path(folder).expanduser() / _name(key.tenant) / f"{_name(key.session)}.{seq}{SUFFIX}"


def _name(text: str) -> str:
    name = quote(text, safe=":@")
    return f"%2E{name[1:]}" if name.startswith(".") else name or "%"


def _write(path: Path, pieces: Iterable[bytes]) -> None:
    """Raises OSError."""
    path.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_export(path, pieces)
