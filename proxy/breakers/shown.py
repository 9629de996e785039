"""How breakers stand, for those who watch: log, live events, metrics."""

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from msgspec.structs import replace
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from proxy.breakers.breaker import Breaker, Key
from proxy.breakers.keeping import Keeper, Notice
from proxy.clock import Clock
from proxy.core.breaking import Phase, Standing, newest, phase_of
from proxy.workers.messages import BreakerNews

log = logging.getLogger(__name__)

Facts = dict[str, str | float | bool | None]
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
    """Logs each opening and closing, and shows it to `watch`. A caller's dead key is that caller's
    business: whoever makes up keys must not fill the log."""

    def notice(breaker: Breaker, was: Standing) -> None:
        if was.generation == breaker.generation:  # it waits for longer
            return
        facts = facts_of(breaker.key, breaker.standing, clock.monotonic())
        watch({"type": "BreakerChanged", "at": clock.now(), **facts})
        if breaker.key.credential:
            log.debug("a breaker of a caller's key turned", extra=facts)
        elif breaker.is_open:
            log.warning("a breaker opened", extra=facts)
        elif was.is_open:
            log.info("a breaker closed", extra=facts)

    return notice


def merged_news(of_workers: Iterable[tuple[BreakerNews, ...]]) -> list[BreakerNews]:
    """Each breaker once: as the newest word of it says, counted by all workers together."""
    merged: dict[tuple[str, str, bytes], BreakerNews] = {}
    for news in of_workers:
        for one in news:
            key = (one.upstream, one.model, one.credential)
            known = merged.get(key)
            merged[key] = one if known is None else _together(known, one)
    return list(merged.values())


def _together(one: BreakerNews, other: BreakerNews) -> BreakerNews:
    return replace(
        one,
        named=one.named or other.named,
        standing=newest(one.standing, other.standing),
        calls=one.calls + other.calls,
        failures=one.failures + other.failures,
        slow=one.slow + other.slow,
    )


def facts_of(key: Key, standing: Standing, now: float) -> Facts:
    """probe_in_seconds: until one call may try; None where a human has to close it, or nothing is
    to be waited for. openings: in a row, without a call that went well."""
    seconds = standing.until - now if standing.is_open else math.inf
    return {
        "upstream": key.upstream,
        "model": key.model,
        "credential": key.credential.hex()[:CREDENTIAL_SHOWN] or None,
        "state": phase_of(standing, now),
        "why": standing.why if standing.is_open else None,
        "by_hand": standing.by_hand,
        "probe_in_seconds": round(max(0.0, seconds), 3) if seconds < math.inf else None,
        "openings": standing.openings,
    }
