"""One target asked: once, and again without what it would not take."""

from proxy.attempting.amending import amended, refused_in
from proxy.attempting.booking import Booking
from proxy.attempting.choosing import Choosing
from proxy.attempting.opened import Opened, Refused
from proxy.attempting.sending import Elsewhere, Failed, Sender
from proxy.breakers.breaker import Shut
from proxy.breakers.permits import Permit
from proxy.core.failures import Failure
from proxy.outbound import Base
from proxy.progress import Progress


class Asking:
    """Shared by all calls."""

    def __init__(self, choosing: Choosing, sender: Sender, booking: Booking) -> None:
        self._choosing = choosing
        self._booking = booking
        self.sender = sender

    async def ask(
        self, progress: Progress, base: Base | None, permit: Permit, elsewhere: Elsewhere = None
    ) -> Opened | Failed:
        """The target that the call is aimed at, with leave to ask it."""
        came = await self.sender.once(progress, base, permit, elsewhere)
        while (refused := refused_in(came)) is not None:
            base = amended(progress.call, progress.admitted.admit, base, refused)
            if base is None:
                break
            again = self._choosing.acquire(progress.call)
            if isinstance(again, Shut):
                break
            self._booking.over(progress, _failure(came, refused))
            came = await self.sender.once(progress, base, again, elsewhere)
        return came


def _failure(came: Opened | Failed, refused: Refused) -> Failure:
    if isinstance(came, Failed):
        return came.failure
    return Failure("error", f"answered {refused.status}", refused.status, sent=False)
