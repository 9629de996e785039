"""The attempts of all calls of a process, put together."""

import random

from proxy.attempting.asking import Asking
from proxy.attempting.attempting import Attempting
from proxy.attempting.booking import Booking
from proxy.attempting.choosing import Choosing
from proxy.attempting.course import CourseParts
from proxy.attempting.hedging import Hedging
from proxy.attempting.sending import Sender
from proxy.breakers.registry import Breakers
from proxy.clock import Clock
from proxy.intake import Intake
from proxy.ledger import Ledger
from proxy.retrying import RetryBudget
from proxy.settling import Settler
from proxy.wire import Upstreams


def build_attempting(
    upstreams: Upstreams,
    breakers: Breakers,
    intake: Intake,
    ledger: Ledger,
    settler: Settler,
    clock: Clock,
) -> Attempting:
    """Belongs to the event loop that it is built on."""
    choosing, booking = Choosing(breakers, intake), Booking(intake, ledger, settler, clock)
    parts = CourseParts(
        choosing=choosing,
        asking=Asking(choosing, Sender(upstreams, clock), booking),
        booking=booking,
        budget=RetryBudget(),
        clock=clock,
        chance=random.SystemRandom().random,
    )
    hedging = Hedging(choosing, parts.asking, booking, parts.budget)
    return Attempting(parts, hedging, ledger)
