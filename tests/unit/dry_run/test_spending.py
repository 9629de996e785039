"""What a recorded run cost: its own figures first, then the price table, then its size."""

import json

import pytest

from proxy.config import parse_policy
from proxy.dry_run.spending import Paid, Prices
from proxy.dry_run.trajectory import read_trajectory, steps_of
from proxy.prices.book import PriceBook
from proxy.prices.table import load_table
from tests.fakes import FakeClock

PRICES = 'prices: {"mine": {input: 1, output: 10}}\n'
ANSWER = {"role": "assistant", "content": "y" * 40}
MESSAGES = [
    {"role": "user", "content": "x" * 400},
    ANSWER,
    {"role": "user", "content": "?"},
    ANSWER,
]
USAGE = {"prompt_tokens": 100, "completion_tokens": 20}


def paid(**members: object) -> list[Paid]:
    line = {"messages": MESSAGES, "model": "mine", **members}
    run = read_trajectory(json.dumps(line).encode())
    policy = parse_policy(PRICES, "p.yaml", {}).policy
    return Prices(policy, PriceBook(load_table(), FakeClock())).paid(run, steps_of(run.messages))


def costs(**members: object) -> list[int | None]:
    return [one.cost_micro_usd for one in paid(**members)]


def test_a_recorded_cost_wins() -> None:
    """What was billed is what would have been saved."""
    assert costs(usage=[{**USAGE, "cost": 0.01}, {"usage": USAGE, "cost": 0.02}]) == [
        10_000,
        20_000,
    ]


def test_tokens_are_priced_by_the_policy_and_then_by_the_table() -> None:
    assert costs(usage=[USAGE, USAGE]) == [300, 300]
    assert costs(usage=[USAGE, USAGE], model="gpt-4o") == [450, 450]


def test_figures_are_matched_by_message_or_in_their_order() -> None:
    """Exports count messages from nought, the system's included."""
    by_place = [{"i": 3, "usage": {**USAGE, "cost": 0.3}}]

    assert costs(usage=by_place)[1] == 300_000
    assert costs(usage=[{**USAGE, "cost": 0.3}])[0] == 300_000


def test_without_usage_the_size_is_priced_and_called_a_guess() -> None:
    """A token for four characters: history is sent again with each call."""
    first, second = paid()

    assert (first.usage.input_tokens, first.usage.output_tokens) == (100, 10)
    assert (second.usage.input_tokens, second.usage.output_tokens) == (110, 10)
    assert first.cost_micro_usd == 200
    assert first.is_guess
    assert not any(one.is_guess for one in paid(usage=[USAGE, USAGE]))


@pytest.mark.parametrize("usage", [None, [USAGE, USAGE], USAGE])
def test_an_unknown_price_is_not_nought(usage: object) -> None:
    assert costs(model="nobody-knows-it", usage=usage) == [None, None]


def test_figures_of_the_whole_run_are_shared_out() -> None:
    """To the last millionth, whatever their number."""
    assert costs(cost=0.000003) == [1, 2]
    assert costs(usage=USAGE) == [150, 150]
    assert costs(usage={**USAGE, "cost": 1}) == [500_000, 500_000]
    assert [one.usage.total_tokens for one in paid(usage=USAGE, cost=1)] == [60, 60]
    assert all(one.is_guess for one in paid(cost=1))
