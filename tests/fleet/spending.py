"""Many calls at once on one budget, while a replica and the Redis under all of them are killed."""

import asyncio
import json
import re
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import aiohttp

from proxy.core.session import SessionKey, fold
from proxy.simulator import Turn
from proxy.stores import Balance
from proxy.stores.chain import first_altered
from proxy.stores.redis import RedisStore
from tests.fleet.reckoning import Lost, Reckoning, reckon
from tests.fleet.servers import Pair
from tests.fleet.stage import KEY, Stage, stage
from tests.integration.kit import PATHS, body_of

_CALL_MICRO_USD = 90
_SETTLED_SECONDS = 60.0
_RATE = 100.0
"""Calls a second that provider, clients, replicas and Redis carry on two cores: what they cannot
carry is lost between them, and looks like a provider that bills what nobody gets."""
_LEAST_SECONDS = 0.3
_LOST = "connection lost"
_OF_THE_RIG = ("lost on a replica that lives", "upstream_unavailable")
_AGAIN = ("store_unavailable", _LOST, *_OF_THE_RIG)
_PAUSES_SECONDS = (0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True, slots=True)
class Asked:
    """concurrent: calls at once, on each replica. rounds: calls one after another, of each. share:
    of all that would be spent, the budget. patience_seconds: of appends with Redis. kills,
    restarts, fails_over: what is done meanwhile."""

    replicas: int = 4
    concurrent: int = 500
    rounds: int = 4
    share: float = 0.6
    patience_seconds: float = 3.0
    on_failure: str = "closed"
    kills: bool = True
    restarts: bool = True
    fails_over: bool = True

    @property
    def budget_micro_usd(self) -> int:
        calls = self.replicas * self.concurrent * self.rounds
        return round(calls * _CALL_MICRO_USD * self.share / 10_000) * 10_000

    @property
    def turn(self) -> Turn:
        """So slow that all of the calls are in flight at once, at a rate that can be carried."""
        seconds = max(_LEAST_SECONDS, self.replicas * self.concurrent / _RATE)
        return Turn(
            text_tokens=40,
            latency_seconds=seconds * 0.9,
            chunk_tokens=10,
            chunk_gap_seconds=seconds * 0.1 / 3,
        )


@dataclass(slots=True)
class Spent:
    """What it came to. In micro-USD: billed by the provider's journal; spent and held on accounts;
    of_sessions: the sum of theirs. at_once: calls in flight, at the most. victim: how the owner's
    name begins that was killed."""

    asked: Asked
    told: Counter[str] = field(default_factory=Counter)
    billed: int = 0
    accounts: dict[str, Balance] = field(default_factory=dict)
    of_sessions: int = 0
    sessions: int = 0
    at_once: int = 0
    victim: str = ""
    reckoning: Reckoning = field(default_factory=Reckoning)
    altered: list[str] = field(default_factory=list)
    holds: list[str] = field(default_factory=list)
    warnings: Counter[str] = field(default_factory=Counter)
    failed_over_seconds: float = 0.0
    seconds: float = 0.0
    reconciled_seconds: float = 0.0

    def faults(self) -> list[str]:
        """What must not be."""
        found = [f"altered: {name}" for name in self.altered]
        found += [f"a hold is left: {hold}" for hold in self.holds]
        for name, balance in self.accounts.items():
            found += [f"{name}: {fault}" for fault in self._faults_of(balance)]
        if self.asked.on_failure == "closed" and self.billed > self.asked.budget_micro_usd:
            found.append(f"billed {self.billed} of a budget of {self.asked.budget_micro_usd}")
        if self.asked.on_failure == "open" and not any("away" in w for w in self.warnings):
            found.append("the store was never away")
        if not self.told["answered"]:
            found.append("no call was answered")
        found += [f"lost by the rig: {n} x {t}" for t, n in self.told.items() if t in _OF_THE_RIG]
        found += [f"booked otherwise than billed: {one}" for one in self.reckoning.unexplained]
        of_others = [one for one in self.reckoning.lost if not self._is_of_the_victim(one)]
        return found + [f"lost by a replica that lives: {one.shown()}" for one in of_others]

    def _is_of_the_victim(self, lost: Lost) -> bool:
        return bool(self.victim) and lost.owner.startswith(self.victim)

    def _faults_of(self, balance: Balance) -> list[str]:
        """What a dead replica had in flight is booked whole: more than was billed, by so much."""
        spent, found = balance.spent_micro_usd, []
        if balance.held_micro_usd:
            found.append(f"holds {balance.held_micro_usd}")
        if spent != self.of_sessions:
            found.append(f"has {spent}, its sessions {self.of_sessions}")
        if spent - self.billed != self.reckoning.of_lost:
            found.append(f"has {spent}, billed {self.billed}, lost {self.reckoning.of_lost}")
        return found

    def shown(self) -> str:
        """In words."""
        asked = self.asked
        told = ", ".join(f"{count} {what}" for what, count in self.told.most_common())
        spent = {balance.spent_micro_usd for balance in self.accounts.values()}
        return (
            f"{asked.replicas} replicas, {asked.concurrent} clients at once on each,"
            f" {self.at_once} calls in flight at the most;"
            f" on_failure: {asked.on_failure}; calls: {told}; budget"
            f" ${asked.budget_micro_usd / 1e6:.4f}, billed ${self.billed / 1e6:.6f}, in the ledger"
            f" {', '.join(f'${one / 1e6:.6f}' for one in spent)} on {self.sessions} sessions:"
            f" {self.reckoning.shown()};"
            f" failed over in {self.failed_over_seconds:.1f} s; {self.seconds:.1f} s in all, whole"
            f" {self.reconciled_seconds:.1f} s after the last answer; said:"
            f" {', '.join(f'{count} x {what}' for what, count in self.warnings.most_common(12))}"
        )


