"""The load of a round: calls of all kinds at once, what the model answers them, what their clients
got."""

import asyncio
import json
import random
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

import aiohttp

from proxy.admin.shapes import Json
from proxy.core.request import DialectName
from proxy.simulator import Fault, FaultKind, ToolCall, Turn
from proxy.simulator.conversation import Conversation
from tests.integration.agent_kit import Agent, Cut
from tests.integration.kit import DIALECTS, MODEL, PATHS, Answer, Sidecar, body_of

POLICY: Final = """
prices: {"sim-model*": {input: 1.0, output: 2.0}}
upstreams:
  openai: {base_url: "${HOLDFAST_OPENAI_URL}"}
  anthropic: {base_url: "${HOLDFAST_ANTHROPIC_URL}", dialect: anthropic}
  second: {base_url: "${HOLDFAST_OPENAI_URL}", api_key: key-of-second}
routes:
  - {match: {model: sim-model-down, endpoint: chat}, to: [openai], fallback: [second/sim-model]}
  - match: {model: sim-model-slow}
    to: [openai]
    fallback: [second/sim-model]
    hedge: {after_seconds: 0.05}
  - {match: {model: sim-model-other, endpoint: messages}, to: [openai/sim-model]}
  - {match: {endpoint: messages}, to: [anthropic]}
  - {match: {model: "*"}, to: [openai]}
limits: {cost_usd: 0.02, duration_seconds: null}
budgets: [{scope: tenant, cost_usd: %(usd)f, window: 1d}]
loops: off
accounting: {min_output_tokens: 20, wait_seconds: 2}
tools: {side_effects: ["send_*"], require_approval: ["pay_*"]}
breakers: {consecutive_failures: 10000, minimum_calls: 10000}
retries: {max: 2, ratio: 1.0, join_seconds: 20}
handoff: {reply: message}
"""
TENANT_USD: Final = 0.042
"""Of a round: so little that some calls wait for others, and some are refused."""
_CHUNK_TOKENS: Final = 2
CHUNK_MICRO_USD: Final = 2 * _CHUNK_TOKENS
_GAP_SECONDS: Final = 0.01
_ASKED: Final = re.compile(r"<(\S+) (\d+) (\w+)>")
_ENDS: Final = {
    "chat": b"data: [DONE]",
    "responses": b'"type":"response.completed"',
    "messages": b'"type":"message_stop"',
}


class Model:
    """An actor: what each call is answered stands in its text."""

    def turn(self, conversation: Conversation) -> Turn:
        asked = _ASKED.search(f"{conversation.user} {conversation.parts}")
        if asked is None:
            return Turn(text="ok")
        tokens, kind = int(asked[2]), asked[3]
        if kind in ("guarded", "approved"):
            return _tool_turn(conversation, kind, tokens)
        if kind in ("down", "slow") and not conversation.model.endswith(kind):
            kind = "plain"  # this is the target that it has fallen back to
        turn = _KINDS.get(kind, Turn())
        if conversation.stream:
            gap = _GAP_SECONDS
            return replace(
                turn, text_tokens=tokens, chunk_tokens=_CHUNK_TOKENS, chunk_gap_seconds=gap
            )
        seconds = turn.latency_seconds + _GAP_SECONDS * tokens / _CHUNK_TOKENS
        return replace(turn, text_tokens=tokens, latency_seconds=seconds)


_KINDS: Final = {
    "retried": Turn(faults=(Fault(FaultKind.STATUS, at=503, times=1),)),
    "down": Turn(faults=(Fault(FaultKind.STATUS, at=500),)),
    "slow": Turn(latency_seconds=0.25),
    "broken": Turn(faults=(Fault(FaultKind.CUT_EVENTS, at=6, how="close"),)),
    "failed": Turn(faults=(Fault(FaultKind.ERROR_EVENT, at=5),)),
    "refused": Turn(faults=(Fault(FaultKind.STATUS, at=400),)),
    "late": Turn(first_token_seconds=0.15),
}


