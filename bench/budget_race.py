"""What the provider bills when parallel calls race for one budget: `python -m bench.budget_race`.

The same calls go through each proxy that can limit a session, and once with nothing in between. The
provider is the simulated one, whose journal says what it billed; nothing that a proxy says of
itself is believed. One after the other first: it shows that the limit is in force at all.
"""

import argparse
import asyncio
import logging
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bench.measure import PROXY_CORE
from bench.places import BENCH, BUILD
from bench.process import Server, end_cleanly, free_port
from bench.race.calls import PRICES, Call, Model, Seen, Target, calls, race
from bench.race.contenders import CONTENDERS, Contender, Terms
from bench.report import number, table
from proxy.simulator import Simulator

_MICRO = 1_000_000
_READY_SECONDS = 60.0
_SETTLE_SECONDS = 10.0
_POLL_SECONDS = 0.05
NOTHING = "nothing in between"
_TERMS = " ".join((__doc__ or "").split("\n\n", 1)[1].split())


@dataclass(frozen=True, slots=True)
class Scenario:
    """Calls against a budget. affordable: for how many calls it is; None: budget_usd is given."""

    title: str
    count: int
    at_once: bool
    leaving: bool
    budget_usd: float | None = None
    affordable: int | None = None


SCENARIOS = (
    Scenario("30 calls one after the other, $0.05", 30, False, False, budget_usd=0.05),
    Scenario("12 calls at once, $0.05", 12, True, False, budget_usd=0.05),
    Scenario("30 calls at once, $0.05", 30, True, False, budget_usd=0.05),
    Scenario("500 calls at once, a third of the clients leave", 500, True, True, affordable=40),
)


@dataclass(frozen=True, slots=True)
class Bill:
    """By the provider's journal. calls: that cost something."""

    usd: float
    tokens: int
    calls: int


@dataclass(frozen=True, slots=True)
class Row:
    """One contender in one scenario."""

    name: str
    bill: Bill
    seen: tuple[Seen, ...]


class NotInRace(Exception):
    """A contender did not come up; the text says why."""


async def settled(provider: Simulator) -> Bill:
    """The bill, once nothing runs any more: what a proxy leaves running is billed too."""
    deadline = time.perf_counter() + _SETTLE_SECONDS
    while any(entry.finished is None for entry in provider.journal):
        if time.perf_counter() > deadline:
            break
        await pause(_POLL_SECONDS)
    totals = provider.totals
    tokens = totals.input_tokens + totals.output_tokens
    billed = sum(1 for entry in provider.journal if entry.cost_micro_usd)
    return Bill(totals.cost_micro_usd / _MICRO, tokens, billed)


async def pause(seconds: float) -> None:
    """Waits in another thread: the product's ban on the event loop's own clock holds here too."""
    await asyncio.to_thread(time.sleep, seconds)


async def unlimited(scenario: Scenario, made: Sequence[Call]) -> Row:
    """What the calls cost with nothing in between."""
    async with Simulator(Model(), seed=1, prices=PRICES) as provider:
        target = Target(f"{provider.url}/v1/chat/completions", {"authorization": "Bearer sk"})
        seen = await race(target, made, at_once=True)
        return Row(NOTHING, await settled(provider), seen)


async def run(
    contender: Contender, scenario: Scenario, made: Sequence[Call], budget: float, tokens: int
) -> Row:
    """One contender's race. Raises NotInRace."""
    program = contender.program()
    if program is None:
        raise NotInRace("not installed: bench/peers.sh")
    directory = BUILD / "race" / contender.name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    async with Simulator(Model(), seed=1, prices=PRICES) as provider:
        terms = Terms(directory, free_port(), provider.url, "race-1", budget, tokens)
        argv = contender.argv(program, terms)
        log = directory / "log"
        server = Server(argv, PROXY_CORE, directory, contender.env(terms), log)
        try:
            await listening(server, terms.port)
            if contender.tell is not None:
                await contender.tell(terms)
            url = f"http://127.0.0.1:{terms.port}/v1/chat/completions"
            seen = await race(Target(url, contender.headers(terms)), made, scenario.at_once)
            bill = await settled(provider)
        except NotInRace as error:
            said = " ".join(log.read_text("utf-8", "replace").split())[-300:]
            raise NotInRace(f"{error}: {said}") from error
        finally:
            server.stop()
    return Row(f"{contender.name} {contender.version(program)}", bill, seen)


