"""One cell of the matrix: a sidecar of its own, two providers, one call, and what came of it."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import aiohttp
import msgspec

from proxy.core.request import DialectName
from proxy.core.session import SessionKey, SessionState, fold
from tests.faults.cases import Case
from tests.faults.providers import FIRST, SECOND, TOOL, Provider, provider
from tests.faults.reading import Got, Read, read
from tests.integration.kit import PATHS, Sidecar, body_of, sidecar

Fallback = Literal["none", "healthy", "translated", "hedged", "down"]
FALLBACKS: tuple[Fallback, ...] = ("none", "healthy", "translated", "hedged", "down")
"""hedged: it is healthy, and is asked beside a first provider that is slow to begin."""
BOUND = 400
"""Tokens of output that a call asks for at most."""
DEADLINE_SECONDS = 9.0
_HUNG_SECONDS = 2 * DEADLINE_SECONDS
_POLICY = """
prices: {model-one: {input: 1, output: 2}, model-two: {input: 3, output: 5}}
upstreams:
  first: %(first)s
  second: %(second)s
routes:
  - {match: {model: "*"}, to: [first]%(fallback)s%(hedge)s}
timeouts: {connect: 1}
breakers: {slow_seconds: 0.8, answer_seconds: 0.8, stall_seconds: 2.6}
retries: {max: 2, wait_seconds: 2}
deadline_seconds: %(deadline)s
"""


@dataclass(frozen=True, slots=True)
class Cell:
    """What fails, of which call, and what there is to fall back on."""

    case: Case
    dialect: DialectName
    stream: bool
    fallback: Fallback


@dataclass(slots=True)
class Seen:
    """What came of it. attempts: by upstream, None where they cannot be counted. billed: by what
    the providers generated, last_billed for the last request of who served; booked: by the log, of
    which failed_cost for attempts before the last. events: how many of each kind are in the log.
    tokens: of output that the first provider generated at its first attempt. held: what is not
    given back."""

    read: Read
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    attempts: dict[str, int | None] = field(default_factory=dict)
    billed: int = 0
    booked: int = 0
    failed_cost: int = 0
    last_billed: int = 0
    events: Counter[str] = field(default_factory=Counter)
    steps: int = 0
    held: int = 0
    tokens: int = 0
    seconds: float = 0.0

    @property
    def served(self) -> str:
        """Who is said to have answered."""
        return self.headers.get("x-holdfast-upstream", "")


async def play(cell: Cell) -> Seen:
    """Plays one cell."""
    second = cell.case if cell.fallback == "down" else None
    with TemporaryDirectory() as folder:
        async with (
            provider("first", FIRST, cell.case) as one,
            provider("second", SECOND, second) as two,
            sidecar(Path(folder), _policy(cell, one, two), upstream="http://127.0.0.1:9") as side,
        ):
            began = asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(_HUNG_SECONDS):
                    seen = await _ask(side, cell)
            except TimeoutError:
                seen = Seen(Read("broken", message="it hangs"))
            seen.seconds = asyncio.get_running_loop().time() - began
            await _account(side, seen, one, two)
            return seen


async def _ask(side: Sidecar, cell: Cell) -> Seen:
    dialect, stream = cell.dialect, cell.stream
    body = body_of(dialect, stream=stream, model=FIRST.name, bound=BOUND, tools=(TOOL,))
    headers = {"authorization": "Bearer key-1", "anthropic-version": "2023-06-01"}
    url = f"{side.url}/s/s1{PATHS[cell.dialect]}"
    async with side.http.post(url, json=body, headers=headers) as response:
        parts, cut = [], False
        try:
            async for part in response.content.iter_any():
                parts.append(part)
        except aiohttp.ClientPayloadError:
            cut = True
        got = Got(response.status, response.content_type, b"".join(parts), cut)
        garbage = 1 if cell.case.when == "tolerated" else 0
        may_stop = cell.case.when == "border"
        ended = read(cell.dialect, cell.stream, got, garbage=garbage, may_stop=may_stop)
        return Seen(ended, response.status, response.headers)


async def _account(side: Sidecar, seen: Seen, *providers: Provider) -> None:
    """Waits until everything is booked, and compares it with what was billed."""
    while side.app.ledger.running:
        await asyncio.wait([asyncio.ensure_future(side.app.ledger.drained())])
    state = await _state(side, seen)
    seen.booked, seen.steps = state.cost_micro_usd, state.steps
    seen.held = state.held_micro_usd + len(await side.app.store.open_holds())
    for one in providers:
        seen.attempts[one.name] = one.attempts
        seen.billed += sum(map(one.bill, one.requests))
        if one.name == seen.served and one.requests:
            seen.last_billed = one.bill(one.requests[-1])
    requests = providers[0].requests
    seen.tokens = requests[0].output_tokens if requests else 0


async def _state(side: Sidecar, seen: Seen) -> SessionState:
    tenants = await side.app.store.find_tenants("s1")
    if not tenants:
        return fold(())
    log = [stored.event for stored in await side.app.store.read(SessionKey(tenants[0], "s1"))]
    for event in map(msgspec.to_builtins, log):
        seen.events[event["type"]] += 1
        if event["type"] == "AttemptFailed":
            seen.failed_cost += event.get("cost_micro_usd", 0)
    return fold(log)


def _policy(cell: Cell, one: Provider, two: Provider) -> str:
    ours = "anthropic" if cell.dialect == "messages" else "openai"
    key = "null" if cell.case.callers_key else "key-of-the-first"
    other, endpoints = ours, ""
    if cell.fallback == "translated":
        other = "anthropic" if cell.dialect == "chat" else "openai"
        endpoints = "" if cell.dialect == "chat" else ", endpoints: [chat]"
    return _POLICY % {
        "first": _upstream(one, ours, key),
        "second": _upstream(two, other, "key-of-the-second", endpoints),
        "fallback": "" if cell.fallback == "none" else f", fallback: [second/{SECOND.name}]",
        "hedge": ", hedge: {after_seconds: 0.5}" if cell.fallback == "hedged" else "",
        "deadline": DEADLINE_SECONDS,
    }


def _upstream(of: Provider, dialect: str, key: str, more: str = "") -> str:
    base = of.url if dialect == "anthropic" else f"{of.url}/v1"
    return f"{{base_url: '{base}', dialect: {dialect}, api_key: {key}{more}}}"