def _tool_turn(conversation: Conversation, kind: str, tokens: int) -> Turn:
    """A mail, which the model then asks for a second time; or what a human is to allow."""
    gap = _GAP_SECONDS if conversation.stream else 0.0
    turn = Turn(chunk_tokens=_CHUNK_TOKENS, chunk_gap_seconds=gap)
    if kind == "approved":
        return replace(turn, tool_calls=(ToolCall("pay_bill", {"to": "a"}),))
    if conversation.step < 2:  # and the second time it is a duplicate
        return replace(turn, tool_calls=(ToolCall("send_email", {"to": "a"}),))
    return replace(turn, text_tokens=tokens)


@dataclass(frozen=True, slots=True)
class Given:
    """An answer that a client has seen whole. sent: what it had asked, as JSON. path: where."""

    session: str
    path: str
    step: int
    sent: Json
    body: bytes


@dataclass
class Clients:
    """All of a round. given: what they saw whole. with_tools: sessions whose model asks for tools.
    faults: what they saw that must not be."""

    car: Sidecar
    name: str
    draw: random.Random
    given: list[Given] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)
    agents: list[Agent] = field(default_factory=list)
    with_tools: set[str] = field(default_factory=set)
    numbers: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.name}", "anthropic-version": "2023-06-01"}

    async def run(self, most_seconds: float) -> None:
        """Everything at once, twice over; ends when all have an end, or lost the sidecar."""
        work = [self._told(kind, make) for kind, make in KINDS for _ in range(2)]
        self.draw.shuffle(work)
        with suppress(TimeoutError):
            async with asyncio.timeout(most_seconds):
                await asyncio.gather(*work)

    async def _told(
        self, kind: str, make: "Callable[[Clients], Coroutine[Any, Any, None]]"
    ) -> None:
        await asyncio.sleep(self.draw.uniform(0, 0.4))  # noqa: TID251 - a load is made of time
        try:
            await make(self)
            self.seen[kind] = self.seen.get(kind, 0) + 1
        except (aiohttp.ClientError, ConnectionError, Cut, AssertionError):
            self.seen["lost"] = self.seen.get("lost", 0) + 1

    def session(self) -> str:
        self.numbers += 1
        return f"{self.name}-{self.numbers}"

    def text(self, session: str, kind: str, tokens: int) -> str:
        return f"<{session} {tokens} {kind}> {'as it was told ' * self.draw.choice((0, 5, 80))}"

    async def call(
        self,
        kind: str = "plain",
        *,
        dialect: DialectName = "",  # type: ignore[assignment]  # any
        stream: bool | None = None,
        session: str = "",
        model: str = MODEL,
        tokens: int = 0,
        leaves: float | None = None,
        more: Mapping[str, str] | None = None,
        bound: int = 400,
        text: str = "",
        slowly: bool = False,
    ) -> int:
        """One call; its status."""
        dialect = dialect or self.draw.choice(DIALECTS)
        stream = self.draw.random() < 0.5 if stream is None else stream
        session = session or self.session()
        tokens = tokens or self.draw.randint(20, 120)
        text = text or self.text(session, kind, tokens)
        body = body_of(dialect, stream=stream, text=text, model=model, bound=bound)
        url = f"{self.car.url}/s/{session}{PATHS[dialect]}"
        try:
            async with asyncio.timeout(leaves):
                async with self.car.http.post(
                    url, json=body, headers={**self.headers, **(more or {})}
                ) as response:
                    got = await self._read(response, slowly)
                    self.note(
                        dialect, session, body, Answer(response.status, response.headers, got)
                    )
                    return response.status
        except TimeoutError:
            return 0

    async def _read(self, response: aiohttp.ClientResponse, slowly: bool) -> bytes:
        if not slowly:
            return await response.read()
        got = b""
        while piece := await response.content.read(20_000):
            got += piece
            await asyncio.sleep(0.01)  # noqa: TID251 - it is slow
        return got

    def note(self, dialect: DialectName, session: str, sent: Json, answer: Answer) -> None:
        """An answer, if it is one that was seen whole."""
        is_stream = isinstance(sent, dict) and sent.get("stream")
        if is_stream and _ENDS[dialect] not in answer.body.replace(b'": ', b'":'):
            return
        if answer.status == 200:
            step = int(answer.headers.get("x-holdfast-step", 0))
            name = answer.headers.get("x-holdfast-session", session)
            self.given.append(Given(name, PATHS[dialect], step, sent, answer.body))


