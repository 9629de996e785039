"""What the ledger is asked to hold, what it grants, and what a call came to: values only."""

from dataclasses import dataclass

from proxy.core.ask import Account, Ask
from proxy.core.decision import Admit
from proxy.core.engine import Rules
from proxy.core.events import Outcome
from proxy.core.policy import Budget
from proxy.core.session import HeldCall, SessionKey, SessionState
from proxy.core.usage import Usage


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a call asks the ledger to hold.

    new: the session's id was made for this call. deadline_seconds: until when the call must have
    been settled, after now.
    """

    key: SessionKey
    call_id: str
    ask: Ask
    rules: Rules
    budgets: tuple[Budget, ...]
    agent: str | None
    parent: str | None
    source: str
    upstream: str
    deadline_seconds: float
    idle_seconds: int
    new: bool = False
    links: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Admitted:
    """An admitted call and the state of its session right after it."""

    admit: Admit
    state: SessionState


@dataclass(frozen=True, slots=True)
class Running:
    """A call of this process between its reservation and its settlement."""

    held: HeldCall
    want: Reservation
    accounts: tuple[Account, ...]


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a call came to."""

    outcome: Outcome
    status: int
    cost_micro_usd: int
    usage: Usage | None
    tokens: int
    tools: tuple[str, ...] = ()
    response_id: str | None = None
    links: tuple[bytes, ...] = ()
