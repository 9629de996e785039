"""What a call has come to that is under way."""

from types import SimpleNamespace
from typing import cast

import pytest

from proxy.calls import LiveCall
from proxy.core.decision import Admit
from proxy.core.dialects.base import Meter
from proxy.core.pricing import Price, Rates
from proxy.core.session import EMPTY
from proxy.intake import Call
from proxy.progress import Progress
from proxy.reservation import Admitted, Settlement

MICRO_USD = 1_000_000
"""In millionths of that: what a token costs."""
PRICE = Price(Rates(*[MICRO_USD] * 8), source="policy")


def cut(read: int, part: float, *, bound: int | None = None, hold: int = 100) -> Progress:
    """A stream whose budget has cut it after so many tokens, each a micro-USD, with its hold of 10
    for the input; of what was read so large a part had come beside it."""
    request = SimpleNamespace(output_bound=bound, exposure=SimpleNamespace(terms=()))
    rules = SimpleNamespace(loops=None)
    call = SimpleNamespace(ask=None, request=request, rules=rules, price=PRICE)
    admitted = Admitted(Admit(1, hold, 10, hold - 10), EMPTY, bound or 1_000)
    progress = Progress(cast("Call", call), admitted, cast("LiveCall", None), "req_1")
    meter = SimpleNamespace(usage=None, output_tokens_counted=read, output_tokens_least=read)
    progress.meter = cast("Meter", meter)
    progress.settled = Settlement("cut", 200, 10 + read, None, 10 + read)
    progress.unread_part = part
    return progress


@pytest.mark.parametrize(
    ("progress", "overspend"),
    [
        (cut(80, 0.0), 0),
        (cut(95, 0.0), 5),
        (cut(80, 0.5), 40),
        (cut(95, 1.0), 5 + 95),
        (cut(3, 0.1), 1),
        (cut(80, 0.5, bound=200), 40),
        (cut(80, 0.5, bound=90), 10),
        (cut(80, 9.0, bound=90), 10),
        (cut(600, 1.0), 510 + 600),
    ],
    ids=[
        "inside its hold",
        "past its hold",
        "unread",
        "both",
        "a part of a token",
        "inside its bound",
        "to its bound",
        "far past its bound",
        "without a bound",
    ],
)
def test_overspend_is_what_was_billed_past_the_hold_or_the_book(
    progress: Progress, overspend: int
) -> None:
    """What came unread when the budget cut a stream is in no book. A provider that was given a
    bound is not said to have passed it for what we only estimate."""
    assert progress.overspend_micro_usd == overspend


def test_another_attempt_has_read_all_that_came() -> None:
    """What the one before it had not read is not of its rate."""
    progress = cut(80, 0.5)
    meter = progress.meter
    progress.anew()
    progress.meter = meter

    assert progress.overspend_micro_usd == 0


def test_what_was_kept_and_is_given_again_is_nobody_s_bill() -> None:
    """However it ends."""
    progress = cut(80, 0.5)
    progress.unpaid = True

    assert progress.overspend_micro_usd == 0
