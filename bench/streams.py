"""What a streamed chunk costs on its way through: `python -m bench.streams`. µs, best of many.

From the callback of the provider's connection to the write to the client's: llhttp, the answer,
the pump, the meter, framing; everything but the two sockets. The call around it is a real one, of
the whole app with `memory://`, and is not measured. A chunk is one event, alone in its segment or
one of so many. unasked: the client did not ask for usage, so what that adds is taken out again.
"""

import argparse
import asyncio
import cProfile
import gc
import json
import pstats
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

import uvloop

from bench.meters import EVENTS
from proxy.app import App, Settings
from proxy.core.request import DialectName
from proxy.wire import Head, Outgoing, Timeouts
from proxy.wire.answer import Answer
from proxy.wire.body import Body
from proxy.wire.bounds import Bounds
from proxy.wire.exchange import HttpExchange
from proxy.wire.outlet import Outlet
from proxy.wire.server import plain_refusal
from proxy.wire.shared import Shared
from proxy.wire.timing import Deadlines
from proxy.wire.upstream import Household, UpstreamConnection

_POLICY = Path(__file__).with_name("policy.yaml")
_PATHS: dict[DialectName, str] = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
}
_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: req_1\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
_SEGMENTS = 400
_WARM_EVENTS = 3
_TURNS = 30


class Pipe(asyncio.Transport):
    """A transport that takes everything and keeps the count."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__({"socket": sock})
        self.size_bytes = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.size_bytes += len(data)

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        raise AssertionError("too slow")

    def resume_reading(self) -> None:
        pass

    def abort(self) -> None:
        pass


class Provider:
    """Gives the call a connection that the bench feeds."""

    def __init__(self, pipe: Pipe) -> None:
        deadlines = Deadlines(asyncio.get_running_loop())
        self.connection = UpstreamConnection(Household(deadlines, 30.0), {}, "bench")
        self.connection.connection_made(pipe)

    async def send(
        self,
        request: Outgoing,
        timeouts: Timeouts,
        on_sent: Callable[[], None] | None = None,
        on_left: object = None,
    ) -> Answer:
        answer = self.connection.begin({}, timeouts, bodiless=False)
        if on_sent is not None:
            on_sent()
        self.connection.data_received(_HEAD)
        await answer.begun()
        return answer

    async def close(self) -> None:
        pass


class Client:
    """The link of the exchange."""

    def may_stay_open(self) -> bool:
        return True

    def client_left(self) -> bool:
        raise AssertionError("nobody leaves")


def asked(dialect: DialectName, shared: Shared, pipe: Pipe, *, usage: bool) -> HttpExchange:
    """A request for a stream, as the server hands it over."""
    body: dict[str, object] = {"model": "mock", "max_tokens": 1_000_000, "stream": True}
    message = {"role": "user", "content": "hello"}
    if dialect == "responses":
        body = {"model": "mock", "max_output_tokens": 1_000_000, "stream": True, "input": "hello"}
    else:
        body["messages"] = [message]
    if usage and dialect == "chat":
        body["stream_options"] = {"include_usage": True}
    raw = json.dumps(body).encode()
    headers = (
        ("host", "127.0.0.1:8080"),
        ("content-type", "application/json"),
        ("authorization", "Bearer sk-bench"),
        ("content-length", str(len(raw))),
    )
    taken = Body(pipe, shared)
    taken.parts, taken.size, taken.complete = [raw], len(raw), True
    head = Head("POST", _PATHS[dialect], headers)
    outlet = Outlet(pipe, shared)
    return HttpExchange(head, taken, outlet, Client(), shared.heads, http_1_0=False)


def framed(events: Sequence[bytes]) -> bytes:
    """Each in an HTTP chunk of its own, as providers write them."""
    return b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in events)


class Bench:
    """One app, through which streams are sent."""

    def __init__(self, app: App) -> None:
        loop = asyncio.get_running_loop()
        self._sockets = socket.socketpair()
        self._app = app

        async def handler(exchange: object) -> None:
            raise AssertionError

        self._shared = Shared(handler, plain_refusal, Bounds(), loop, Deadlines(loop))

    async def cost(
        self,
        dialect: DialectName,
        event: bytes,
        events: int,
        *,
        usage: bool,
        profile: cProfile.Profile | None = None,
    ) -> float:
        """Seconds for all segments of one stream, each of so many events."""
        into, out = (Pipe(sock) for sock in self._sockets)
        provider = Provider(into)
        self._app.upstreams = provider  # type: ignore[assignment]
        handle = self._app._build().handle  # noqa: SLF001 - behind another provider
        exchange = asked(dialect, self._shared, out, usage=usage)
        task = asyncio.get_running_loop().create_task(handle(exchange))
        for _ in range(_WARM_EVENTS):
            await _turns()
            provider.connection.data_received(framed([event]))
        await _turns()
        assert exchange.started
        segments = [framed([event] * events)] * _SEGMENTS
        receive = provider.connection.data_received
        before = out.size_bytes
        if profile:
            profile.enable()
        began = perf_counter()
        for segment in segments:
            receive(segment)
        took = perf_counter() - began
        if profile:
            profile.disable()
        assert out.size_bytes > before + _SEGMENTS * events * 50
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return took


async def _turns() -> None:
    """Lets the call come to where it waits."""
    loop = asyncio.get_running_loop()
    for _ in range(_TURNS):
        turned = loop.create_future()
        loop.call_soon(turned.set_result, None)
        await turned


async def measure(arguments: argparse.Namespace) -> None:
    settings = Settings(policy_path=_POLICY, port=0, admin_port=0, store_url="memory://")
    app = App(settings, {"HOLDFAST_ADMIN_TOKEN": "bench"})
    await app.start()
    app.lines.add = lambda call: None  # type: ignore[method-assign]  # it would fill the screen
    bench = Bench(app)
    gc.collect()
    gc.freeze()
    columns = ("bytes", "alone", "unasked", "of 5", "of 20", "unasked")
    print(f"{'a chunk':18}" + "".join(f"{name:>9}" for name in columns))
    try:
        for name, dialect, event in EVENTS:
            figures = []
            for events, usage in ((1, True), (1, False), (5, True), (20, True), (20, False)):
                best = min(
                    [
                        await bench.cost(dialect, event, events, usage=usage)
                        for _ in range(arguments.rounds)
                    ]
                )
                figures.append(best / _SEGMENTS / events * 1e6)
            line = "".join(f"{figure:9.2f}" for figure in figures)
            print(f"{name:18}{len(event):9}{line}", flush=True)
        if arguments.calls:
            profile = cProfile.Profile()
            name, dialect, event = EVENTS[0]
            await bench.cost(dialect, event, 1, usage=True, profile=profile)
            stats = pstats.Stats(profile)
            total = sum(row[1] for row in stats.stats.values())  # type: ignore[attr-defined]
            print(f"{total / _SEGMENTS:.0f} calls a chunk")
            stats.sort_stats("tottime").print_stats(30)
    finally:
        await app.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--calls", action="store_true")
    uvloop.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
