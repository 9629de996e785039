"""The simulated provider as a server: one port that answers as OpenAI and as Anthropic do."""

import asyncio
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

import msgspec
from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from proxy.clock import Clock, SystemClock
from proxy.simulator.builtin import DefaultScript
from proxy.simulator.cache import PromptCache
from proxy.simulator.control import Control
from proxy.simulator.faults import Fault, FaultBoard, Rule, parse_faults
from proxy.simulator.ids import Ids, IdStyle
from proxy.simulator.journal import Entry, Journal, Totals
from proxy.simulator.provider import Provider
from proxy.simulator.script import Actor, Price, Script, cost_micro_usd
from proxy.simulator.service import Service

_LARGEST_BODY = 64 * 1024 * 1024
_BACKLOG = 4_096
"""Thousands may connect at once; past it they would wait for a second, or be reset."""


class Simulator:
    """The simulated provider, in this process.

    ```python
    async with Simulator(script=Script((Turn(text="Hello."),)), seed=1) as sim:
        client = AsyncOpenAI(base_url=sim.url + "/v1", api_key="sk-test")
    ```

    script: what the model says, the built-in script if None. seed: makes ids repeatable. prices:
    USD per million tokens by glob, before those of the script. cache: reports prompt-cache reads.
    port 0: a free one.
    """

    def __init__(
        self,
        script: Actor | None = None,
        *,
        seed: int | None = None,
        ids: IdStyle = "random",
        host: str = "127.0.0.1",
        port: int = 0,
        prices: Mapping[str, Price] | None = None,
        cache: bool = False,
        journal_size: int = 1_000,
        clock: Clock | None = None,
    ) -> None:
        clock = clock or SystemClock()
        actor = DefaultScript() if script is None else script
        if prices is None and isinstance(script, Script):
            prices = script.prices
        makes = Ids(seed, ids)
        self._host, self._port = host, port
        self._journal = Journal(
            clock, lambda model, i, o: cost_micro_usd(prices, model, i, o), journal_size
        )
        self._board = FaultBoard()
        self._control = Control(self._journal, self._board)
        provider = Provider(actor, makes, clock, PromptCache() if cache else None)
        self._service = Service(provider, self._board, self._journal, makes, clock)
        self._runner: web.ServerRunner | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """Its origin, without `/v1`."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def journal(self) -> tuple[Entry, ...]:
        """The requests received, the oldest first."""
        return self._journal.entries

    @property
    def totals(self) -> Totals:
        """Sums over all requests, running streams included."""
        return self._journal.totals

    async def start(self) -> None:
        """Listens. Raises OSError where the port is taken."""
        server = web.Server(
            self._handle,
            request_factory=_request,
            handler_cancellation=True,  # or a client that leaves would never be noticed
            access_log=None,
            keepalive_timeout=75.0,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=0.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port, backlog=_BACKLOG).start()
        except OSError:
            await self.stop()
            raise
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stops listening; streams under way are cut."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def fail(
        self,
        faults: str | Fault,
        *,
        model: str = "*",
        path: str = "*",
        times: int | None = None,
    ) -> None:
        """From now on requests fail so: `status=503`, `cut_events=3;how=reset`. Raises BadFault."""
        parsed = parse_faults(faults) if isinstance(faults, str) else (faults,)
        self._board.rules.append(Rule(parsed, model, path, times))

    def heal(self) -> None:
        """Takes back every `fail`."""
        self._board.rules.clear()

    def forget(self) -> None:
        """Empties the journal and the totals."""
        self._journal.clear()

    async def wait_for(
        self, predicate: Callable[[Self], bool], timeout_seconds: float = 5.0
    ) -> None:
        """Waits until what was received or sent makes the predicate true. Raises TimeoutError."""
        await self._journal.wait_for(lambda: predicate(self), timeout_seconds)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        if request.path.startswith("/__sim/"):
            status, answer = self._control.answer(request.method, request.path, request.query, body)
            return web.Response(
                status=status, body=msgspec.json.encode(answer), content_type="application/json"
            )
        headers = tuple(
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers
        )
        entry = self._journal.open(request.method, request.path_qs, headers, body)
        try:
            return await self._service.answer(request, entry)
        except asyncio.CancelledError:
            self._journal.left(entry)
            raise
        except ConnectionError:
            self._journal.left(entry)
            return web.Response()  # to nobody; raised, it would be logged as a fault of ours
        finally:
            self._journal.close(entry)


def _request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(
        message, payload, protocol, writer, task, loop, client_max_size=_LARGEST_BODY
    )
