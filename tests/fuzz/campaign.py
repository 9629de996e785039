"""A run of fuzzed cases against one sidecar, in batches, with what must be true after each."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Final

from tests.fuzz import answers, requests
from tests.fuzz.books import disagreements, open_holds, read_books
from tests.fuzz.cases import Case, Fuzzer, post
from tests.fuzz.client import Client
from tests.fuzz.process import Process, Told, running
from tests.fuzz.provider import Provider
from tests.fuzz.seeds import PATHS, request_of

CLIENTS: Final[Mapping[str, Fuzzer]] = MappingProxyType(
    {"requests": requests.bodies, "headers": requests.headers, "paths": requests.paths}
)
"""With an honest provider: no 5xx at all, and the books agree to the call."""
PROVIDERS: Final[Mapping[str, Fuzzer]] = MappingProxyType({"upstream": answers.answers})
"""In a run of their own: what a provider sends late may cost the next call on its connection an
answer, whose ever it is."""
STREAMS: Final[Mapping[str, Fuzzer]] = MappingProxyType({"sse": answers.streams})
"""Well framed but for where they are cut: each client gets what was said to it."""
SIDES: Final = (CLIENTS, PROVIDERS, STREAMS)
GROWTH: Final = 0.05
"""How much the process may grow over the second half of a long run, which begins with caches that
are full."""
_IMPATIENT = 1
_PATIENT = 10
"""Seconds that a provider may be silent. An honest one shares a busy machine with whoever asks."""
_LONG = 20_000
_REMEMBERED = 12_000
_BATCH = 2_000
_QUIET_SECONDS = 10.0
_SLACK_DESCRIPTORS = 6
"""Two connections to the ledger are opened when they are first needed."""
_SLACK_THREADS = 2
"""Those that begin when they are first needed."""
POLICY: Final = """
prices: {"*": {input: 1.0, output: 2.0}}
breakers: {consecutive_failures: 10000, minimum_calls: 10000, open_seconds: 0.01}
upstreams: {nobody: {base_url: "http://127.0.0.1:9/v1", price: null}}
routes: [{match: {model: nobody}, to: [nobody]}, {match: {endpoint: messages}, to: [anthropic]},
         {match: {model: "*"}, to: [openai]}]
limits: {steps: null, cost_usd: null, tokens: null, duration_seconds: null}
profiles: [{match: {agent: run-1}, limits: {steps: 3, parallel: 1, tokens: 9000}},
           {match: {agent: "co*"}, limits: {cost_usd: 0.0005, cost_usd_per_minute: 0.0004}}]
