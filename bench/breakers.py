"""What breakers and routing cost a call: `python -m bench.breakers`.

All that a healthy call has of them: its candidates looked up, the first one's breaker looked at,
its permit taken, and its end told; with a caller's own key, as most calls have one. Then the same
where callers' dead keys are known, and where the first candidate is open. Best of the rounds, in µs
a call; the target is 5 for all of it.
"""

import argparse
import gc
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

from proxy.breakers.keeping import Keeper
from proxy.breakers.permits import Permit
from proxy.breakers.registry import Breakers
from proxy.breakers.telling import Alone
from proxy.callers import Callers
from proxy.clock import SystemClock
from proxy.core.failures import Failure
from proxy.core.policy import Policy, Route, Target, Upstream

_DEAD_KEY = Failure("key", "It answered 401.", 401)
_BROKEN = Failure("error", "It answered 500.", 500)


@dataclass(frozen=True)
class Source:
    """One policy for ever."""

    current: Policy


class Setting:
    """A route with a fallback, as a policy has it."""

    def __init__(self) -> None:
        upstreams = {
            "openai": Upstream("openai", "https://api.openai.com/v1"),
            "local": Upstream("local", "http://127.0.0.1:11434/v1"),
        }
        route = Route(to=(Target("openai"),), fallback=(Target("local", "qwen3"),))
        self.policy = Policy(upstreams, (route,))
        self.callers = Callers(b"key")
        clock, chance = SystemClock(), random.Random(1).random
        keeper = Keeper(
            Source(self.policy), clock, chance, Alone(), None, lambda breaker, was: None
        )
        self.breakers = Breakers(keeper)
        self.key = b"mine" * 4

    def call(self) -> None:
        """Goes to the first that may be asked, and is answered."""
        for candidate in self.callers.candidates(self.policy, "gpt-5", "chat"):
            if self.breakers.closed_to(candidate, self.key) is not None:
                continue
            permit = self.breakers.acquire(candidate, self.key)
            if isinstance(permit, Permit):
                permit.answered()
                return

    def fail(self, failure: Failure, key: bytes, times: int) -> None:
        first = self.callers.candidates(self.policy, "gpt-5", "chat")[0]
        for _ in range(times):
            permit = self.breakers.acquire(first, key)
            if isinstance(permit, Permit):
                permit.failed(failure)


def _best(call: Callable[[], None], calls: int, rounds: int) -> float:
    best = float("inf")
    gc.collect()
    gc.disable()
    for _ in range(rounds):
        began = perf_counter()
        for _ in range(calls):
            call()
        best = min(best, (perf_counter() - began) / calls)
    gc.enable()
    return best * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000, help="in one round")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    setting = Setting()
    write = sys.stdout.write
    write(f"a healthy call          {_best(setting.call, args.calls, args.rounds):6.2f} µs\n")
    setting.fail(_DEAD_KEY, b"another's" * 2, 1)
    write(f"  dead keys are known   {_best(setting.call, args.calls, args.rounds):6.2f} µs\n")
    setting.fail(_BROKEN, setting.key, 5)
    write(f"  the first one is open {_best(setting.call, args.calls, args.rounds):6.2f} µs\n")


if __name__ == "__main__":
    main()
