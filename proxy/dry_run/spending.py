"""What each answer of a recorded run cost: as recorded, else by its tokens, else by its size."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from proxy.core.policy import Policy, Upstream
from proxy.core.pricing import Price, cost_micro_usd
from proxy.core.request import Message
from proxy.core.usage import Usage
from proxy.dry_run.trajectory import Spent, Trajectory
from proxy.prices.book import PriceBook

_NOWHERE: Final = Upstream("recorded", "http://recorded.invalid/v1")
"""Nobody's host: the price of a model's maker, else the dearest that anybody has of this name."""

_CHARACTERS_PER_TOKEN: Final = 4


class Paid(msgspec.Struct, frozen=True):
    """One answer. cost_micro_usd: None where neither a cost nor a price is known. is_guess: where
    only its size is known, or what all answers came to together."""

    usage: Usage
    cost_micro_usd: int | None
    is_guess: bool = False


class Prices:
    """Prices of models without an upstream, by the policy and the table."""

    def __init__(self, policy: Policy, book: PriceBook) -> None:
        self._policy = policy
        self._book = book

    def paid(self, run: Trajectory, steps: Sequence[int]) -> list[Paid]:
        """What each of these answers came to."""
        price = self._book.price_for(self._policy, _NOWHERE, run.model)
        if run.total is not None or (run.cost_micro_usd is not None and not run.spent):
            return _shared(run, steps, price)
        spent = _by_step(run.spent, steps)
        sizes = _sizes(run.messages, steps)
        return [_paid(spent.get(at), size, price) for at, size in zip(steps, sizes, strict=True)]


def _paid(spent: Spent | None, size: Usage, price: Price | None) -> Paid:
    usage = spent.usage if spent is not None and spent.usage is not None else None
    if spent is not None and spent.cost_micro_usd is not None:
        return Paid(usage or size, spent.cost_micro_usd, is_guess=usage is None)
    cost = None if price is None else cost_micro_usd(price, usage or size)
    return Paid(usage or size, cost, is_guess=usage is None)


def _by_step(spent: Sequence[Spent], steps: Sequence[int]) -> Mapping[int, Spent]:
    """By the message they name, where all name one; else in their order."""
    if all(one.at is not None for one in spent):
        return {one.at: one for one in spent if one.at is not None}
    return dict(zip(steps, spent, strict=False))


def _shared(run: Trajectory, steps: Sequence[int], price: Price | None) -> list[Paid]:
    """What is known of all answers together, in equal parts."""
    sizes, total = _sizes(run.messages, steps), run.total
    cost = run.cost_micro_usd
    if cost is None and total is not None:
        cost = total.billed_cost_micro_usd
        if cost is None and price is not None:
            cost = cost_micro_usd(price, total)
    usages = sizes if total is None else _parted(total, len(steps))
    costs = _parts(cost, len(steps))
    return [Paid(usage, part, is_guess=True) for usage, part in zip(usages, costs, strict=True)]


def _parted(total: Usage, count: int) -> list[Usage]:
    """Input and output alone: more is not asked of a guess."""
    into, out = _parts(total.total_input_tokens, count), _parts(total.output_tokens, count)
    return [
        Usage(input_tokens=i or 0, output_tokens=o or 0) for i, o in zip(into, out, strict=True)
    ]


def _parts(total: int | None, count: int) -> list[int | None]:
    if total is None:
        return [None] * count
    return [total * (at + 1) // count - total * at // count for at in range(count)]


def _sizes(messages: Sequence[Message], steps: Sequence[int]) -> list[Usage]:
    """About how many tokens each answer and what it was asked with have."""
    sizes: list[Usage] = []
    before, at = 0, 0
    for step in steps:
        before += sum(map(_characters, messages[at:step]))
        output = _characters(messages[step]) // _CHARACTERS_PER_TOKEN
        sizes.append(Usage(input_tokens=before // _CHARACTERS_PER_TOKEN, output_tokens=output))
        at = step
    return sizes


def _characters(message: Message) -> int:
    return len(message.text) + sum(len(c.name) + len(c.arguments) for c in message.tool_calls)
