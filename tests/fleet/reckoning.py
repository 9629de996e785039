"""What the provider billed, against what the ledger booked: call by call, to the micro-dollar.

Each body that a client sends is like no other, so a call is known by it on both sides: by its bytes
in the provider's journal, by their digest in the ledger.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from proxy.core import events as ev
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.chat import CHAT
from proxy.core.session import SessionKey
from proxy.simulator import Entry
from proxy.stores import Store

Digest = bytes


def digest_of(body: bytes) -> Digest:
    """As a reservation names it."""
    return CHAT.parse(body, Bounds()).body_digest


@dataclass(frozen=True, slots=True)
class Lost:
    """A call whose end nobody saw: its hold was booked whole. In micro-USD. billed: by the provider
    for this body, less what the ledger has for other attempts of it."""

    session: str
    call_id: str
    owner: str
    hold: int
    billed: int

    def shown(self) -> str:
        return (
            f"{self.session} {self.call_id} of {self.owner}: hold ${self.hold / 1e6:.6f} booked,"
            f" ${self.billed / 1e6:.6f} billed"
        )


@dataclass(slots=True)
class Reckoning:
    """lost: all that explains why the ledger has more than was billed. unexplained: what differs
    besides; of sessions, in micro-USD, ledger less bill. outcomes: of settlements."""

    lost: list[Lost] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)

    @property
    def of_lost(self) -> int:
        """By how much the ledger has more for them, in micro-USD."""
        return sum(one.hold - one.billed for one in self.lost)

    def shown(self) -> str:
        holds = sum(one.hold for one in self.lost) / 1e6
        return (
            f"${self.of_lost / 1e6:.6f} more, for {len(self.lost)} calls whose end nobody saw, with"
            f" holds of ${holds:.6f}; {len(self.unexplained)} differences besides"
        )


@dataclass(slots=True)
class _Calls:
    """Of one body: what was reserved and settled for it."""

    booked: int = 0
    lost: list[tuple[SessionKey, ev.StepReserved, int]] = field(default_factory=list)
    session: str = "none"


async def reckon(store: Store, keys: Iterable[SessionKey], journal: Iterable[Entry]) -> Reckoning:
    told = Reckoning()
    calls: dict[Digest, _Calls] = defaultdict(_Calls)
    for key in keys:
        _read(key, [stored.event for stored in await store.read(key)], calls, told)
    billed: Counter[Digest] = Counter()
    for entry in journal:
        billed[digest_of(entry.body)] += entry.cost_micro_usd or 0
    for digest in calls.keys() | billed.keys():
        of_one = calls[digest]
        booked_else = of_one.booked - sum(hold for _, _, hold in of_one.lost)
        rest = billed[digest] - booked_else
        if not of_one.lost and rest:
            told.unexplained.append(f"{of_one.session}: {-rest}")
        for place, (key, reserved, hold) in enumerate(of_one.lost):
            part = rest if place == len(of_one.lost) - 1 else min(rest, hold)
            rest -= part
            told.lost.append(Lost(key.session, reserved.call_id, reserved.owner, hold, part))
            if not 0 <= part <= hold:
                told.unexplained.append(f"{key.session}: hold {hold}, billed {part}")
    return told


def _read(
    key: SessionKey, log: list[ev.AnyEvent], calls: dict[Digest, _Calls], told: Reckoning
) -> None:
    reserved: dict[str, ev.StepReserved] = {}
    for event in log:
        if isinstance(event, ev.StepReserved):
            reserved[event.call_id] = event
        elif isinstance(event, ev.StepSettled):
            of_one = calls[reserved[event.call_id].body_digest]
            of_one.session = key.session
            of_one.booked += event.cost_micro_usd
            told.outcomes[event.outcome] += 1
            if event.outcome == "expired":
                of_one.lost.append((key, reserved[event.call_id], event.cost_micro_usd))
