"""What the wire alone costs: `python -m bench.wire`.

The real server and the real client over loopback, and between them a handler that relays bytes and
knows nothing of them. The process under test has a core for itself; the load generator and the
provider of `rig/` share the other. CPU is that of the whole process; the least of the rounds, as
others share the machine, with the median beside it. `--calls` lists what one request calls.
"""

import argparse
import asyncio
import cProfile
import gc
import json
import pstats
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from statistics import median

import uvloop

from bench.cells import CELLS
from bench.measure import PROXY_CORE, start_upstream
from bench.places import BUILD, ROOT
from bench.process import Server, end_cleanly, free_port
from bench.rig.load import Load, drive
from proxy.wire import Exchange, Head, Headers, Outgoing, Timeouts
from proxy.wire.client import UpstreamPool
from proxy.wire.headers import Kind, forwarded
from proxy.wire.server import serve

_PATH = "/v1/chat/completions"
_LIMIT_BYTES = 64 * 1024 * 1024
_DROPPED = Kind.ANSWERED_HERE | Kind.LENGTH
_CELLS = ("small", "58k")
_TIMEOUTS = Timeouts()


async def _relay(port: int, upstream_port: int, stats: Path | None) -> None:
    """The process under test, until it is told to stop."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    pool = UpstreamPool({})
    url = f"http://127.0.0.1:{upstream_port}{_PATH}"

    async def handle(exchange: Exchange) -> None:
        body = await exchange.read_body(_LIMIT_BYTES)
        headers = _headers_of(exchange.head)
        request = Outgoing("POST", url, headers, body, exchange.head.same)
        incoming = await pool.send(request, _TIMEOUTS)
        answer = await incoming.read(_LIMIT_BYTES)
        await exchange.respond(incoming.status, forwarded(incoming.headers), answer)

    server = await serve(handle, port=port)
    gc.freeze()
    profile = cProfile.Profile() if stats is not None else None
    if profile is not None:
        profile.enable()
    await stop.wait()
    if profile is not None and stats is not None:
        profile.disable()
        profile.dump_stats(stats)
    await server.close()
    await pool.close()


def _headers_of(head: Head) -> Headers:
    """As the relay does: found once for heads that come again."""
    if head.same is None:
        return forwarded(head.headers, _DROPPED)
    kept = head.same.get(_headers_of)
    if kept is None:
        kept = head.same[_headers_of] = forwarded(head.headers, _DROPPED)
    return kept  # type: ignore[return-value]


def _start(upstream_port: int, stats: Path | None) -> tuple[Server, int]:
    port = free_port()
    directory = BUILD / "run" / "wire"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    argv = [sys.executable, "-m", "bench.wire", "--relay", str(port), str(upstream_port)]
    argv += ["--stats", str(stats)] if stats is not None else []
    server = Server(tuple(argv), PROXY_CORE, ROOT, {}, directory / "log")
    return server, port


def _load(cell_name: str, port: int) -> Load:
    cell = next(cell for cell in CELLS if cell.name == cell_name)
    body = BUILD / f"wire-{cell_name}.json"
    body.write_bytes(json.dumps(cell.bodies()[0]).encode())
    headers = ("content-type: application/json", "authorization: Bearer sk-bench")
    return Load(port, _PATH, (body,), cell.connections, headers)


def _measure(arguments: argparse.Namespace, upstream_port: int) -> None:
    server, port = _start(upstream_port, None)
    try:
        _await_port(server, port)
        for name in arguments.cells:
            load = _load(name, port)
            drive(load, arguments.seconds)
            costs = []
            for _ in range(arguments.rounds):
                before = server.cpu_ns()
                outcome = drive(load, arguments.seconds)
                assert not outcome.errors, outcome
                costs.append((server.cpu_ns() - before) / 1000 / outcome.answered)
            print(f"{name:6} {min(costs):6.1f} µs a request (median {median(costs):.1f})")
    finally:
        server.stop()


def _count(arguments: argparse.Namespace, upstream_port: int) -> None:
    """What is called how often, with a profiler on: its times mean little, its counts all."""
    stats_file = BUILD / "wire.stats"
    for name in arguments.cells:
        server, port = _start(upstream_port, stats_file)
        try:
            _await_port(server, port)
            answered = drive(_load(name, port), arguments.seconds).answered
        finally:
            server.stop()
        stats = pstats.Stats(str(stats_file))
        total = sum(row[1] for row in stats.stats.values())  # type: ignore[attr-defined]
        print(f"{name}: {total / answered:.0f} calls a request")
        stats.sort_stats("tottime").print_stats(45)


def _await_port(server: Server, port: int) -> None:
    while server.exit_code is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise SystemExit("the relay did not start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", nargs="+", default=_CELLS, choices=_CELLS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--calls", action="store_true")
    parser.add_argument("--relay", type=int, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--stats", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.relay is not None:
        port, upstream_port = arguments.relay
        uvloop.run(_relay(port, upstream_port, arguments.stats))
        return
    end_cleanly()
    upstream, upstream_port = start_upstream()
    try:
        (_count if arguments.calls else _measure)(arguments, upstream_port)
    finally:
        upstream.stop()


if __name__ == "__main__":
    main()
