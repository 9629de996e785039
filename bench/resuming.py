"""What a replayed call costs: `python -m bench.resuming`.

A session of many steps is recorded, its process restarted, and its agent started again: each of its
calls is answered from the record. CPU is that of the whole process, all threads, for each call, the
mean of all of them and of the last hundred: what grows with the session shows there. No sockets.

`exact`: the agent sends the same bytes. `spelled`: each run sends another `metadata`. `timed`: its
tools say how long they took, otherwise with each run. `again`: an agent that starts again in the
same process.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import process_time

import uvloop

from bench.bodies import Writer
from bench.durability import redis
from bench.governance import Asked, Provider, policy_of
from proxy.app import App, Settings
from proxy.wire import Head

_ENV = {"HOLDFAST_ADMIN_TOKEN": "bench", "HOLDFAST_CHAIN_KEY": "0" * 64}
_LAST = 100


class Open:
    """A connection that stays."""

    is_open = True


class Resumed(Asked):
    """A request by a connection of its agent's."""

    def __init__(self, head: Head, body: bytes, connection: Open) -> None:
        super().__init__(head, body)
        self.connection = connection
        self.said = ""

    async def respond(self, status: int, headers: tuple[tuple[str, str], ...], body: bytes) -> None:
        await super().respond(status, headers, body)
        self.said = dict(headers).get("x-holdfast-replay", "")


def bodies(kind: str, steps: int, size: int, run: int) -> Iterator[bytes]:
    """The requests of one run, each with the history of the last and one tool call more."""
    writer = Writer()
    tools = ",".join([_json(writer.tool(number)) for number in range(20)])
    other = f',"metadata":{{"run":"{run}"}}' if kind == "spelled" else ""
    tail = f'],"tools":[{tools}],"temperature":0{other}}}'
    said = '{"model":"mock","messages":[' + _json({"role": "user", "content": writer.text(200)})
    for number in range(steps):
        yield (said + tail).encode()
        call, result = writer.step(number, size)
        if kind == "timed":
            said_too = f"Wall time: 0.{run}{number} seconds\n{writer.text(size)}"
            result = {**result, "content": said_too}
        said += f",{_json(call)},{_json(result)}"


def _json(value: object) -> str:
    return json.dumps(value)


async def run(app: App, kind: str, arguments: argparse.Namespace, number: int) -> list[float]:
    """One life of the agent: the CPU of each of its calls, in seconds."""
    handle = app._build().handle  # noqa: SLF001 - behind another provider
    connection, seconds = Open(), []
    for body in bodies(kind, arguments.steps, arguments.size, number):
        length = ("content-length", str(len(body)))
        head = Head("POST", f"/r/{kind}/v1/chat/completions", (("host", "x"), length))
        asked = Resumed(head, body, connection)
        began = process_time()
        await handle(asked)  # type: ignore[arg-type]
        seconds.append(process_time() - began)
        assert asked.status == 200
        assert asked.said == ("replayed" if number else "live"), asked.said
    return seconds


async def started(url: str, folder: Path) -> App:
    settings = Settings(policy_path=policy_of(folder, "full"), port=0, admin_port=0, store_url=url)
    app = App(settings, {**_ENV, "HOLDFAST_STATE_DIR": str(folder)})
    await app.start()
    app.lines.add = lambda call: None  # type: ignore[method-assign]  # it would fill the screen
    app.upstreams = Provider()  # type: ignore[assignment]
    return app


async def measure(
    kind: str, store: str, url: str, folder: Path, arguments: argparse.Namespace
) -> None:
    app = await started(url, folder)
    try:
        _tell(store, "live", kind, await run(app, kind, arguments, 0))
    finally:
        await app.close()
    app = await started(url, folder)
    try:
        for number, name in enumerate(("restarted", "again"), 1):
            _tell(store, name, kind, await run(app, kind, arguments, number))
    finally:
        await app.close()


def _tell(store: str, name: str, kind: str, seconds: list[float]) -> None:
    mean, last = (sum(some) / len(some) * 1e3 for some in (seconds, seconds[-_LAST:]))
    print(
        f"{store:6} {kind:8} {name:9} {mean:7.2f} ms CPU a call, the last {last:7.2f}", flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="+", default=["exact", "spelled", "timed"])
    parser.add_argument("--stores", nargs="+", default=["sqlite", "redis"])
    parser.add_argument("--steps", type=int, default=1_500)
    parser.add_argument("--size", type=int, default=250)
    parser.add_argument("--redis", default="")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, redis(arguments.redis, Path(name)) as server:
        for kind in arguments.kinds:
            for store in arguments.stores:
                folder = Path(name, f"{kind}-{store}")
                folder.mkdir()
                url = server if store == "redis" else f"sqlite:///{folder}/ledger.db"
                if url is None:
                    print(f"{store:7} no server was found")
                    continue
                uvloop.run(measure(kind, store, url, folder, arguments))


if __name__ == "__main__":
    sys.exit(main())
