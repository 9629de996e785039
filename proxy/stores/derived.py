"""Whether what a store keeps of a session beside its log is what the log says: its open holds, and
what its listing shows. Pure. No chain has those: they are told anew from the events."""

from collections.abc import Iterator

import msgspec

from proxy.stores import DELETED, Hold, SessionHead
from proxy.stores.heads import head_of
from proxy.stores.queue import queued
from proxy.stores.recount import Recount
from proxy.stores.verification import Fault, SessionLog

_AHEAD_SECONDS = 86_400
_HOLD_FIELDS = {
    "owner": "is owned by {}",
    "deadline": "has the deadline {}",
    "cost_micro_usd": "holds {} USD",
    "accounts": "is charged to {}",
    "tokens": "holds {} tokens",
    "trees": "counts in the trees {}",
}


def usd(micro: int) -> str:
    """As decimals, exactly."""
    return f"{'-' * (micro < 0)}{abs(micro) // 1_000_000}.{abs(micro) % 1_000_000:06d}"


def derived_faults(log: SessionLog, recount: Recount) -> Iterator[Fault]:
    """All that differs, of a session whose events verify."""
    yield from _in_holds(log, recount)
    yield from _in_listing(log, recount)


def _in_holds(log: SessionLog, recount: Recount) -> Iterator[Fault]:
    if log.holds is None:
        return
    for call_id, hold in recount.holds.items():
        there, seq = log.holds.get(call_id), recount.opened[call_id]
        if there is None:
            detail = f"what call {call_id} holds ({usd(hold.cost_micro_usd)} USD) is missing"
            yield Fault(log.key, seq, "StepReserved", "hold deleted", detail)
        elif there != hold:
            detail = f"call {call_id} {_difference(there, hold)}"
            yield Fault(log.key, seq, "StepReserved", "hold altered", detail)
    for call_id in log.holds.keys() - recount.holds.keys():
        detail = f"call {call_id} holds something, and no event says that it is in flight"
        yield Fault(log.key, log.tip[0], "", "hold inserted", detail)


def _difference(there: Hold, hold: Hold) -> str:
    """The first field that is another."""
    for name, says in _HOLD_FIELDS.items():
        has, said = getattr(there, name), getattr(hold, name)
        if has != said:
            return f"{says.format(_shown(name, has))}, its events say {_shown(name, said)}"
    return "holds something else"


def _in_listing(log: SessionLog, recount: Recount) -> Iterator[Fault]:
    """Nothing where its writer did not know all of the log: then it is mended soon."""
    if log.odd:
        yield _of_listing(log, log.odd)
    head = log.head
    if head is None or head.seq != log.tip[0] or not log.rows:
        return
    said = _expected(head, recount)
    for name in said.__struct_fields__:
        has, says = getattr(head, name), getattr(said, name)
        if has != says:
            shown = f"{_shown(name, has)}, its events say {_shown(name, says)}"
            yield _of_listing(log, f"{_words(name)} is shown as {shown}")


def _of_listing(log: SessionLog, detail: str) -> Fault:
    return Fault(log.key, log.tip[0], "", "listing altered", detail)


def _expected(head: SessionHead, recount: Recount) -> SessionHead:
    """The head that the log makes. Of a deleted session nothing tells the figures."""
    state = recount.state
    if recount.deleted is not None and state.is_new:
        at = max(head.updated_at, recount.deleted.at)
        return msgspec.structs.replace(
            head, state=DELETED, held_micro_usd=0, updated_at=at, waits=(), stands=(), owed=()
        )
    # An append that was refused may have left its time, by a clock that was ahead.
    at = min(max(head.updated_at, state.updated_at), recount.newest + _AHEAD_SECONDS)
    said = msgspec.structs.replace(head_of(state), updated_at=at, seq=head.seq)
    return queued(recount.queue, said, ())


def _words(name: str) -> str:
    return name.removesuffix("_micro_usd").replace("_", " ")


def _shown(name: str, value: object) -> str:
    if name.endswith("_micro_usd") and isinstance(value, int):
        return usd(value)
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
