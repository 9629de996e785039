"""What durability costs a governed call: `python -m bench.durability`.

The relay of `bench.governance`, on each store in turn, with what each call sent and was answered
kept whole (`full`), as hashes, or not at all. CPU is this process's, all threads, the best of the
rounds; a Redis server's own is beside it. Time is from a request that has come to its answer's last
byte, with so many calls at once. Redis is measured where `--redis URL` names a server that may be
written to, or a `redis-server` or `valkey-server` is found, which is started with an append-only
file.
"""

import argparse
import asyncio
import gc
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, process_time, sleep

import uvloop

from bench.governance import Asked, Load, Provider, policy_of
from proxy.app import App, Settings

_KEY = "0" * 64
_SERVERS = ("redis-server", "valkey-server")
_BESIDE = Path(__file__).parent.parent / ".redis" / "usr"
_PORT = 16_379


class Timed:
    """Calls a relay, so many at once, and notes how long each took."""

    def __init__(self, app: App) -> None:
        self._handle = app._build().handle  # noqa: SLF001 - behind another provider
        self.seconds: list[float] = []

    async def run(self, asked: list[Asked], lanes: int) -> None:
        waiting = iter(asked)

        async def lane() -> None:
            for exchange in waiting:
                began = perf_counter()
                await self._handle(exchange)  # type: ignore[arg-type]
                self.seconds.append(perf_counter() - began)
                assert exchange.status == 200

        async with asyncio.TaskGroup() as tasks:
            for _ in range(lanes):
                tasks.create_task(lane())


async def measure(
    arguments: argparse.Namespace, url: str, content: str, folder: Path
) -> tuple[float, float, float]:
    """CPU a call in µs, and its median and its 99th percentile in ms."""
    settings = Settings(policy_path=policy_of(folder, content), port=0, admin_port=0, store_url=url)
    env = {"HOLDFAST_ADMIN_TOKEN": "bench", "HOLDFAST_CHAIN_KEY": _KEY}
    app = App(settings, {**env, "HOLDFAST_STATE_DIR": str(folder)})
    await app.start()
    app.lines.add = lambda call: None  # type: ignore[method-assign]  # it would fill the screen
    app.upstreams = Provider()  # type: ignore[assignment]
    timed, load, best = Timed(app), Load(arguments.cell), float("inf")
    try:
        await timed.run([load.next() for _ in range(arguments.requests)], arguments.lanes)
        gc.freeze()
        timed.seconds.clear()
        for _ in range(arguments.rounds):
            asked = [load.next() for _ in range(arguments.requests)]
            began = process_time()
            await timed.run(asked, arguments.lanes)
            best = min(best, (process_time() - began) / len(asked) * 1e6)
    finally:
        await app.close()
    seconds = sorted(timed.seconds)
    return best, seconds[len(seconds) // 2] * 1e3, seconds[len(seconds) * 99 // 100] * 1e3


@contextmanager
def redis(url: str, folder: Path) -> Iterator[str | None]:
    """The URL of a server: that one, or one of our own; None where there is none."""
    program = next(
        (
            found
            for name in _SERVERS
            if (found := shutil.which(name) or shutil.which(name, path=str(_BESIDE / "bin")))
        ),
        None,
    )
    if url or program is None:
        yield url or None
        return
    libraries = {"LD_LIBRARY_PATH": str(_BESIDE / "lib" / "x86_64-linux-gnu")}
    command = [program, "--port", str(_PORT), "--dir", str(folder), "--appendonly", "yes"]
    with subprocess.Popen(
        [*command, "--save", ""], env={**os.environ, **libraries}, stdout=subprocess.DEVNULL
    ) as server:
        try:
            sleep(1.0)
            yield f"redis://127.0.0.1:{_PORT}"
        finally:
            server.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cell", default="sessions", choices=["small", "58k", "sessions"])
    parser.add_argument("--redis", default="")
    parser.add_argument("--content", nargs="+", default=["full", "hashes", "off"])
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lanes", type=int, default=16)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, redis(arguments.redis, Path(name)) as server:
        print(f"{arguments.cell}, {arguments.lanes} at once")
        for content in arguments.content:
            ledger = f"sqlite:///{name}/{content}.db"
            for store, url in (("memory", "memory://"), ("sqlite", ledger), ("redis", server)):
                if url is None:
                    print(f"{store:7} no server was found")
                    continue
                cpu, half, most = uvloop.run(measure(arguments, url, content, Path(name)))
                told = f"{cpu:7.0f} µs CPU a call, p50 {half:6.2f} ms, p99 {most:6.2f} ms"
                print(f"{store:7} {content:7} {told}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
