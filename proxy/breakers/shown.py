"""How breakers stand, for those who watch: log, live events, metrics."""

import logging
import math
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from proxy.breakers.breaker import Breaker
from proxy.breakers.keeping import Keeper, Notice
from proxy.clock import Clock
from proxy.core.breaking import Phase, Standing

log = logging.getLogger(__name__)

Facts = dict[str, object]
STATES: Final[dict[Phase, int]] = {"closed": 0, "half-open": 1, "open": 2}
CREDENTIAL_SHOWN: Final = 12
"""Hexadecimal digits of a digest: enough to tell callers apart."""


class BreakerStates(Collector):
    """`holdfast_breaker_state`, at each scrape. Labels are the policy's words: models that clients
    name are one, with the worst state of them. What is a caller's own is not shown."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    def collect(self) -> Iterator[Metric]:
        name, text = "holdfast_breaker_state", "0 closed, 1 half-open, 2 open."
        family = GaugeMetricFamily(name, text, labels=["upstream", "model"])
        now = self._keeper.clock.monotonic()
        worst: dict[tuple[str, str], int] = {}
        for breaker in self._keeper.shared.breakers.values():
            labels = (breaker.key.upstream, breaker.key.model if breaker.named else "")
            state = STATES[breaker.phase(now)]
            worst[labels] = max(worst.get(labels, 0), state)
        for labels, state in worst.items():
            family.add_metric(labels, state)
        yield family


def noticing(clock: Clock, watch: Callable[[Facts], None]) -> Notice:
    """Logs each opening and closing, and shows it to `watch`."""

    def notice(breaker: Breaker, was: Standing) -> None:
        if was.generation == breaker.generation:  # it waits for longer
            return
        facts = facts_of(breaker, clock.monotonic())
        watch({"type": "BreakerChanged", "at": clock.now(), **facts})
        if breaker.is_open:
            log.warning("a breaker opened", extra=facts)
        elif was.is_open:
            log.info("a breaker closed", extra=facts)

    return notice


def facts_of(breaker: Breaker, now: float) -> Facts:
    """What has become of it. seconds: until one call may try; None where a human has to close it,
    or nothing is to be waited for."""
    standing, key = breaker.standing, breaker.key
    seconds = standing.until - now if standing.is_open else math.inf
    return {
        "upstream": key.upstream,
        "model": key.model,
        "credential": key.credential.hex()[:CREDENTIAL_SHOWN] or None,
        "state": breaker.phase(now),
        "why": standing.why if standing.is_open else None,
        "by_hand": standing.by_hand,
        "seconds": round(max(0.0, seconds), 3) if seconds < math.inf else None,
    }
