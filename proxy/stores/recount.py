"""What a session's log says of all that a store keeps beside it: its open holds, what its listing
shows, and what it was charged with on which accounts. Pure."""

from collections.abc import Mapping, Sequence

import msgspec

from proxy.core import events as ev
from proxy.core.session import SessionState, fold
from proxy.stores import Hold, SessionHead
from proxy.stores.chain import ChainedPayload
from proxy.stores.codec import decode_event
from proxy.stores.queue import queued


class Charged(msgspec.Struct, gc=False):
    """What the calls of a log come to on one account; in micro-USD. The counts are of trees.
    held_tokens, calls, held: of those in flight. since, until: of the first and the last event that
    moved something, epoch seconds."""

    spent: int = 0
    held: int = 0
    tokens: int = 0
    held_tokens: int = 0
    steps: int = 0
    tool_calls: int = 0
    calls: int = 0
    since: float = float("inf")
    until: float = 0.0


class Recount(msgspec.Struct, frozen=True, gc=False):
    """state: as folded. queue: a head of which only what stands in the queue counts. newest: the
    latest time of its events, epoch seconds. holds: the open ones, by call id; opened: the seq of
    each call's reservation. charged: by account. deleted: the tombstone that the log begins with.
    """

    state: SessionState
    queue: SessionHead
    newest: float
    holds: Mapping[str, Hold]
    opened: Mapping[str, int]
    charged: Mapping[str, Charged]
    deleted: ev.SessionDeleted | None


def recounted(rows: Sequence[ChainedPayload]) -> Recount:
    """Of a log that verifies. Raises StoreUnavailable for an event of a later version."""
    walk, events = _Walk(), [decode_event(row.payload) for row in rows]
    # What was charged before a log was imported was charged elsewhere; so with webhooks owed then.
    came = [at for at, event in enumerate(events) if isinstance(event, ev.SessionImported)]
    anew = max(came, default=0)
    for row, event in zip(rows[anew:], events[anew:], strict=True):
        walk.add(row.seq, event)
    before = queued(None, SessionHead(), events[:anew])
    first = events[0] if events else None
    return Recount(
        fold(events),
        queued(msgspec.structs.replace(before, owed=()), before, events[anew:]),
        max([event.at for event in events], default=0.0),
        walk.holds,
        walk.opened,
        walk.charged,
        first if isinstance(first, ev.SessionDeleted) else None,
    )


class _Walk:
    """Along a log, as `stores.effects` goes along appends."""

    def __init__(self) -> None:
        self.holds: dict[str, Hold] = {}
        self.opened: dict[str, int] = {}
        self.charged: dict[str, Charged] = {}
        self._retries: set[str] = set()

    def add(self, seq: int, event: ev.AnyEvent) -> None:
        match event:
            case ev.StepReserved():
                self._reserved(seq, event)
            case ev.HoldExtended():
                self._extended(event)
            case ev.StepSettled():
                self._settled(event)
            case ev.StepReleased():
                self._released(event)
            case _:
                pass

    def _reserved(self, seq: int, event: ev.StepReserved) -> None:
        cost, tokens = event.hold_cost_micro_usd, event.hold_tokens
        hold = Hold(event.owner, event.deadline, cost, event.accounts, tokens, event.trees)
        self.holds[event.call_id], self.opened[event.call_id] = hold, seq
        if event.retry:
            self._retries.add(event.call_id)
        for tree in self._charge(hold, event.at, held=cost):
            tree.held_tokens += tokens
            tree.calls += 1
            tree.steps += not event.retry

    def _extended(self, event: ev.HoldExtended) -> None:
        hold = self.holds.get(event.call_id)
        if hold is None:
            return
        cost, tokens = event.hold_cost_micro_usd, event.hold_tokens
        self.holds[event.call_id] = msgspec.structs.replace(
            hold, cost_micro_usd=hold.cost_micro_usd + cost, tokens=hold.tokens + tokens
        )
        for tree in self._charge(hold, event.at, held=cost):
            tree.held_tokens += tokens

    def _settled(self, event: ev.StepSettled) -> None:
        hold = self.holds.pop(event.call_id, None)
        if hold is None:
            return
        for tree in self._free(hold, event.at, event.cost_micro_usd):
            tree.tokens += event.tokens
            tree.tool_calls += len(event.tools)

    def _released(self, event: ev.StepReleased) -> None:
        hold = self.holds.pop(event.call_id, None)
        if hold is None:
            return
        for tree in self._free(hold, event.at):
            tree.steps -= event.call_id not in self._retries

    def _free(self, hold: Hold, at: float, spent: int = 0) -> list[Charged]:
        """A call is over; the trees that it counts in."""
        trees = self._charge(hold, at, held=-hold.cost_micro_usd, spent=spent)
        for tree in trees:
            tree.held_tokens -= hold.tokens
            tree.calls -= 1
        return trees

    def _charge(self, hold: Hold, at: float, *, held: int, spent: int = 0) -> list[Charged]:
        """Moves so much on every account of a call, its trees among them; the trees."""
        for name in (*hold.accounts, *hold.trees):
            charged = self.charged.setdefault(name, Charged())
            charged.held += held
            charged.spent += spent
            charged.since, charged.until = min(charged.since, at), max(charged.until, at)
        return [self.charged[name] for name in hold.trees]
