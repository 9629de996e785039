"""A session that is over, as the facts that a log has of it, wherever they come from."""

from collections.abc import Sequence
from dataclasses import dataclass

from proxy.core.events import AnyEvent, StepReserved


@dataclass(frozen=True, slots=True)
class Recorded:
    """One generation of one session.

    group: what it is counted with (the file, the agent). success: whether it did its task, None
    where nobody said. events: its log, beginning with SessionOpened. coda: the request that would
    have come next. is_timed: whether the times are true; without, nothing that needs a clock is
    judged. runaway: the step that asked for the fifth of five or more consecutive identical calls,
    None where there is none or nobody looked. unpriced, guessed: steps whose cost is not known, or
    is reckoned from sizes.
    """

    name: str
    group: str
    events: Sequence[AnyEvent]
    tenant: str = ""
    agent: str | None = None
    success: bool | None = None
    coda: StepReserved | None = None
    is_timed: bool = True
    runaway: int | None = None
    unpriced: int = 0
    guessed: int = 0
