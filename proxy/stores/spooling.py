"""The way of an append past a store that is away: to a spool, in order, answered once it is there.

An append that the store had when it went may have been written: it is spooled as `tried`, and
looked for in the log before it is written. While the store owes answers, younger appends wait for
them, or a session's order would be lost.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from proxy.core.events import StepReserved
from proxy.core.session import SessionKey
from proxy.errors import SeqConflict, StoreUnavailable
from proxy.stores import SPOOLED, Append, Appended, LogCutShort, Store
from proxy.stores.effects import prepare
from proxy.stores.spool import Spool
from proxy.stores.written import Written, outlasting


class _State(Enum):
    ASKED = 0
    TRIED = 1
    SURE = 2


@dataclass(slots=True, eq=False)
class _Entry:
    """An append and who waits for it."""

    append: Append
    written: Written[Appended]
    state: _State


class Spooling:
    """For one process. lost: told of what the store failed with. is_lost: whether it is away now.
    spool: this process's own, made when it is asked for. let_through: told of each such call."""

    def __init__(
        self,
        primary: Store,
        spool: Callable[[], Spool],
        lost: Callable[[StoreUnavailable], None],
        is_lost: Callable[[], bool],
        let_through: Callable[[], None],
    ) -> None:
        self._primary = primary
        self._spool = spool
        self._lost = lost
        self._is_lost = is_lost
        self._let_through = let_through
        self._asked: dict[_Entry, None] = {}
        self.left: Counter[SessionKey] = Counter()
        """How many appends of each session are spooled."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is spooled, nor about to be."""
        return not self.left and not self._asked

    @property
    def waiting(self) -> int:
        return self.left.total() + len(self._asked)

    def ask(self, append: Append) -> Written[Appended]:
        """Gives it to the store; where that is away, to the spool."""
        asked = outlasting(self._primary.append, append)
        entry = _Entry(append, Written(loop=asyncio.get_running_loop()), _State.ASKED)
        self._asked[entry] = None
        asked.add_done_callback(lambda asked: self._answered(entry, asked))
        return entry.written

    def put(self, append: Append) -> Written[Appended]:
        """To the spool, behind all that was submitted before."""
        prepare(append)  # what no store can take is refused now
        entry = _Entry(append, Written(loop=asyncio.get_running_loop()), _State.SURE)
        self._asked[entry] = None
        self._advance()
        return entry.written

    def count(self, key: SessionKey, more: int) -> None:
        """So many of a session's appends were spooled, or (negative) are not any more."""
        self.left[key] += more
        if not self.left[key]:
            del self.left[key]

    def _answered(self, entry: _Entry, asked: "asyncio.Future[Appended]") -> None:
        error = asked.exception()
        is_about_one = isinstance(error, LogCutShort) and not self._is_lost()
        if isinstance(error, StoreUnavailable) and not is_about_one:
            self._lost(error)
            entry.state = _State.TRIED
        elif isinstance(error, SeqConflict) and self._is_lost():
            entry.state = _State.SURE  # it was decided on one that was lost
        else:
            del self._asked[entry]
            assert error is None or isinstance(error, Exception)
            entry.written.answer(asked.result() if error is None else error)
        if self._is_lost():
            self._advance()

    def _advance(self) -> None:
        """Spools those in front that the store does not owe an answer any more."""
        while self._asked:
            entry = next(iter(self._asked))
            if entry.state is _State.ASKED:
                return
            del self._asked[entry]
            self._keep(entry)

    def _keep(self, entry: _Entry) -> None:
        append = entry.append

        def kept(put: "asyncio.Future[int]") -> None:
            if (error := put.exception()) is not None:
                self.count(append.key, -1)
                entry.written.answer(_nowhere(error))
                return
            if any(isinstance(event, StepReserved) for event in append.events):
                self._let_through()
            entry.written.answer(SPOOLED)

        try:
            put = self._spool().put(append, tried=entry.state is _State.TRIED)
        except StoreUnavailable as error:
            entry.written.answer(_nowhere(error))
            return
        self.count(append.key, 1)
        put.add_done_callback(kept)


def _nowhere(error: BaseException) -> StoreUnavailable:
    return StoreUnavailable(f"the store is away, and nothing can be kept for it either: {error}")
