"""`python -m tests.fleet spending`, `… open` and `… latency`: prints what was measured; 1 where a
bound was passed."""

import argparse
import asyncio
import gc
import sys
import tempfile
from pathlib import Path
from typing import Protocol

import uvloop

from tests.fakes_redis import RedisServer, running
from tests.fleet import latency, spending
from tests.fleet.servers import pair


class Shown(Protocol):
    """What it came to."""

    def faults(self) -> list[str]:
        """What must not be."""

    def shown(self) -> str:
        """In words."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fleet", description=__doc__)
    parser.add_argument("--server", choices=("redis", "valkey"), default="redis")
    parser.add_argument("--replicas", type=int, default=4)
    kinds = parser.add_subparsers(dest="what", required=True)
    for name, said in (
        ("spending", "one budget; a replica killed, Redis restarted and failed over"),
        ("open", "the same with on_failure: open, without and with a replica killed"),
    ):
        one = kinds.add_parser(name, help=said)
        one.add_argument("--concurrent", type=int, default=500, help="calls, on each replica")
        one.add_argument("--rounds", type=int, default=4, help="calls of each client")
    two = kinds.add_parser("latency", help="kill, pause and reload")
    two.add_argument("--rounds", type=int, default=100)
    return parser.parse_args()


async def _run(asked: argparse.Namespace, folder: Path) -> list[Shown]:
    if asked.what == "latency":
        with running(server := RedisServer(asked.server, folder / "redis")):
            heard = await latency.latency(
                latency.Asked(asked.replicas, asked.rounds), server.url, folder
            )
            print(heard.shown(), flush=True)
            return [heard]
    load = (asked.replicas, asked.concurrent, asked.rounds)
    if asked.what == "spending":
        runs = [spending.Asked(*load)]
    else:
        runs = [
            spending.Asked(*load, share=4.0, on_failure="open", kills=kills)
            for kills in (False, True)
        ]
    shown: list[spending.Spent] = []
    for number, one in enumerate(runs):
        (folder / str(number)).mkdir()
        with pair(asked.server, folder / str(number)) as servers:
            shown.append(await spending.spending(one, servers, folder / str(number)))
            print(shown[-1].shown(), flush=True)
            lost = shown[-1].reckoning.lost
            print("".join(f"  {call.shown()}\n" for call in lost), end="", flush=True)
    return [*shown]


def main() -> int:
    """0 if every bound held."""
    asked = _arguments()
    gc.disable()  # a collection here would be a delay there
    with (
        tempfile.TemporaryDirectory() as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        results = runner.run(_run(asked, Path(folder)))
    faults = [fault for one in results for fault in one.faults()]
    print("\n".join(faults) or "all bounds held")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
