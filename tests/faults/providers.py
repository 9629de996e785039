"""The two providers of a cell: simulated ones, and such as cannot even be talked to."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field

import aiohttp

from proxy.core.request import DialectName
from proxy.simulator import Entry, Script, Simulator, ToolCall, Turn
from tests.fakes_tls import TlsUpstream
from tests.faults.cases import Case
from tests.faults.said import Said
from tests.integration.kit import PATHS, body_of

TOOL = "lookup"
_FINISHED = {"chat": "tool_calls", "messages": "tool_use", "responses": "completed"}


@dataclass(frozen=True, slots=True)
class Provider:
    """One upstream. prices: micro-USD for a token of input and of output. tls: where it is one
    that speaks nothing else."""

    name: str
    url: str
    prices: tuple[int, int]
    sim: Simulator | None = None
    tls: TlsUpstream | None = None

    @property
    def requests(self) -> list[Entry]:
        """What has arrived and could be read."""
        return [] if self.sim is None else [e for e in self.sim.journal if e.method == "POST"]

    @property
    def attempts(self) -> int | None:
        """How often it was asked; None: what never arrives cannot be counted."""
        if self.tls is not None:
            return len(self.tls.names)
        return None if self.sim is None else len(self.requests)

    def bill(self, entry: Entry) -> int:
        """What one request costs in micro-USD, by what was really generated."""
        return self.prices[0] * entry.input_tokens + self.prices[1] * entry.output_tokens


@dataclass(frozen=True, slots=True)
class Model:
    """What a provider's model answers with, and how that reads in a client's dialect."""

    name: str
    prices: tuple[int, int]
    turn: Turn = field(repr=False)

    def said(self, dialect: DialectName) -> Said:
        """The whole answer, without its usage."""
        calls = [(call.name, str(call.arguments)) for call in self.turn.tool_calls]
        return Said(self.turn.text, calls, _FINISHED[dialect])


def _turn(word: str) -> Turn:
    call = ToolCall(TOOL, json.dumps({"q": f"{word} rivers"}))
    return Turn(f"The {word} provider says a few words.", tool_calls=(call,), chunk_tokens=3)


FIRST = Model("model-one", (1, 2), _turn("first"))
SECOND = Model("model-two", (3, 5), _turn("second"))


@asynccontextmanager
async def provider(name: str, model: Model, case: Case | None) -> AsyncIterator[Provider]:
    """A provider that fails as the case says; None: a healthy one."""
    match case.unreachable if case is not None else None:
        case "refused":
            with closing(socket.socket()) as bound:
                bound.bind(("127.0.0.1", 0))  # nobody listens, and nobody else can
                url = f"http://127.0.0.1:{bound.getsockname()[1]}"
                yield Provider(name, url, model.prices)
        case "dns":
            yield Provider(name, f"http://{name}.invalid", model.prices)
        case "tls":
            tls = TlsUpstream()
            server = await asyncio.start_server(tls.serve, "127.0.0.1", 0, ssl=tls.context)
            async with server:
                url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
                yield Provider(name, url, model.prices, tls=tls)
        case _:
            async with Simulator(Script((model.turn,)), seed=len(name)) as sim:
                for fault in case.faults if case is not None else ():
                    sim.fail(fault)
                yield Provider(name, sim.url, model.prices, sim=sim)


async def borders(dialect: DialectName) -> int:
    """How many events a stream has here: it can be cut before each of them."""
    body = body_of(dialect, stream=True, model=FIRST.name, tools=(TOOL,))
    if dialect == "chat":
        body["stream_options"] = {"include_usage": True}  # which is asked for on the way
    headers = {"authorization": "Bearer k", "anthropic-version": "2023-06-01"}
    async with provider("first", FIRST, None) as one, aiohttp.ClientSession() as http:
        async with http.post(one.url + PATHS[dialect], json=body, headers=headers) as answer:
            await answer.read()
        return one.requests[0].events_sent
