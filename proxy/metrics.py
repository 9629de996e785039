"""Prometheus metrics. Labels come from the policy and from closed lists, never from a client."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from proxy.config.watch import ReloadOutcome
from proxy.core import events as ev
from proxy.core.policy import MICRO
from proxy.core.session import SessionKey, SessionState
from proxy.records import CallRecord
from proxy.tallies import Spread, Tally

_FAST = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1.0)
_SLOW = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_ENDS = (ev.SessionFinished, ev.SessionKilled)
_HUMAN = (10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0)
_CYCLES = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144)
_STEPS = (1, 2, 5, 10, 20, 50, 100, 150, 300, 1000)


class Metrics:
    """One registry of its own, so that two apps in one process do not share counters."""

    def __init__(self, holds: Callable[[], int], streams: Callable[[], int]) -> None:
        self.registry = registry = CollectorRegistry()
        self._requests = Tally(
            "holdfast_requests",
            "Requests answered.",
            ("endpoint", "upstream", "stream", "status"),
        )
        self._decisions = Tally("holdfast_decisions", "Decisions made.", ("decision", "reason"))
        self._overhead = Spread(
            "holdfast_overhead_seconds", "From a whole request to its forwarding.", _FAST
        )
        self._first_token = Spread(
            "holdfast_time_to_first_token_seconds",
            "From forwarding to the first byte of the answer.",
            _SLOW,
            ("upstream",),
        )
        self._tokens = Tally("holdfast_tokens", "Tokens settled.", ("kind", "upstream"))
        self._cost = Tally("holdfast_cost_usd", "Settled cost.", ("upstream",))
        self._overspend = Tally(
            "holdfast_overspend_usd", "Billed past what was held or booked.", ("upstream",)
        )
        self._steps = Spread(
            "holdfast_steps_per_session", "Steps of sessions that have ended.", _STEPS
        )
        self._tool_calls = Tally("holdfast_tool_calls", "Tool calls that answers asked for.")
        self._replays = Tally(
            "holdfast_replays",
            "Given again: results to models, answers to SDKs and agents.",
            ("kind",),
        )
        self._repeats = Tally(
            "holdfast_tool_repeats", "Turns that went on with a loop, by its detector.", ("kind",)
        )
        self._retries = Tally("holdfast_retries", "Attempts more at a target.", ("upstream",))
        self._fallbacks = Tally(
            "holdfast_fallbacks", "Calls that another target was asked for.", ("reason",)
        )
        self._cycles = Spread(
            "holdfast_tool_call_cycles_per_request",
            "Turns that called tools and came back, in a request's history since its user spoke.",
            _CYCLES,
        )
        self._store = Spread("holdfast_store_seconds", "One append to the store.", _FAST)
        self._let_through = Tally(
            "holdfast_store_open_calls", "Calls let through while the store was away."
        )
        self._handoffs = Tally(
            "holdfast_handoffs", "Sessions that began to wait for a human.", ("reason",)
        )
        self._answers = Spread(
            "holdfast_handoff_answer_seconds",
            "From a handoff to its human's answer.",
            _HUMAN,
            ("action",),
        )
        self._webhooks = Tally(
            "holdfast_webhooks", "Attempts to deliver a webhook.", ("format", "outcome")
        )
        for collector in (self._let_through, self._handoffs, self._answers, self._webhooks):
            registry.register(collector)
        for told in (self._repeats, self._cycles, self._retries, self._fallbacks):
            registry.register(told)
        counters = (self._requests, self._decisions, self._tokens, self._cost, self._overspend)
        spreads = (self._overhead, self._first_token, self._steps, self._store)
        for collector in (*counters, self._tool_calls, self._replays, *spreads):
            registry.register(collector)
        gauge = Gauge("holdfast_holds", "Calls that hold money now.", registry=registry)
        gauge.set_function(holds)
        gauge = Gauge("holdfast_active_streams", "Streams in flight.", registry=registry)
        gauge.set_function(streams)

    def watch_store(self, waiting: Callable[[], int]) -> None:
        """waiting: appends that the store does not have yet."""
        said = "Appends made while the store was away, which it does not have yet."
        gauge = Gauge("holdfast_store_spooled", said, registry=self.registry)
        gauge.set_function(waiting)

    def observe_let_through(self) -> None:
        """Counts a call that the store does not know of yet."""
        self._let_through.add(())

    def render(self) -> bytes:
        """The text exposition."""
        return generate_latest(self.registry)

    def observe_call(self, call: CallRecord) -> None:
        """Counts one request."""
        stream = "true" if call.stream else "false"
        self._requests.add((call.dialect, call.upstream, stream, str(call.status)))
        self._decisions.add((call.decision, call.reason))
        self._count_again(call)
        if call.overhead_seconds is not None:
            self._overhead.observe(call.overhead_seconds)
        if call.first_byte_seconds is not None:
            self._first_token.observe(call.first_byte_seconds, (call.upstream,))
        if call.outcome is not None:
            self._count_money(call)

    def _count_again(self, call: CallRecord) -> None:
        if call.retries:
            self._retries.add((call.upstream,), call.retries)
        for reason in call.fallbacks:
            self._fallbacks.add((reason,))
        if call.replays:
            self._replays.add(("result",), call.replays)
        elif call.decision == "replay":
            self._replays.add(("step" if call.replay else "answer",))
        if call.cycles is not None:
            self._cycles.observe(call.cycles)
        if call.repeats:
            self._repeats.add((call.repeats,))

    def _count_money(self, call: CallRecord) -> None:
        upstream = call.upstream
        self._cost.add((upstream,), call.cost_micro_usd / MICRO)
        if call.overspend_micro_usd:
            self._overspend.add((upstream,), call.overspend_micro_usd / MICRO)
        if call.tool_calls:
            self._tool_calls.add((), len(call.tool_calls))
        usage = call.usage
        if usage is None:
            return
        self._count_tokens("input", upstream, usage.input_tokens)
        self._count_tokens("cache_read", upstream, usage.cache_read_tokens)
        written = usage.cache_write_tokens + usage.cache_write_1h_tokens
        self._count_tokens("cache_write", upstream, written)
        self._count_tokens("output", upstream, usage.output_tokens)
        self._count_tokens("reasoning", upstream, usage.reasoning_tokens)

    def _count_tokens(self, kind: str, upstream: str, tokens: int) -> None:
        if tokens > 0:
            self._tokens.add((kind, upstream), tokens)

    def observe_event(self, key: SessionKey, event: ev.AnyEvent, state: SessionState) -> None:
        """Counts what only the log knows."""
        if isinstance(event, ev.StepSettled):
            if event.outcome == "expired":
                self._cost.add(("",), event.cost_micro_usd / MICRO)
        elif isinstance(event, _ENDS):
            self._steps.observe(state.steps)
        elif isinstance(event, ev.HandedOff):
            if event.blocking:
                self._handoffs.add((event.code,))
        elif isinstance(event, ev.HandoffAnswered) and event.waited_seconds:
            self._answers.observe(event.waited_seconds, (event.action,))

    def observe_webhook(self, shape: str, outcome: str) -> None:
        """Counts one attempt; outcome: delivered or failed."""
        self._webhooks.add((shape, outcome))

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
