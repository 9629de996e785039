"""An append that the store was given, and the fold it was made on, until the store has answered."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from proxy.core.session import EMPTY, SessionKey, SessionState, fold
from proxy.errors import HoldfastError
from proxy.stores import Append, Appended, Charge
from proxy.stores.written import Written


@dataclass(slots=True, eq=False)
class Fold:
    """A session's state with everything submitted so far.

    token: of the append submitted last, b"" where the state was read from the log. pending: appends
    not answered yet; answers: those that came; awaited: who waits until there are so many.
    stale: the log is not what was foreseen. misled: a head was written that tells of another log:
    an append before it was refused, or another process's is not in it. is_spooled: it was made, or
    gone on with, while the store was away. sure: the state with what was answered alone. refused:
    an append was, whose effect `state` still has.
    """

    key: SessionKey
    state: SessionState
    token: bytes = b""
    pending: int = 0
    stale: bool = False
    misled: bool = False
    is_spooled: bool = False
    sure: SessionState = EMPTY
    refused: bool = False
    answers: int = 0
    awaited: list[tuple[int, asyncio.Future[None]]] = field(default_factory=list)

    def submits(self, after: SessionState) -> None:
        """An append is on its way that leads there."""
        if not self.pending:
            self.sure = self.state
        self.state = after
        self.pending += 1

    def answered(self, append: Append, after: SessionState, *, is_taken: bool) -> None:
        """One of them."""
        self.answers += 1
        self.pending -= 1
        if not is_taken:
            self.refused = True
        else:
            self.sure = fold(append.events, start=self.sure) if self.refused else after

    def undo(self) -> None:
        """Nothing is on its way: without what was refused, where the log cannot be read."""
        if self.refused:
            self.state, self.refused = self.sure, False

    async def caught_up(self) -> None:
        """All that is on its way by now is answered."""
        answer = asyncio.get_running_loop().create_future()
        self.awaited.append((self.answers + self.pending, answer))
        await answer

    def wake(self) -> None:
        """An answer has come."""
        waiting, self.awaited = self.awaited, []
        for enough, answer in waiting:
            if answer.done():
                continue
            if self.answers >= enough:
                answer.set_result(None)
            else:
                self.awaited.append((enough, answer))


def newer_of(read: Fold, known: Fold | None, before: tuple[int, int]) -> Fold | None:
    """The log's fold, or that at hand where it was gone on with while the log was read and has all
    that was read. None: read again. What is on its way yet may be in neither: its answer tells.

    before: the answers and the pending appends of the fold at hand when the reading began."""
    if known is None or (known.answers, known.pending) == before:
        return read
    if not known.stale:
        return known if read.state.seq <= known.state.seq else read
    return read if known.answers == before[0] else None


class Submitted:
    """An append that the store was given."""

    __slots__ = ("_take", "after", "append", "began", "fold", "freed", "happened", "written")

    def __init__(
        self,
        take: "Callable[[Submitted, Appended | BaseException], None]",
        fold_: Fold,
        append: Append,
        after: SessionState,
        freed: tuple[Charge, ...],
        happened: Callable[[Append, SessionState], None],
        written: Written[Appended],
        began: float,
    ) -> None:
        self._take = take
        self.fold = fold_
        self.append = append
        self.after = after
        self.freed = freed
        self.happened = happened
        self.written = written
        self.began = began

    async def answered(self) -> SessionState:
        """Waits for the store; the state after. Raises what it refused with. Cancelled, it lets go
        at once, and the answer is taken when it comes."""
        written = self.written
        written.late = self._late
        try:
            appended = await written
        except asyncio.CancelledError:
            if not written.cancelled():  # both at once
                self._take(self, written.exception() or written.result())
            raise
        except HoldfastError as refused:
            self._take(self, refused)
            raise
        written.late = None  # or each append were a circle, and work for the garbage collector
        self._take(self, appended)
        return self.after

    def _late(self, result: Appended | Exception) -> None:
        self._take(self, result)
