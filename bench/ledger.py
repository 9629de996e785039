"""What deciding, reserving and settling cost beside the store: `python -m bench.ledger`.

`Ledger.reserve` and `Settler.settle_answer` on a store that does nothing and answers at once, and
what the intake resolves for a call (who calls, its price, its size). One thread, no I/O; the best
of the rounds, as others share the machine. `--calls` lists what is called how often for one call.
"""

import argparse
import asyncio
import cProfile
import gc
import json
import pstats
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import NamedTuple

import uvloop
from msgspec.structs import replace

from bench.bodies import question
from proxy.callers import Callers, own_budget
from proxy.calls import LiveCall
from proxy.clock import SystemClock
from proxy.config import load_policy
from proxy.core.decision import Refusal
from proxy.core.events import AnyEvent
from proxy.core.identity import Identified
from proxy.core.paths import PathParts
from proxy.core.policy import Policy
from proxy.core.session import SessionKey, SessionState
from proxy.core.usage import Answer, Usage
from proxy.identity import SessionIndex
from proxy.intake import Call, Intake
from proxy.ledger import Ledger
from proxy.metrics import Metrics
from proxy.prices.book import PriceBook
from proxy.prices.table import load_table
from proxy.progress import Progress
from proxy.reservation import Admitted, Reservation
from proxy.settling import Settler
from proxy.stores import Append, Appended, Balance, Stored
from proxy.stores.written import Written
from proxy.tasks import Tasks
from proxy.usual import UsualOutput
from proxy.wire import Head

_HEADERS = (
    ("host", "127.0.0.1:8080"),
    ("content-type", "application/json"),
    ("user-agent", "OpenAI/Python 3.54.0"),
    ("authorization", "Bearer sk-bench"),
)
_WHO = Identified("s", "header")
_USAGE = Usage(input_tokens=100, output_tokens=64)
_ANSWER = Answer("word " * 64, (), "chatcmpl-1", "stop")
_POLICIES = {"bench": Path(__file__).with_name("policy.yaml"), "default": None}
_AS_MANY = 100
"""Steps of a growing session before the next begins: the default policy allows 150."""


class NoStore:
    """Takes everything, keeps only how long each log is."""

    def __init__(self) -> None:
        self._lengths: dict[SessionKey, int] = {}

    def append(self, append: Append) -> Written[Appended]:
        length = self._lengths.get(append.key, 0) + len(append.events)
        self._lengths[append.key] = length
        written: Written[Appended] = Written(loop=asyncio.get_running_loop())
        written.set_result(Appended(length, b""))
        return written

    async def read(self, key: SessionKey, after_seq: int = 0) -> Sequence[Stored]:
        return ()

    async def balances(self, accounts: Iterable[str]) -> Mapping[str, Balance]:
        return {account: Balance() for account in accounts}

    async def find_links(
        self, tenant: str, links: Sequence[bytes]
    ) -> Mapping[bytes, tuple[str, ...]]:
        return {}


class NoIndex(SessionIndex):
    """Remembers nothing: what that costs is not measured here."""

    def remember_answer(self, *_: object) -> tuple[bytes, ...]:
        return ()


class Source(NamedTuple):
    """The policy in force."""

    current: Policy


def nobody_hears(key: SessionKey, event: AnyEvent, state: SessionState) -> None:
    """Stands for the live events while nobody watches."""


