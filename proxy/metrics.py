"""Prometheus metrics. Labels come from the policy and from closed lists, never from a client."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from proxy.config.watch import ReloadOutcome
from proxy.core import events as ev
from proxy.core.policy import MICRO
from proxy.core.session import SessionKey, SessionState
from proxy.records import CallRecord

_FAST = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1.0)
_SLOW = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_STEPS = (1, 2, 5, 10, 20, 50, 100, 150, 300, 1000)


class Metrics:
    """One registry of its own, so that two apps in one process do not share counters."""

    def __init__(self, holds: Callable[[], int], streams: Callable[[], int]) -> None:
        self.registry = registry = CollectorRegistry()
        self._requests = Counter(
            "holdfast_requests",
            "Requests answered.",
            ("endpoint", "upstream", "stream", "status"),
            registry=registry,
        )
        self._decisions = Counter(
            "holdfast_decisions", "Decisions made.", ("decision", "reason"), registry=registry
        )
        self._overhead = Histogram(
            "holdfast_overhead_seconds",
            "From a whole request to its forwarding.",
            buckets=_FAST,
            registry=registry,
        )
        self._first_token = Histogram(
            "holdfast_time_to_first_token_seconds",
            "From forwarding to the first byte of the answer.",
            ("upstream",),
            buckets=_SLOW,
            registry=registry,
        )
        self._tokens = Counter(
            "holdfast_tokens", "Tokens settled.", ("kind", "upstream"), registry=registry
        )
        self._cost = Counter("holdfast_cost_usd", "Settled cost.", ("upstream",), registry=registry)
        self._overspend = Counter(
            "holdfast_overspend_usd", "Billed past what was held.", ("upstream",), registry=registry
        )
        self._steps = Histogram(
            "holdfast_steps_per_session",
            "Steps of sessions that have ended.",
            buckets=_STEPS,
            registry=registry,
        )
        self._tool_calls = Counter(
            "holdfast_tool_calls", "Tool calls that answers asked for.", registry=registry
        )
        self._store = Histogram(
            "holdfast_store_seconds", "One append to the store.", buckets=_FAST, registry=registry
        )
        gauge = Gauge("holdfast_holds", "Calls that hold money now.", registry=registry)
        gauge.set_function(holds)
        gauge = Gauge("holdfast_active_streams", "Streams in flight.", registry=registry)
        gauge.set_function(streams)

    def render(self) -> bytes:
        """The text exposition."""
        return generate_latest(self.registry)

    def observe_call(self, call: CallRecord) -> None:
        """Counts one request."""
        stream = "true" if call.stream else "false"
        self._requests.labels(call.dialect, call.upstream, stream, str(call.status)).inc()
        self._decisions.labels(call.decision, call.reason).inc()
        if call.overhead_seconds is not None:
            self._overhead.observe(call.overhead_seconds)
        if call.first_byte_seconds is not None:
            self._first_token.labels(call.upstream).observe(call.first_byte_seconds)
        if call.outcome is not None:
            self._count_money(call)

    def _count_money(self, call: CallRecord) -> None:
        self._cost.labels(call.upstream).inc(call.cost_micro_usd / MICRO)
        if call.overspend_micro_usd:
            self._overspend.labels(call.upstream).inc(call.overspend_micro_usd / MICRO)
        self._tool_calls.inc(len(call.tool_calls))
        if call.usage is None:
            return
        kinds = {
            "input": call.usage.input_tokens,
            "cache_read": call.usage.cache_read_tokens,
            "cache_write": call.usage.cache_write_tokens + call.usage.cache_write_1h_tokens,
            "output": call.usage.output_tokens,
            "reasoning": call.usage.reasoning_tokens,
        }
        for kind, tokens in kinds.items():
            if tokens:
                self._tokens.labels(kind, call.upstream).inc(tokens)

    def observe_event(self, key: SessionKey, event: ev.AnyEvent, state: SessionState) -> None:
        """Counts what only the log knows."""
        if isinstance(event, ev.SessionFinished | ev.SessionKilled):
            self._steps.observe(state.steps)
        if isinstance(event, ev.StepSettled) and event.outcome == "expired":
            self._cost.labels("").inc(event.cost_micro_usd / MICRO)

    def count_reloads(self, outcomes: Mapping[ReloadOutcome, int]) -> None:
        """Shows a count of reloads by outcome that somebody else keeps."""
        self.registry.register(_Reloads(outcomes))

    def observe_store(self, seconds: float) -> None:
        self._store.observe(seconds)


class _Reloads(Collector):
    """Reads the policy watcher's own count at each scrape."""

    def __init__(self, outcomes: Mapping[ReloadOutcome, int]) -> None:
        self._outcomes = outcomes

    def collect(self) -> Iterator[Metric]:
        name, text = "holdfast_policy_reloads", "Reloads of the policy."
        family = CounterMetricFamily(name, text, labels=["outcome"])
        for outcome, count in self._outcomes.items():
            family.add_metric([outcome], count)
        yield family