async def spending(asked: Asked, pair: Pair, folder: Path) -> Spent:
    """Every client calls again and again, until its calls are over."""
    usd = asked.budget_micro_usd / 1e6
    policy = (
        f"budgets: [{{scope: tenant, cost_usd: {usd}, window: 1d}},"
        f" {{scope: global, cost_usd: {usd}, window: 1mo}}]\n"
        f"store: {{on_failure: {asked.on_failure}}}\n"
    )
    spent, began = Spent(asked), perf_counter()
    url = f"{pair.url}?timeout={asked.patience_seconds:g}"
    async with stage(folder, url, (asked.turn,), policy, asked.replicas) as on:
        watching = asyncio.ensure_future(_watch(on, spent))
        await asyncio.gather(_load(asked, on, spent), _harm(asked, on, pair, spent))
        watching.cancel()
        await on.settled()
        spent.seconds = perf_counter() - began
        told = [line for one in on.on.values() for line in one.log if line["level"] != "info"]
        spent.warnings.update(f"{line['message']}: {line.get('reason', '')}"[:150] for line in told)
        await _audit(on, spent)
        spent.billed = on.billed()
    return spent


async def _watch(on: Stage, spent: Spent) -> None:
    """How many calls are at the provider at once."""
    while True:
        running = sum(not entry.finished for entry in on.sim.journal)
        spent.at_once = max(spent.at_once, running)
        await asyncio.sleep(0.5)  # noqa: TID251 - a look now and then


async def _load(asked: Asked, on: Stage, spent: Spent) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:

        async def client(replica: int, number: int) -> None:
            # Sessions of one replica, and some that all of them share.
            session = f"shared-{number % 50}" if number % 10 == 0 else f"r{replica}-{number}"
            # All of them at once would be a burst of connections, not a load.
            await asyncio.sleep(number / asked.concurrent * asked.turn.latency_seconds)  # noqa: TID251
            for turn_of in range(asked.rounds):
                name = f"{replica}-{number}-{turn_of}"
                body = body_of("chat", stream=bool(number % 2), bound=40) | {"user": name}
                for turn, pause_seconds in enumerate(_PAUSES_SECONDS):
                    # As a Service would: those of one that died go to all that live.
                    at = replica + turn * (1 + number % max(1, asked.replicas - 1))
                    at %= asked.replicas
                    url = f"{on.on[at].url}/s/{session}{PATHS['chat']}"
                    told = await _call(http, url, json.dumps(body).encode())
                    if told == _LOST and at:
                        told = _OF_THE_RIG[0]  # nobody killed that replica
                    spent.told[told] += 1
                    if told not in _AGAIN:
                        break
                    await asyncio.sleep(pause_seconds)  # noqa: TID251 - as an SDK does

        numbers = range(asked.concurrent)
        await asyncio.gather(*(client(r, n) for r in range(asked.replicas) for n in numbers))


