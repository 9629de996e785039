"""Our cost equals the billed one, to the micro-dollar, in every recorded call: what is booked in
all of them, and what usage and price come to on their own in all but those with a cause beside
both."""

import gzip
import json
import math
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from proxy.core.dialects.chat import CHAT
from proxy.core.dialects.messages import MESSAGES
from proxy.core.dialects.responses import RESPONSES
from proxy.core.policy import Policy, Upstream
from proxy.core.pricing import Price, cost_micro_usd
from proxy.core.usage import Usage
from proxy.prices.book import PriceBook
from proxy.prices.table import load_table
from tests.fakes import FakeClock

NOW = 1_795_370_400.0  # 2026-11-22, 18:00 UTC
POLICY = Policy(upstreams={}, routes=())
OPENROUTER = Upstream("openrouter", "https://openrouter.ai/api/v1")
HOSTS = {
    "openrouter": OPENROUTER,
    "perplexity": Upstream("perplexity", "https://api.perplexity.ai"),
    "xai": Upstream("xai", "https://api.x.ai/v1"),
}
DATA = Path(os.environ.get("HOLDFAST_DATA", Path(__file__).parents[4] / "shared" / "data"))
RECORDED = tuple(sorted((DATA / "prices").glob("*.jsonl.gz")))

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not RECORDED, reason=f"no recorded calls in {DATA}/prices (HOLDFAST_DATA)"),
]


@dataclass(frozen=True, slots=True)
class Call:
    """A recorded call: as it would be metered, and what it was billed at, rounded up. mislabelled:
    it says of itself that it went elsewhere than its usage tells."""

    name: str
    mislabelled: bool
    usage: Usage
    price: Price | None
    dearest: Price
    billed_micro_usd: int


def calls() -> Iterator[Call]:
    book = PriceBook(load_table(), FakeClock(NOW))
    for path in RECORDED:
        for line in gzip.decompress(path.read_bytes()).splitlines():
            record = json.loads(line)
            # Some records name the kind of client. Only OpenRouter's usage says whose key it was.
            is_routed = "is_byok" in record["usage"]
            host = OPENROUTER if is_routed else HOSTS.get(record["provider"], OPENROUTER)
            yield Call(
                mislabelled=HOSTS.get(record["provider"]) is not host,
                name=f"{record['provider']}: {record['model']} ({record['src']})",
                usage=metered(record["usage"]),
                price=book.price_for(POLICY, host, record["model"]),
                dearest=book.dearest(host, record["model"]),
                billed_micro_usd=math.ceil(Decimal(str(record["billed_usd"])) * 10**6),
            )


def metered(usage: dict[str, object]) -> Usage:
    """Through the dialect that has usage of this shape, as in an answer."""
    if "prompt_tokens" in usage:
        answer = {"choices": [{"message": {"content": "a"}}], "usage": usage}
        read = CHAT.read_answer(msgspec.json.encode(answer)).usage
    elif "cache_creation_input_tokens" in usage:
        read = MESSAGES.read_answer(msgspec.json.encode({"content": [], "usage": usage})).usage
    else:
        read = RESPONSES.read_answer(msgspec.json.encode({"output": [], "usage": usage})).usage
    assert read is not None
    return read


def test_what_is_booked_is_what_was_billed_in_every_recorded_call() -> None:
    """The price of an unknown model included: there the bill is all that is known."""
    wrong = [
        f"{call.name}: {booked} booked, {call.billed_micro_usd} billed"
        for call in calls()
        if (booked := cost_micro_usd(call.price or call.dearest, call.usage))
        != call.billed_micro_usd
    ]

    assert not wrong, "\n".join(wrong)


def test_usage_and_price_alone_come_to_what_was_billed() -> None:
    """Where a provider sends no bill, this is what is booked. The rest differs by what neither
    shows: which host a router chose, which model a record is really of."""
    causes = defaultdict(list)
    total = 0
    for call in calls():
        total += 1
        own = cost_of_tokens(call)
        if own != call.billed_micro_usd:
            cause = cause_of(call, own)
            causes[cause].append(f"  {call.name}: {own}, billed {call.billed_micro_usd}")
    differing = sum(map(len, causes.values()))
    table = "\n".join(
        line for cause, lines in causes.items() for line in (f"{cause}: {len(lines)}", *lines)
    )
    print(f"{total - differing} of {total} equal\n{table}")

    assert causes.keys() <= {"another host", "no price", "mislabelled"}, table
    assert differing <= total * 0.005, table


def cost_of_tokens(call: Call) -> int | None:
    unbilled = structs.replace(call.usage, billed_cost_micro_usd=None)
    return cost_micro_usd(call.price, unbilled) if call.price is not None else None


def cause_of(call: Call, own: int | None) -> str:
    """Of open weights OpenRouter lists the cheapest host, and what is held covers any other."""
    if call.price is None or own is None:
        return "no price"
    if call.price.hold_times > 1 and call.billed_micro_usd <= own * call.price.hold_times:
        return "another host"
    return "mislabelled" if call.mislabelled else "unexplained"