class Room:
    """The part of an app that decides."""

    def __init__(self, policy: str, bound: int | None) -> None:
        store, clock = NoStore(), SystemClock()
        self.policy = load_policy(_POLICIES[policy], {}).policy
        metrics = Metrics(lambda: 0, lambda: 0)
        observers = [metrics.observe_event, nobody_hears]
        on_write = metrics.observe_store
        self.ledger = Ledger(store, clock, "bench", Tasks(), observers=observers, on_write=on_write)  # type: ignore[arg-type]
        prices, usual = PriceBook(load_table(), clock), UsualOutput()
        index = NoIndex(store, 10_000, clock)
        callers = Callers(b"k" * 32)
        self.intake = Intake(Source(self.policy), index, prices, usual, callers, clock)
        self.settler = Settler(self.ledger, index, prices, usual)
        model = "mock" if policy == "bench" else "gpt-5-mini"
        body = {**question(), "model": model, **({"max_tokens": bound} if bound else {})}
        self.raw = json.dumps(body).encode()
        self.head = Head("POST", "/v1/chat/completions", _HEADERS)
        self.parts = PathParts("/v1/chat/completions")

    async def call(self) -> Call:
        call = await self.intake.understand(self.head, self.parts, "chat", self.raw, "c0")
        assert isinstance(call, Call)
        return call

    def want(self, call: Call, session: str, number: int, *, new: bool) -> Reservation:
        return Reservation(
            key=SessionKey(call.key.tenant, session),
            call_id=f"c{number}",
            ask=replace(call.ask, session=session),
            rules=call.rules,
            budgets=call.policy.budgets,
            agent=None,
            parent=None,
            source="header",
            upstream=call.upstream.name,
            deadline_seconds=660.0,
            idle_seconds=3_600,
            new=new,
            wait_seconds=30.0,
        )

    def resolve(self, call: Call) -> None:
        """What `Intake.understand` does beside parsing and attributing."""
        intake, policy, request = self.intake, self.policy, call.request
        origin = intake.origin(self.head, self.parts, policy, request.model, "chat")
        assert not isinstance(origin, Refusal)
        caller = replace(origin.caller, agent=None)
        model = origin.target.model or request.model
        price = intake._price(policy, origin.upstream, model)  # noqa: SLF001
        assert not isinstance(price, Refusal)
        own = own_budget(caller, request.hints)
        intake.callers.rules(policy, caller, own)
        intake._ask(policy, caller, _WHO, request, model, price)  # noqa: SLF001


class Spent(NamedTuple):
    """µs a call."""

    resolve: float
    reserve: float
    settle: float


async def _round(room: Room, call: Call, first: int, calls: int, *, growing: bool) -> Spent:
    resolve = reserve = settle = 0
    live = LiveCall(call.key, asyncio.current_task(), 0.0, lambda: Refusal(504, "", "", ""))  # type: ignore[arg-type]
    for number in range(first, first + calls):
        session = f"g{number // _AS_MANY}" if growing else f"n{number}"
        new = number % _AS_MANY == 0 or not growing
        want = room.want(call, session, number, new=new)
        its = replace(call, call_id=want.call_id, key=want.key, ask=want.ask)
        began = perf_counter_ns()
        room.resolve(call)
        resolved = perf_counter_ns()
        admitted = await room.ledger.reserve(want)
        reserved = perf_counter_ns()
        assert isinstance(admitted, Admitted), admitted
        progress = Progress(its, admitted, live, "r")
        settling = perf_counter_ns()
        await room.settler.settle_answer(progress, _USAGE, _ANSWER)
        settle += perf_counter_ns() - settling
        resolve += resolved - began
        reserve += reserved - resolved
    return Spent(*(total / calls / 1e3 for total in (resolve, reserve, settle)))


async def measure(arguments: argparse.Namespace, policy: str, *, growing: bool) -> Spent:
    room = Room(policy, arguments.bound)
    call, done, rounds = await room.call(), 0, []
    gc.freeze()
    for _ in range(arguments.rounds + 1):
        rounds.append(await _round(room, call, done, arguments.requests, growing=growing))
        done += arguments.requests
    if arguments.calls:
        profile = cProfile.Profile()
        profile.enable()
        await _round(room, call, done, 200, growing=growing)
        profile.disable()
        stats = pstats.Stats(profile)
        total = sum(row[1] for row in stats.stats.values())  # type: ignore[attr-defined]
        print(f"{total / 200:.0f} function calls")
        stats.sort_stats("tottime").print_stats(70)
    return Spent(*(min(values) for values in zip(*rounds[1:], strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policies", nargs="+", default=list(_POLICIES))
    parser.add_argument("--sessions", nargs="+", default=["growing", "new"])
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--bound", type=int, default=512, help="max_tokens; 0: none")
    parser.add_argument("--calls", action="store_true")
    arguments = parser.parse_args()
    print(f"{'policy':9} {'session':9} {'resolve':>9} {'reserve':>9} {'settle':>9}   µs a call")
    for policy in arguments.policies:
        for session in arguments.sessions:
            spent = uvloop.run(measure(arguments, policy, growing=session == "growing"))
            figures = " ".join(f"{value:9.1f}" for value in spent)
            print(f"{policy:9} {session:9} {figures}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