budgets: []
timeouts: {connect: 2, head: %(seconds)d, idle: %(seconds)d, body: 1}
retries: {join_seconds: 1}
bounds: {body_bytes: 262144, answer_bytes: 262144, sse_line_bytes: 65536, sessions_in_memory: 50}
"""


@dataclass(slots=True)
class Outcome:
    """What came of a run. memory_bytes: after each batch."""

    cases: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    memory_bytes: list[int] = field(default_factory=list)
    sent: int = 0
    billed_micro_usd: int = 0
    booked_micro_usd: int = 0
    sessions: int = 0

    @property
    def growth(self) -> float:
        """Of the memory, over the second half."""
        half = self.memory_bytes[len(self.memory_bytes) // 2]
        return self.memory_bytes[-1] / half - 1


def cases(seed: int, count: int, slices: Mapping[str, Fuzzer]) -> Iterator[Case]:
    """The slices in turn; the same seed, the same cases."""
    named = tuple(slices.items())
    for number in range(count):
        name, fuzzer = named[number % len(named)]
        yield fuzzer(Random(f"{seed}-{name}-{number}"), number)


async def campaign(
    folder: Path, seed: int, count: int, slices: Mapping[str, Fuzzer], parallel: int = 32
) -> Outcome:
    """Plays so many cases, so many at once."""
    outcome = Outcome()
    policy = POLICY % {"seconds": _IMPATIENT if slices.keys() & PROVIDERS.keys() else _PATIENT}
    async with Provider() as provider, running(folder, policy, provider.url) as process:
        told, descriptors = await process.tell(), process.descriptors()
        watch = _Watch(process, provider, told, descriptors, 2 * parallel)
        if count >= _LONG:
            await _play([_warming(n) for n in range(_REMEMBERED)], process.port, parallel, outcome)
        todo = cases(seed, count, slices)
        while batch := list(islice(todo, _BATCH)):
            provider.cases |= {case.number: case for case in batch}
            outcome.cases += len(batch)
            await _play(batch, process.port, parallel, outcome)
            outcome.faults += await watch.faults()
            outcome.memory_bytes.append(process.memory_bytes())
            if process.exit_code is not None:
                break
        outcome.faults += provider.faults
        await _close(process, provider, outcome)
    return outcome


def _warming(number: int) -> Case:
    """A call of a session of its own: the ledger remembers so many, whatever the policy says."""
    body = json.dumps(request_of("chat", text=f"Warm {number}.")).encode()
    return Case(-1, post(-1, f"/s/warm-{number}{PATHS['chat']}", body), dialect="chat")


async def _play(batch: Sequence[Case], port: int, parallel: int, outcome: Outcome) -> None:
    clients = [Client(port) for _ in range(parallel)]
    todo = iter(batch)

    async def work(client: Client) -> None:
        for case in todo:  # each takes the next
            await client.play(case)
        client.close()

    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(work(client))
    for client in clients:
        outcome.statuses += client.statuses
        outcome.faults += client.faults


async def _close(process: Process, provider: Provider, outcome: Outcome) -> None:
    """The end: it drains without a word, and its books are the provider's."""
    if (code := await process.stop()) != 0:
        outcome.faults.append(f"it ended with {code}")
    outcome.faults += _errors(process)
    books = await read_books(process.database)
    if books.holds:
        outcome.faults.append(f"{books.holds} holds are left")
    outcome.faults += books.faults
    sent = Counter({number: _sent(case, provider) for number, case in provider.cases.items()})
    sent[-1] = provider.seen[-1]
    outcome.faults += disagreements(books, provider.cases, sent, provider.billed)
    if outcome.cases >= _LONG and outcome.growth > GROWTH:
        outcome.faults.append(f"memory grew by {outcome.growth:.1%} over the second half")
    outcome.sessions = books.sessions
    outcome.sent = provider.seen.total()
    outcome.billed_micro_usd = provider.billed.total()
    outcome.booked_micro_usd = books.booked.total()


def _sent(case: Case, provider: Provider) -> int:
    """The calls that may be charged. One that crosses a provider's leaving is lost unseen."""
    return 1 if case.plan else provider.seen[case.number]


@dataclass(slots=True)
class _Watch:
    """What the process had at its start, and must come back to. most_kept: connections that it may
    keep to its providers, of which there are two."""

    process: Process
    provider: Provider
    told: Told
    descriptors: int
    most_kept: int

    async def faults(self) -> list[str]:
        found = _errors(self.process)
        if self.process.exit_code is not None:
            return [*found, f"it died: exit code {self.process.exit_code}"]
        loop = asyncio.get_running_loop()
        until = loop.time() + _QUIET_SECONDS
        while (left := await self._left()) and loop.time() < until:
            pass  # asked again: what a call leaves when its client has gone takes a moment to go
        return [*found, *left]

    async def _left(self) -> list[str]:
        told = await self.process.tell()
        more = Counter(told.tasks) - Counter(self.told.tasks)
        kept = self.provider.open
        descriptors = self.process.descriptors() - self.descriptors - kept
        left = [f"tasks left: {dict(more)}"] if more else []
        if told.threads > self.told.threads + _SLACK_THREADS:
            left.append(f"{told.threads - self.told.threads} threads left")
        if told.holds or told.streams:
            left.append(f"{told.holds} holds and {told.streams} streams left")
        if kept > self.most_kept:
            left.append(f"{kept} connections to providers left")
        if descriptors > _SLACK_DESCRIPTORS:
            left.append(f"{descriptors} descriptors left")
        if not left and (holds := await open_holds(self.process.database)):
            left.append(f"{holds} holds left in the store")
        return left


def _errors(process: Process) -> list[str]:
    """Lines that an operator would be woken by, and tracebacks at any level."""
    return [
        f"log: {line.get('message')} {str(line.get('error', ''))[-1_500:]}"
        for line in process.log()
        if line.get("level") in ("error", "critical") or "error" in line
    ]