async def _call(http: aiohttp.ClientSession, url: str, body: bytes) -> str:
    """What came of it, in a word."""
    headers = {"authorization": "Bearer key-1", "content-type": "application/json"}
    try:
        async with http.post(url, data=body, headers=headers) as answer:
            data = await answer.read()
    except (aiohttp.ClientError, TimeoutError, ConnectionError):
        return _LOST
    code = re.search(rb'"code":"([a-z_]+)"', data)
    if answer.status == 200:
        return f"cut: {code[1].decode()}" if code else "answered"
    return code[1].decode() if code else str(answer.status)


async def _harm(asked: Asked, on: Stage, pair: Pair, spent: Spent) -> None:
    """One thing after the other, while calls are in flight."""
    loop = asyncio.get_running_loop()
    await _reached(on, asked, 0.1)
    if asked.kills:
        victim = on.on[0]
        spent.victim = f"{victim.process.pid}-"
        victim.process.send_signal(signal.SIGKILL)
        await victim.process.wait()
    await _reached(on, asked, 0.25)
    if asked.restarts and asked.on_failure == "open":
        await loop.run_in_executor(None, pair.away, 2 * asked.patience_seconds)
    elif asked.restarts:
        await loop.run_in_executor(None, pair.restart)
    await _reached(on, asked, 0.45)
    if asked.fails_over:
        await loop.run_in_executor(None, pair.until_in_step)
        spent.failed_over_seconds = await loop.run_in_executor(None, pair.fail_over)
    if asked.kills:
        await on.start(0)


async def _reached(on: Stage, asked: Asked, share: float) -> None:
    """So much of all calls have come to the provider, or as many as the budget lets through."""
    calls = asked.replicas * asked.concurrent * asked.rounds * min(asked.share, 1.0) * share
    with suppress(TimeoutError):
        async with asyncio.timeout(20):
            while on.sim.totals.requests < calls:  # noqa: ASYNC110 - to count is work: now and then
                await asyncio.sleep(0.1)  # noqa: TID251


async def _audit(on: Stage, spent: Spent) -> None:
    store = RedisStore(on.url, KEY.encode())
    await store.open()
    began = perf_counter()
    try:
        while perf_counter() < began + _SETTLED_SECONDS:
            spent.holds = [f"{h.key.session} of {h.owner}" for h in await store.open_holds()]
            ready = await asyncio.gather(*(_is_whole(one.text) for one in on.on.values()))
            if not spent.holds and all(ready):
                break
            await asyncio.sleep(0.1)  # noqa: TID251 - leases end by themselves
        spent.reconciled_seconds = perf_counter() - began
        names = [name for name, _, _ in await store.dump_accounts("", 100)]
        spent.accounts = dict(await store.balances(n for n in names if n[:5] in ("tenan", "globa")))
        after: SessionKey | None = None
        every: list[SessionKey] = []
        while keys := await store.list_keys(after, 500):
            for key in keys:
                await _session(store, key, spent)
            every += keys
            after = keys[-1]
        spent.reckoning = await reckon(store, every, on.sim.journal)
    finally:
        await store.close()


async def _is_whole(text: Callable[[str], Awaitable[tuple[int, str]]]) -> bool:
    return "appends wait" not in (await text("/readyz"))[1]


async def _session(store: RedisStore, key: SessionKey, spent: Spent) -> None:
    rows = await store.read_chain(key)
    if first_altered(KEY.encode(), key, rows) is not None:
        spent.altered.append(key.session)
    state = fold(stored.event for stored in await store.read(key))
    spent.sessions += 1
    spent.of_sessions += state.cost_micro_usd
