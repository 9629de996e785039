"""The sidecar of the fuzzers and of the soak: as `holdfast serve`, and it tells about itself.

    python -m tests.fuzz.sidecar POLICY STORE [--checkpoints watched|never] [--core N]

For each line on its standard input it writes one of JSON to its standard output: what a process
knows of itself and nobody outside can see. The first comes by itself, when it serves. With the end
of its input it ends.
"""

import argparse
import asyncio
import gc
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import uvloop

from proxy import collecting, logs
from proxy.app import App, Settings
from tests.soak.checkpoints import observe


def _coroutine(task: "asyncio.Task[object]") -> str:
    return str(getattr(task.get_coro(), "__qualname__", task.get_coro()))


Spans = Sequence[tuple[float, float]]


def _tell(app: App, checkpoints: Spans) -> None:
    gc.collect()
    line = {
        "port": app.port,
        "tasks": Counter(map(_coroutine, asyncio.all_tasks())),
        "threads": threading.active_count(),
        "holds": app.ledger.running,
        "streams": app.calls.streams,
        "checkpoints": checkpoints,
    }
    print(json.dumps(line), flush=True)


def _asked(app: App, checkpoints: Spans, stop: asyncio.Event) -> None:
    asked = os.read(0, 1_024)
    for _ in asked.splitlines():
        _tell(app, checkpoints)
    if not asked:  # whoever started it is gone
        asyncio.get_running_loop().remove_reader(0)
        stop.set()


async def _serve(policy: Path, store: str, checkpoints: Spans) -> None:
    stop = asyncio.Event()
    app = App(Settings(policy, port=0, admin_port=0, store_url=store, drain_seconds=5), os.environ)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    collecting.begin()
    collector = collecting.collect_at_times(app.clock, app.calls.is_idle)
    app.tasks.spawn(collector, "collect garbage")
    await app.start()
    loop.add_reader(0, _asked, app, checkpoints, stop)
    _tell(app, checkpoints)
    await stop.wait()
    loop.remove_reader(0)
    await app.drain()


def main() -> None:
    """Serves until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("policy", type=Path)
    parser.add_argument("store")
    parser.add_argument("--checkpoints", choices=("watched", "never"))
    parser.add_argument("--core", type=int)
    arguments = parser.parse_args()
    if arguments.core is not None:
        os.sched_setaffinity(0, {arguments.core})
    spans = observe(arguments.checkpoints) if arguments.checkpoints else ()
    logs.configure("INFO")
    uvloop.run(_serve(arguments.policy, arguments.store, spans))


if __name__ == "__main__":
    main()
