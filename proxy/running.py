"""The calls of this process between their reservation and their settlement."""

from collections.abc import Callable
from dataclasses import dataclass

from msgspec.structs import replace

from proxy.core.ask import Account, Ask
from proxy.core.limits.rooms import Place
from proxy.core.policy import Limits
from proxy.reservation import Reservation, place_of


@dataclass(slots=True, eq=False)
class Running:
    """One of them. input_tokens: as held. places: where it holds something. trees: those that it
    counts in, with the limits that count it. cut: ends it to make room for others; None where it
    may not be."""

    want: Reservation
    accounts: tuple[Account, ...]
    input_tokens: int
    places: tuple[Place, ...]
    trees: tuple[tuple[str, Limits], ...] = ()
    cut: Callable[[], None] | None = None


class RunningCalls(dict[str, Running]):
    """By call id, in the order of their admission."""

    def may_cut(self, call_id: str, cut: Callable[[], None]) -> None:
        """The call may be cut to make room for an older one's answer."""
        running = self.get(call_id)
        if running is not None:
            running.cut = cut

    def aim(self, call_id: str, ask: Ask, input_tokens: int) -> None:
        """The call asks for this now, and so much of what it holds is not for the output of that:
        what it may hold more is reckoned from it."""
        running = self.get(call_id)
        if running is not None:
            running.want = replace(running.want, ask=ask)
            running.input_tokens = input_tokens

    def newest_at(self, call_id: str, place: Place) -> Running:
        """The newest call that may be cut and holds something at this place of the call's: maybe
        the call itself."""
        newest = self[call_id]
        where = place_of(newest.want.key, place)
        for running in self.values():
            if running.cut is not None and where in running.places:
                newest = running
        return newest
