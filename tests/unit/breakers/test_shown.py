"""What is told of breakers, and what is not."""

import logging
import math

import pytest

from proxy.breakers.shown import BreakerStates, Facts, facts_of, merged_news, noticing
from proxy.core.breaking import Standing, extended, opened
from proxy.core.failing import BreakerPolicy
from proxy.workers.messages import BreakerNews
from tests.unit.breakers.kit import Kit, candidate, failure

NOW = 1_000.0
OPEN = Standing(7, False, True, NOW + 12.5, 2, "failing", 6)
CLOSED = Standing(8, False, False, 0.0, 0, "failing", 7)


def news(standing: Standing, calls: int = 0, *, named: bool = False) -> BreakerNews:
    return BreakerNews("openai", "gpt-5", b"", named, standing, calls, calls // 2, calls // 4)


def test_what_workers_counted_is_added_and_the_newest_word_taken() -> None:
    others = BreakerNews("openai", "gpt-5", b"key", False, OPEN)
    one, two, three = news(OPEN, 4), news(CLOSED, 8, named=True), news(Standing(), 2)
    expected = BreakerNews("openai", "gpt-5", b"", True, CLOSED, 14, 7, 3)

    assert merged_news([(one, others), (two,), (three,)]) == [expected, others]
    assert merged_news([(three,), (two,), (one, others)]) == [expected, others]


@pytest.mark.parametrize(
    ("standing", "now", "state", "why", "seconds"),
    [
        (OPEN, NOW, "open", "failing", 12.5),
        (OPEN, NOW + 20, "half-open", "failing", 0.0),
        (CLOSED, NOW, "closed", None, None),
        (Standing(9, True, True, math.inf, 1, "manual"), NOW, "open", "manual", None),
    ],
)
def test_facts_say_when_the_next_call_may_try(
    standing: Standing, now: float, state: str, why: str | None, seconds: float | None
) -> None:
    facts = facts_of(Kit().keeper.meet(candidate()).key, standing, now)

    assert (facts["state"], facts["why"], facts["probe_in_seconds"]) == (state, why, seconds)


def test_a_callers_key_is_no_warning_and_no_label(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever makes up keys must not fill the log, nor the metrics."""
    caplog.set_level(logging.INFO)
    seen: list[Facts] = []
    kit = Kit()
    kit.keeper._notice = noticing(kit.clock, seen.append)
    secret = b"a digest of a secret"
    kit.permit(credential=secret).failed(failure("key"))

    assert [(one["type"], one["credential"]) for one in seen] == [
        ("BreakerChanged", secret.hex()[:12])
    ]
    assert caplog.records == []
    (family,) = BreakerStates(kit.keeper).collect()
    assert [(sample.labels, sample.value) for sample in family.samples] == [
        ({"upstream": "openai", "model": "gpt-5"}, 0)
    ]


def test_an_extension_is_not_told_anew(caplog: pytest.LogCaptureFixture) -> None:
    """A hundred stragglers that fail late are one opening."""
    kit, seen = Kit(), list[Facts]()
    kit.keeper._notice = noticing(kit.clock, seen.append)
    breaker, rules = kit.keeper.meet(candidate()), BreakerPolicy()
    kit.keeper.stand(breaker, opened(breaker.standing, rules, "failing", NOW, 0.0))
    kit.keeper.stand(breaker, extended(breaker.standing, rules, "failing", NOW + 5, 0.0))

    assert breaker.standing.until == NOW + 20
    assert len(seen) == len(caplog.records) == 1


def test_half_open_is_between() -> None:
    kit = Kit()
    kit.open()
    kit.clock.advance(15)
    (family,) = BreakerStates(kit.keeper).collect()

    assert [sample.value for sample in family.samples] == [1]