async def _leaving(on: Clients) -> None:
    await on.call(leaves=on.draw.uniform(0.02, 0.6), tokens=150)


async def _joined(on: Clients) -> None:
    """Its client gives up and asks again at once, as SDKs do."""
    session = on.session()
    text, dialect = on.text(session, "plain", 80), on.draw.choice(DIALECTS)
    for leaves in (0.15, None):
        await on.call(dialect=dialect, stream=False, session=session, text=text, leaves=leaves)


class _Noting:
    """What an agent calls: each answer that it gets is noted."""

    def __init__(self, on: Clients) -> None:
        self._on = on

    async def call(self, dialect: DialectName, **more: Any) -> Answer:
        session, stream = more.pop("session"), more.pop("stream")
        headers = more.pop("headers")
        body = {**body_of(dialect, stream=stream, bound=more.pop("bound"), tools=more.pop("tools"))}
        body |= more
        answer = await self._on.car.send(f"/s/{session}{PATHS[dialect]}", body, headers)
        if answer.cut:
            raise ConnectionError("the answer was cut")
        self._on.note(dialect, session, json.loads(json.dumps(body)), answer)
        return answer


async def _agent(on: Clients, stream: bool, kind: str = "guarded") -> None:
    session = on.session()
    tools = ("send_email", "search") if kind == "guarded" else ("pay_bill",)
    on.with_tools.add(session)
    car = cast("Sidecar", _Noting(on))
    agent = Agent(
        car, on.draw.choice(DIALECTS), stream, session, tools=tools, headers=on.headers,
        history=[{"role": "user", "content": on.text(session, kind, 20)}], bound=200,
    )  # fmt: skip
    if kind == "guarded":
        on.agents.append(agent)
    await agent.finish()


async def _tree(on: Clients) -> None:
    root = on.session()
    await asyncio.gather(
        on.call(session=root), *[on.call(session=f"{root}/{root}c{n}") for n in range(2)]
    )


async def _tight(on: Clients) -> None:
    """More at once than its own budget has room for: they wait for one another."""
    session = on.session()
    more = {"x-holdfast-budget-usd": "0.0012"}
    await asyncio.gather(
        *[
            on.call(stream=n % 2 == 0, session=session, more=more, tokens=100, bound=150)
            for n in range(4)
        ]
    )


async def _growing(on: Clients) -> None:
    """Streams that come to more than is held for them at first."""
    await on.call(stream=True, tokens=350, bound=900)


async def _killed(on: Clients) -> None:
    session = on.session()
    task = asyncio.ensure_future(on.call(session=session, tokens=150))
    await asyncio.sleep(0.2)  # noqa: TID251
    with suppress(aiohttp.ClientError, ValueError):
        await on.car.admin("POST", f"/sessions/{session}/kill")
    await task


async def _slow_reader(on: Clients) -> None:
    await on.call(stream=True, tokens=200, bound=900, slowly=True)


async def _uploading(on: Clients) -> None:
    session = on.session()
    await on.call(text=on.text(session, "plain", 20) + "x" * 900_000, session=session)


