"""What carries guarded calls out, put together."""

from proxy.attempting.attempting import Attempting
from proxy.calls import Calls
from proxy.clock import Clock
from proxy.guard.attempts import GuardParts
from proxy.guard.calls import Guarded
from proxy.guard.recall import Recall
from proxy.handoff import Handoffs
from proxy.ids import unique_ids
from proxy.intake import Intake
from proxy.ledger import Ledger
from proxy.settling import Settler


def build_guarded(
    owner: str,
    intake: Intake,
    ledger: Ledger,
    attempting: Attempting,
    settler: Settler,
    recall: Recall,
    calls: Calls,
    clock: Clock,
) -> Guarded:
    """owner: names the process in the handoffs that it begins."""
    handoffs = Handoffs(owner, clock, unique_ids("ho_"))
    return Guarded(GuardParts(intake, ledger, attempting, settler, recall, handoffs, calls, clock))