async def listening(server: Server, port: int) -> None:
    """Until the port is open. Raises NotInRace."""
    deadline = time.perf_counter() + _READY_SECONDS
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if server.exit_code is not None:
                raise NotInRace(f"it ended with {server.exit_code}") from None
            if time.perf_counter() > deadline:
                raise NotInRace(f"not listening after {_READY_SECONDS:.0f} s") from None
            await pause(_POLL_SECONDS)
        else:
            writer.close()
            return


def shown(row: Row, budget: float) -> list[str]:
    """A line of the table."""
    kinds = Counter(one.kind for one in row.seen)
    statuses = Counter(str(one.status or one.code) for one in row.seen if one.kind != "left")
    return [
        row.name,
        f"{row.bill.usd:.4f}",
        f"{row.bill.usd / budget:.2f}",
        str(row.bill.calls),
        *(str(kinds[kind]) for kind in ("whole", "cut", "left", "refused", "failed")),
        ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items())),
    ]


HEADER = ["", "billed $", "billed ÷ budget", "calls billed", "whole", "cut", "left", "refused"]
HEADER += ["failed", "statuses"]


async def play(scenario: Scenario, contenders: Sequence[Contender]) -> str:
    """One scenario as Markdown."""
    made = calls(scenario.count, scenario.leaving)
    free = await unlimited(scenario, made)
    budget = scenario.budget_usd
    if budget is None:
        assert scenario.affordable is not None
        budget = round(free.bill.usd / free.bill.calls * scenario.affordable, 4)
    tokens = round(free.bill.tokens * budget / free.bill.usd)
    rows, absent = [shown(free, budget)], []
    for contender in contenders:
        print(f"{scenario.title}: {contender.name}", file=sys.stderr, flush=True)
        try:
            row = await run(contender, scenario, made, budget, tokens)
            rows.append(shown(row, budget))
        except NotInRace as error:
            absent.append(f"{contender.name}: {error}")
    title = scenario.title if scenario.budget_usd else f"{scenario.title}, ${number(budget)}"
    return "\n\n".join([f"## {title}", table(HEADER, rows), *absent])


def document(tables: Sequence[str], contenders: Sequence[Contender]) -> str:
    """All of budget_race.md."""
    notes = "\n".join(f"- {each.name}: {each.note}" for each in contenders)
    return "\n\n".join(
        [
            "# A race for one budget",
            f"`python -m bench.budget_race`, {time.strftime('%Y-%m-%d')}. {_TERMS}",
            notes,
            *tables,
        ]
    )


def main() -> int:
    """Runs every scenario and writes budget_race.md."""
    parser = argparse.ArgumentParser(prog="python -m bench.budget_race", description=__doc__)
    known = [contender.name for contender in CONTENDERS]
    parser.add_argument("--scenario", type=int, choices=range(len(SCENARIOS)), help="one of them")
    parser.add_argument("--only", action="append", choices=known, help="may be given several times")
    args = parser.parse_args()
    chosen = [each for each in CONTENDERS if not args.only or each.name in args.only]
    end_cleanly()
    BUILD.mkdir(exist_ok=True)
    # The simulator's server reports every client that leaves; here they leave on purpose.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    played = SCENARIOS if args.scenario is None else SCENARIOS[args.scenario :][:1]
    tables = [asyncio.run(play(scenario, chosen)) for scenario in played]
    text = document(tables, chosen) + "\n"
    whole = chosen == list(CONTENDERS) and played == SCENARIOS
    (BENCH if whole else BUILD).joinpath("budget_race.md").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
