"""Sessions of a ledger, as they are in its log: facts, so another policy can be laid over them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from proxy.core.events import AnyEvent, SessionOpened, StepReserved
from proxy.core.session import SessionKey
from proxy.dry_run.recorded import Recorded
from proxy.stores.sqlite_reading import read_sessions

NO_AGENT = "-"


def recorded_in(ledger: Path) -> Iterator[Recorded]:
    """Every generation of every session that made a call. Raises StoreUnavailable."""
    for key, log in read_sessions(ledger):
        for number, events in enumerate(_generations(log), 1):
            if any(isinstance(event, StepReserved) for event in events):
                yield _recorded(key, events, number)


def _recorded(key: SessionKey, events: Sequence[AnyEvent], number: int) -> Recorded:
    opened = events[0]
    agent = opened.agent if isinstance(opened, SessionOpened) else None
    name = key.session if number == 1 else f"{key.session} (generation {number})"
    return Recorded(name, agent or NO_AGENT, events, key.tenant, agent)


def _generations(log: Sequence[AnyEvent]) -> Iterator[Sequence[AnyEvent]]:
    """What is counted together: an id that was idle for long begins anew."""
    starts = [at for at, event in enumerate(log) if isinstance(event, SessionOpened)] or [0]
    starts[0] = 0
    for start, end in zip(starts, [*starts[1:], len(log)], strict=True):
        yield log[start:end]
