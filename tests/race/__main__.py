"""`python -m tests.race`: every scenario, a line for each."""

import argparse
import asyncio

from tests.race.run import SCENARIOS, Round, Scenario, run

_HEAD = (
    f"{'scenario':24} {'calls':>6} {'whole':>6} {'short':>6} {'cut':>5} {'left':>5} {'refused':>8} "
    f"{'lost':>5} {'billed/budget':>20} {'used %':>7} {'booked %':>9} {'over':>5} {'s':>6} "
    f"{'rounds':>7}"
)


def main() -> int:
    """Plays what was asked for; 1 where something passed its budget or was left behind."""
    arguments = argparse.ArgumentParser(prog="python -m tests.race", description=__doc__)
    arguments.add_argument("--rounds", type=int, default=1)
    arguments.add_argument("--calls", type=int, default=500)
    arguments.add_argument("--only", default="", help="scenarios whose name contains this")
    arguments.add_argument("--accounting", default="", help="such as: holds: full, wait_seconds: 0")
    asked = arguments.parse_args()
    print(_HEAD)
    well = True
    for scenario in SCENARIOS:
        if asked.only in scenario.name:
            rounds = [
                asyncio.run(run(scenario, asked.calls, seed, asked.accounting))
                for seed in range(asked.rounds)
            ]
            well &= _tell(scenario, rounds, asked.calls)
    return 0 if well else 1


def _tell(scenario: Scenario, rounds: list[Round], calls: int) -> bool:
    count = len(rounds)

    def mean(total: float) -> str:
        return f"{total / count:.1f}" if count > 1 else f"{total:g}"

    seen = [
        mean(sum(r.seen[kind] for r in rounds))
        for kind in ("whole", "short", "cut", "left", "refused", "lost")
    ]
    billed, budget = (sum(getattr(r, n) for r in rounds) / count for n in ("billed", "budget"))
    booked = sum(r.booked for r in rounds) / count
    over = max(r.overspend for r in rounds)
    print(
        f"{scenario.name:24} {calls:6} {seen[0]:>6} {seen[1]:>6} {seen[2]:>5} {seen[3]:>5} "
        f"{seen[4]:>8} {seen[5]:>5} {f'{billed:,.0f}/{budget:,.0f}':>20} "
        f"{100 * billed / budget:7.1f} {100 * booked / budget:9.1f} {over:5} "
        f"{sum(r.seconds for r in rounds) / count:6.1f} {count:7}",
        flush=True,
    )
    left_over = [what for r in rounds for what in r.left_over]
    for what in left_over[:10]:
        print(f"    left behind: {what}")
    return not left_over and over == 0


if __name__ == "__main__":
    raise SystemExit(main())
