"""A second target asked beside the first, where that has not begun to answer: the quicker one's
answer is given, the other is cancelled and booked.

Theory of operation. The first attempt is made in the call's own task, as ever: a call that is
answered in time costs one deadline more, no task and no timer. When the time has come a second
attempt is made in a task of its own; the ledger holds both. The one that comes to its commit point
first ends the other, and what that may have cost is booked with the call. Whatever cuts the call
ends both.
"""

import asyncio
from collections.abc import Callable
from typing import assert_never

from proxy.attempting.asking import Asking
from proxy.attempting.booking import Booking
from proxy.attempting.choosing import Choosing
from proxy.attempting.opened import Begun, Opened, Refused, Whole
from proxy.attempting.sending import Failed
from proxy.breakers.permits import Permit
from proxy.core.failures import Failure
from proxy.core.routing import Candidate
from proxy.intake import Call
from proxy.outbound import Base
from proxy.progress import Progress
from proxy.retrying import RetryBudget
from proxy.tasks import Tasks
from proxy.wire.timing import Deadlines

_OVERTAKEN = Failure("slow", "was overtaken by another target")


class Race:
    """Of one call. permit: of its first attempt. due: when the second is made."""

    def __init__(self, seconds: float, permit: Permit, start: "Callable[[Race], None]") -> None:
        task = asyncio.current_task()
        assert task is not None
        self._main = task
        self._before = task.cancelling()
        self._start = start
        self._permit = permit
        self.due = task.get_loop().time() + seconds
        self.task: asyncio.Task[None] | None = None
        self.other: Progress | None = None
        self.candidate: Candidate | None = None
        self.came: Opened | Failed | None = None
        self.is_waited_for = False
        self.is_closed = False
        self.has_won = False
        self._has_cut = False

    def expired(self, now: float) -> None:
        """The first has not begun to answer."""
        self.due = float("inf")
        self._start(self)

    def arrived(self, came: Opened | Failed) -> None:
        """What the second attempt came to."""
        self.came = came
        if isinstance(came, Whole | Begun) and not self.is_closed:
            self.has_won = True
            if not self.is_waited_for:
                self._has_cut = True
                # One that is always overtaken is slow, and need not be asked beside for ever.
                self._permit.failed(_OVERTAKEN)
                self._main.cancel()

    def is_over(self) -> bool:
        """In a handler of CancelledError: whether the second was quicker, and nothing else."""
        return self._has_cut and self._main.uncancel() <= self._before

    @property
    def is_running(self) -> bool:
        return self.task is not None and not self.task.done()


class Hedging:
    """Shared by all calls."""

    def __init__(
        self, choosing: Choosing, asking: Asking, booking: Booking, budget: RetryBudget
    ) -> None:
        self._choosing = choosing
        self._asking = asking
        self._booking = booking
        self._budget = budget
        self._deadlines = Deadlines(asyncio.get_running_loop())
        self._tasks = Tasks()

    async def ask(
        self, progress: Progress, base: Base | None, permit: Permit, seconds: float
    ) -> tuple[Opened | Failed, Candidate | None, Failure | None]:
        """What the call came to at its own target or, asked beside that, at another. With the other
        one and its failure, where both failed."""
        race = Race(seconds, permit, lambda race: self._start(race, progress, base))
        self._deadlines.add(race)
        call = progress.call

        def elsewhere() -> bool:
            others = self._choosing.others(call)
            return not race.is_running and self._choosing.takes(call, others)

        try:
            came = await self._asking.ask(progress, base, permit, elsewhere)
            if isinstance(came, Failed) and race.is_running:
                await self._wait_for(race)
        except asyncio.CancelledError:
            if not race.is_over():
                self._end(race, progress)
                raise
            return self._adopted(race, progress, _OVERTAKEN), None, None
        except BaseException:
            self._end(race, progress)
            raise
        finally:
            self._deadlines.discard(race)
        if isinstance(came, Failed) and race.has_won:
            return self._adopted(race, progress, came.failure), None, None
        failure = race.came.failure if isinstance(race.came, Failed) else None
        candidate = race.candidate if failure is not None else None
        self._end(race, progress)
        return came, candidate, failure

    async def _wait_for(self, race: Race) -> None:
        race.is_waited_for = True
        assert race.task is not None
        await asyncio.wait([race.task])

    def _start(self, race: Race, progress: Progress, base: Base | None) -> None:
        call = progress.call
        for candidate in self._choosing.others(call):
            aimed = self._choosing.intake.aim(call, candidate)
            if not isinstance(aimed, Call):
                continue
            permit = self._choosing.acquire(aimed)
            if isinstance(permit, Permit):
                race.candidate = candidate
                work = self._run(race, progress, aimed, base, permit)
                race.task = self._tasks.run(work, "ask another target beside")
                return

    async def _run(
        self, race: Race, progress: Progress, aimed: Call, base: Base | None, permit: Permit
    ) -> None:
        try:
            other = await self._booking.beside(progress, aimed, base)
        except BaseException:
            permit.dropped()
            raise
        if other is None:
            permit.dropped()
            return
        race.other = other
        self._budget.called(aimed.upstream.name, aimed.policy.retries.ratio)
        race.arrived(await self._asking.sender.once(other, base, permit))

    def _adopted(self, race: Race, progress: Progress, failure: Failure) -> Opened:
        """The second attempt is the call's from now on; what the first came to is booked."""
        came, other = race.came, race.other
        assert other is not None
        assert isinstance(came, Whole | Begun)
        race.is_closed, race.task = True, None
        self._booking.over(progress, failure)
        self._booking.adopt(progress, other)
        return came

    def _end(self, race: Race, progress: Progress) -> None:
        """The second attempt, if there is one, is nobody's."""
        race.is_closed = True
        task, race.task = race.task, None
        if task is not None:
            task.cancel()
        came, other = race.came, race.other
        if isinstance(came, Whole | Begun):
            came.close()
        if other is not None and not (isinstance(came, Failed) and not came.asked):
            self._booking.lost(progress, other, _failure(came), came)


def _failure(came: Opened | Failed | None) -> Failure:
    """Why the second attempt is not the call's."""
    match came:
        case Failed():
            return came.failure
        case Refused():
            return Failure("error", f"answered {came.status}", came.status, sent=False)
        case Whole() | Begun() | None:
            return _OVERTAKEN
        case _:
            assert_never(came)