async def _resumed(on: Clients) -> None:
    """An agent that starts again, and is given what it was given before. What was cut is not kept,
    and is asked for anew."""
    session, runs = on.session(), list[dict[str, bytes]]()
    texts = [on.text(session, "plain", 20) + f" and {number}" for number in range(3)]
    for more in ({}, {"x-holdfast-resume": "true"}):
        before = len(on.given)
        for number, text in enumerate(texts):
            await on.call(dialect="chat", session=session, text=text, stream=number == 1, more=more)
        own = [given for given in on.given[before:] if given.session == session]
        runs.append({json.dumps(given.sent): given.body for given in own})
    first, again = runs
    others = any(again.get(sent) != body for sent, body in first.items())
    on.faults += [f"{session}: was resumed with other answers"] * others


async def _diverging(on: Clients) -> None:
    """An agent that starts again and asks for the same in other bytes, for what changes by itself,
    and then for something else. What it is given then is not held to its first run: it is a call of
    its own, or stands in a body that was never sent."""
    session, first = on.session(), len(on.given)
    texts = [on.text(session, "plain", 20) + f" on 2026-11-{day}T10:00:00Z" for day in (28, 29)]
    for text in texts:
        await on.call(dialect="chat", session=session, text=text, stream=False)
    if len([given for given in on.given[first:] if given.session == session]) < len(texts):
        return
    again = (texts[0], texts[1].replace("10:00:00", "11:30:00"), f"{texts[0]} Or something else?")
    for text in again:
        body = body_of("chat", stream=False, text=text, bound=400)
        sent = json.dumps(dict(reversed(body.items())), indent=1).encode()
        await on.car.send(f"/r/{session}{PATHS['chat']}", sent, on.headers)


async def _cramped(on: Clients) -> None:
    """Two streams that come to more than what is held for them, in a session that has room for one
    of them: the newer one is cut where it stands."""
    small = {"x-holdfast-agent": "brief"}
    await asyncio.gather(
        *[
            on.call(dialect="chat", stream=False, session=s, text=f"<{s} 20 plain>", more=small)
            for s in [on.session() for _ in range(8)]
        ]
    )
    session = on.session()
    more = {**small, "x-holdfast-budget-usd": "0.0015"}
    text = f"<{session} 300 plain>"
    await asyncio.gather(
        *[
            on.call(dialect="chat", stream=True, session=session, text=text, bound=600, more=more)
            for _ in range(2)
        ]
    )


async def _steps(on: Clients) -> None:
    """A session of several steps, its history growing."""
    session = on.session()
    for number in range(3):
        await on.call(session=session, text=on.text(session, "plain", 20) + f" and {number}")


def _simple(kind: str, **more: Any) -> "Callable[[Clients], Coroutine[Any, Any, None]]":
    async def make(on: Clients) -> None:
        await on.call(kind, **more)

    return make


KINDS: Final[Sequence[tuple[str, "Callable[[Clients], Coroutine[Any, Any, None]]"]]] = (
    ("whole", _simple("plain", stream=False)),
    ("streamed", _simple("plain", stream=True)),
    ("retried", _simple("retried")),
    ("fallen back", _simple("down", dialect="chat", model="sim-model-down")),
    ("hedged", _simple("slow", dialect="chat", model="sim-model-slow")),
    ("translated", _simple("plain", dialect="messages", model="sim-model-other")),
    ("broken", _simple("broken", stream=True)),
    ("failed", _simple("failed", stream=True)),
    ("refused", _simple("refused")),
    ("late", _simple("late", stream=True)),
    ("leaving", _leaving),
    ("joined", _joined),
    ("agent", lambda on: _agent(on, False)),
    ("agent streamed", lambda on: _agent(on, True)),
    ("approval", lambda on: _agent(on, on.draw.random() < 0.5, "approved")),
    ("tree", _tree),
    ("tight", _tight),
    ("growing", _growing),
    ("killed", _killed),
    ("slow reader", _slow_reader),
    ("uploading", _uploading),
    ("steps", _steps),
    ("resumed", _resumed),
    ("diverging", _diverging),
    ("cramped", _cramped),
)
