"""The way of an append past a store that is away: to a spool, in order, answered once it is there.

An append that the store had when it went may have been written: it is spooled as `tried`, and
looked for in the log before it is written. While the store owes an answer, younger appends of that
session wait for it, or its order would be lost. A session of which nothing is spooled, nor about to
be, is not held here: the store may have its appends as soon as it takes any. While the last of a
session are written there, what comes of it is parked, in memory, until that is done: else one that
is always busy would never be the store's again.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
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
    """ASKED: the store owes an answer. TRIED: it failed, and may have written it. SURE: it was not
    given it, or refused it."""

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
    """For one process. lost: told of what the store failed with. is_away: whether it takes nothing
    now. is_held: whether a session's appends go to the spool. spool: this process's own, made when
    it is asked for. let_through: told of each such call."""

    def __init__(
        self,
        primary: Store,
        spool: Callable[[], Spool],
        lost: Callable[[StoreUnavailable], None],
        is_away: Callable[[], bool],
        is_held: Callable[[SessionKey], bool],
        let_through: Callable[[], None],
    ) -> None:
        self._primary = primary
        self._spool = spool
        self._lost = lost
        self._is_away = is_away
        self._is_held = is_held
        self._let_through = let_through
        self._asked: dict[SessionKey, dict[_Entry, None]] = {}
        self._behind: Counter[SessionKey] = Counter()  # of those asked, that are to be spooled
        self._parked: dict[SessionKey, list[_Entry]] = {}
        self.left: Counter[SessionKey] = Counter()
        """How many appends of each session are spooled."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is spooled, nor about to be."""
        return not self.left and not self._behind

    @property
    def waiting(self) -> int:
        return self.left.total() + self._behind.total()

    def holds(self, key: SessionKey) -> bool:
        """Whether appends of this session have to go behind others that are spooled."""
        return key in self.left or key in self._behind

    def ask(self, append: Append) -> Written[Appended]:
        """Gives it to the store; where that is away, to the spool."""
        entry = _Entry(append, Written(loop=asyncio.get_running_loop()), _State.ASKED)
        self._ask(entry)
        return entry.written

    def _ask(self, entry: _Entry) -> None:
        asked = outlasting(self._primary.append, entry.append)
        self._line_up(entry)
        asked.add_done_callback(lambda asked: self._answered(entry, asked))

    def put(self, append: Append) -> Written[Appended]:
        """To the spool, behind all that was submitted before."""
        prepare(append)  # what no store can take is refused now
        entry = _Entry(append, Written(loop=asyncio.get_running_loop()), _State.SURE)
        if (parked := self._parked.get(append.key)) is not None:
            parked.append(entry)
        else:
            self._put(entry)
        return entry.written

    def _put(self, entry: _Entry) -> None:
        self._line_up(entry)
        self._behind[entry.append.key] += 1
        self._advance(entry.append.key)

    def park(self, keys: Iterable[SessionKey]) -> None:
        """All that is spooled of these sessions is being written now."""
        for key in keys:
            if key not in self._behind:
                self._parked[key] = []

    def unpark(self, keys: Iterable[SessionKey]) -> None:
        """It is done. Where nothing is left the store is given what was parked, but for what was
        decided on a log that may be another now: that is decided anew."""
        for key in keys:
            for entry in self._parked.pop(key, ()):
                if self.holds(key):
                    self._put(entry)
                elif entry.append.expected_seq is not None:
                    entry.written.answer(SeqConflict(entry.append.expected_seq))
                else:
                    entry.state = _State.ASKED
                    self._ask(entry)

    def count(self, key: SessionKey, more: int) -> None:
        """So many of a session's appends were spooled, or (negative) are not any more."""
        _count(self.left, key, more)

    def _line_up(self, entry: _Entry) -> None:
        queue = self._asked.get(entry.append.key)
        if queue is None:
            self._asked[entry.append.key] = {entry: None}
        else:
            queue[entry] = None

    def _answered(self, entry: _Entry, asked: "asyncio.Future[Appended]") -> None:
        error, key = asked.exception(), entry.append.key
        is_about_one = isinstance(error, LogCutShort) and not self._is_away()
        if isinstance(error, StoreUnavailable) and not is_about_one:
            self._lost(error)
            entry.state = _State.TRIED
            self._behind[key] += 1
        elif isinstance(error, SeqConflict) and self._is_held(key):
            entry.state = _State.SURE  # it was decided on one that was lost
            self._behind[key] += 1
        else:
            self._remove(entry)
            assert error is None or isinstance(error, Exception)
            entry.written.answer(asked.result() if error is None else error)
        if self._behind:
            self._advance(key)

    def _remove(self, entry: _Entry) -> None:
        key = entry.append.key
        queue = self._asked[key]
        del queue[entry]
        if not queue:
            del self._asked[key]

    def _advance(self, key: SessionKey) -> None:
        """Spools those of a session that the store does not owe an answer any more, up to one."""
        for entry in tuple(self._asked.get(key, ())):
            if entry.state is _State.ASKED:
                return
            self._remove(entry)
            self._keep(entry)
            _count(self._behind, key, -1)

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


def _count(counter: Counter[SessionKey], key: SessionKey, more: int) -> None:
    counter[key] += more
    if counter[key] <= 0:
        del counter[key]


def _nowhere(error: BaseException) -> StoreUnavailable:
    return StoreUnavailable(f"the store is away, and nothing can be kept for it either: {error}")
