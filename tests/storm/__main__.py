"""`python -m tests.storm outage`, `… latency` and `… hedging`: prints what was measured; 1 where a
bound was passed."""

import argparse
import asyncio
import gc
import sys
from typing import Protocol

import uvloop

from tests.storm.hedging import Hedging, hedging
from tests.storm.latency import Slowness, latency
from tests.storm.outage import Outage, outage


class Shown(Protocol):
    """What a night came to."""

    def faults(self) -> list[str]:
        """What must not be."""

    def shown(self) -> str:
        """In words."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.storm", description=__doc__)
    nights = parser.add_subparsers(dest="night", required=True)
    one = nights.add_parser("outage", help="the provider is down for a while")
    one.add_argument("--seconds", type=float, default=60.0)
    one.add_argument("--rate", type=float, default=200.0, help="calls a second")
    one.add_argument("--workers", type=int, default=1)
    one.add_argument("--open-seconds", type=float, default=15.0)
    one.add_argument("--alone", action="store_true", help="without a fallback")
    two = nights.add_parser("latency", help="its first token is late")
    two.add_argument("--scale", type=float, default=0.1, help="of all seconds")
    three = nights.add_parser("hedging", help="one call in twenty is slow")
    three.add_argument("--calls", type=int, default=2_000)
    three.add_argument("--stream", action="store_true")
    return parser.parse_args()


async def _run(asked: argparse.Namespace) -> Shown:
    match asked.night:
        case "outage":
            load = (asked.seconds, asked.rate, asked.workers, not asked.alone)
            return await outage(Outage(*load, open_seconds=asked.open_seconds))
        case "latency":
            return await latency(Slowness(asked.scale))
        case _:
            return await hedging(Hedging(asked.calls, stream=asked.stream))


def main() -> int:
    """0 if every bound held."""
    asked = _arguments()
    gc.disable()  # a collection here would be a delay there
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        night = runner.run(_run(asked))
    print(night.shown())
    print("\n".join(night.faults()) or "all bounds held")
    return 1 if night.faults() else 0


if __name__ == "__main__":
    sys.exit(main())
