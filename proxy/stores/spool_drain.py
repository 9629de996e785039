"""Writes a spool into the ledger that is back: session by session, in order, each append once."""

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from proxy.core.session import SessionKey
from proxy.errors import HoldfastError, SeqConflict, StoreUnavailable
from proxy.stores import Append, Appended, LogCutShort, Store
from proxy.stores.reconciling import Known, is_written, known_of, rebased
from proxy.stores.spool import Spool, Spooled, Unreadable
from proxy.stores.written import outlasting

log = logging.getLogger(__name__)

AT_ONCE: Final = 256
_TRIES: Final = 64
_FAILURES: Final = 5


@dataclass(slots=True)
class _Written:
    """done: those that need not be kept. away: the store has gone again; tried: those that it was
    given then. refused: those that it never takes."""

    done: list[int] = field(default_factory=list)
    tried: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    away: StoreUnavailable | None = None


class SpoolDrain:
    """Of one spool. all_tried: another process wrote it and may have begun to empty it. What is
    being written when it is cancelled is looked for next time."""

    def __init__(
        self,
        spool: Spool,
        primary: Store,
        idle_seconds: Callable[[], float],
        *,
        all_tried: bool = False,
    ) -> None:
        self.spool = spool
        self.left: Counter[SessionKey] = Counter()
        """Where it was taken over: how many appends of each session are left."""
        self._primary = primary
        self._idle_seconds = idle_seconds
        self._all_tried = all_tried
        self._tried: set[int] = set()
        self._failures: Counter[int] = Counter()
        self._known: dict[SessionKey, Known] = {}

    def forget(self, keys: Iterable[SessionKey]) -> None:
        """Nothing more is left of them: others may write to their logs from now on."""
        for key in keys:
            self._known.pop(key, None)

    async def some(self, keys: Collection[SessionKey]) -> tuple[list[SessionKey], set[SessionKey]]:
        """Writes the first appends of each of these sessions. Returns the session of each append
        that is not left any more, and those sessions of which nothing was there. Raises
        StoreUnavailable where the store, or the spool, is away."""
        try:
            rows = await self.spool.rows(keys, AT_ONCE)
        except Unreadable as damaged:  # it must not hold up all behind it
            await self.spool.refuse([number for number, _ in damaged.rows])
            log.error(damaged.message, extra={"appends": len(damaged.rows)})
            return [key for _, key in damaged.rows], set()
        sessions: dict[SessionKey, list[Spooled]] = defaultdict(list)
        for row in rows:
            sessions[row.append.key].append(row)
        told = await asyncio.gather(*(self._session(*entry) for entry in sessions.items()))
        done = {number for one in told for number in one.done}
        refused = [number for one in told for number in one.refused]
        self._tried.update(number for one in told for number in one.tried)
        if done:
            await self.spool.drop(sorted(done))
        if refused:
            await self.spool.refuse(refused)
        self._tried -= done
        away = next((one.away for one in told if one.away is not None), None)
        if away is not None and not done and not refused:
            raise StoreUnavailable(away.message)
        gone = [row.append.key for row in rows if row.number in done or row.number in refused]
        return gone, set(keys) - sessions.keys()

    async def _session(self, key: SessionKey, rows: Sequence[Spooled]) -> _Written:
        told, left = _Written(), list(rows)
        try:
            for _ in range(_TRIES):
                known = self._known.get(key) or known_of(key, await self._primary.read(key))
                self._known[key] = known
                left = await self._write(known, left, told)
                if not left:
                    return told
                del self._known[key]  # others have written: read anew
            raise StoreUnavailable(f"session {key.session} is written to by too many at once")
        except StoreUnavailable as error:
            self._known.pop(key, None)
            await self._failed(left, told, error)
        except asyncio.CancelledError:
            self._known.pop(key, None)
            self._tried.update(row.number for row in left)
            raise
        return told

    async def _write(self, known: Known, rows: Sequence[Spooled], told: _Written) -> list[Spooled]:
        """Hands all of them over, in order; those that others came in between of are left."""
        given: list[tuple[Spooled, asyncio.Future[Appended], int]] = []
        for row in rows:
            if is_written(row.append, known, tried=self._is_tried(row)):
                told.done.append(row.number)
                continue
            append: Append = rebased(row.append, known, self._idle_seconds())
            if append.events or append.charges:
                written = outlasting(self._primary.append, append)
                given.append((row, written, known.state.seq))
            else:
                told.done.append(row.number)
        results = await asyncio.gather(*(one for _, one, _ in given), return_exceptions=True)
        for place, ((row, _, seq), result) in enumerate(zip(given, results, strict=True)):
            left = [row for row, _, _ in given[place:]]
            if isinstance(result, StoreUnavailable):
                told.tried += [row.number for row in left]
                raise result
            if not self._is_taken(row, seq, result, told):
                return [row for row in left if row.number not in told.refused]
        return []

    def _is_taken(
        self, row: Spooled, seq: int, result: Appended | BaseException, told: _Written
    ) -> bool:
        """Whether it is where it was foreseen to be, and so is what comes after it."""
        match result:
            case Appended(repeated=False) if result.seq == seq:
                told.done.append(row.number)
                return True
            case Appended() | SeqConflict():
                return False
            case HoldfastError():
                self._refused(row, result, told)
                return False
            case _:
                raise result

    def _is_tried(self, row: Spooled) -> bool:
        return row.tried or self._all_tried or row.number in self._tried

    async def _failed(
        self, left: Sequence[Spooled], told: _Written, error: StoreUnavailable
    ) -> None:
        """A store that is away is no append's fault; one that is not, but cannot take the first of
        them again and again, would hold up all behind it."""
        told.away = error
        first = next((row for row in left if row.number not in told.done), None)
        passes = isinstance(error, LogCutShort)
        if first is None or passes or not await self._primary.writable():
            return
        self._failures[first.number] += 1
        if self._failures[first.number] >= _FAILURES:
            self._refused(first, error, told)

    def _refused(self, row: Spooled, error: HoldfastError, told: _Written) -> None:
        told.refused.append(row.number)
        facts = {"session": row.append.key.session, "spool": str(self.spool.path)}
        log.error(
            "the ledger does not take what was done while it was away; it stays in the spool",
            extra={**facts, "number": row.number, "reason": str(error)},
        )
