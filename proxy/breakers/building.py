"""The breakers of one process, put together."""

import random
from collections.abc import Callable

from prometheus_client import CollectorRegistry

from proxy.breakers.keeping import Keeper, PolicySource, Telling
from proxy.breakers.registry import Breakers
from proxy.breakers.shown import BreakerStates, Facts, noticing
from proxy.breakers.telling import Alone, ToCrew
from proxy.clock import Clock
from proxy.tasks import Tasks
from proxy.workers.peers import FolderPeers, Peers
from proxy.workers.seat import Seat


def build_breakers(
    policy: PolicySource,
    clock: Clock,
    seat: Seat | None,
    peers: Peers,
    tasks: Tasks,
    watch: Callable[[Facts], None],
    registry: CollectorRegistry,
) -> Breakers:
    """Of one worker of several, where it has a seat, or of one replica. watch: is shown each that
    opens or closes."""
    is_alone = seat is None and isinstance(peers, FolderPeers)
    telling: Telling = Alone() if is_alone else ToCrew(peers, tasks)
    places = None if seat is None else seat.shared.places
    chance = random.Random().random  # noqa: S311 - spreads waits; no secret
    keeper = Keeper(policy, clock, chance, telling, places, noticing(clock, watch))
    registry.register(BreakerStates(keeper))
    return Breakers(keeper)
