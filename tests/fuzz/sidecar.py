"""The sidecar of the fuzzers and of the soak: as `holdfast serve`, and it tells about itself.

For each line on its standard input it writes one of JSON to its standard output: what a process
knows of itself and nobody outside can see. The first comes by itself, when it serves.
"""

import asyncio
import gc
import json
import os
import signal
import sys
import threading
from collections import Counter
from pathlib import Path

import uvloop

from proxy import logs
from proxy.app import App, Settings


def _coroutine(task: "asyncio.Task[object]") -> str:
    return str(getattr(task.get_coro(), "__qualname__", task.get_coro()))


def _tell(app: App) -> None:
    gc.collect()
    line = {
        "port": app.port,
        "tasks": Counter(map(_coroutine, asyncio.all_tasks())),
        "threads": threading.active_count(),
        "holds": app.ledger.running,
        "streams": app.calls.streams,
    }
    print(json.dumps(line), flush=True)


def _asked(app: App) -> None:
    for _ in os.read(0, 1_024).splitlines():
        _tell(app)


async def _serve(policy: Path, store: str) -> None:
    stop = asyncio.Event()
    app = App(Settings(policy, port=0, admin_port=0, store_url=store, drain_seconds=5), os.environ)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    gc.freeze()  # as `serve` does
    await app.start()
    loop.add_reader(0, _asked, app)
    _tell(app)
    await stop.wait()
    loop.remove_reader(0)
    await app.drain()


if __name__ == "__main__":
    logs.configure("INFO")
    uvloop.run(_serve(Path(sys.argv[1]), sys.argv[2]))
