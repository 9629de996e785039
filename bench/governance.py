"""What a governed call costs beside the wire: `python -m bench.governance`.

The relay with a provider in memory that answers at once, in one process and on one thread of load:
no sockets, no HTTP. CPU is that of the whole process, all threads; the best of the rounds, as
others share the machine. `--calls` lists what is called how often for one request, which is the
same on every machine: the figure to bring down.
"""

import argparse
import asyncio
import cProfile
import gc
import json
import pstats
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from time import process_time

import uvloop

from bench.bodies import SLOT, conversation, question
from bench.cells import MESSAGES
from proxy.app import App, Settings
from proxy.wire import Head, Headers, Incoming, Outgoing, Timeouts

_HEADERS: Headers = (
    ("host", "127.0.0.1:8080"),
    ("accept", "application/json"),
    ("content-type", "application/json"),
    ("user-agent", "OpenAI/Python 3.54.0"),
    ("authorization", "Bearer sk-bench"),
)
_POLICY = Path(__file__).with_name("policy.yaml")
_TEXT = "word " * 64
_USAGE = {"prompt_tokens": 100, "completion_tokens": 64, "total_tokens": 164}


def answer_of(number: int) -> bytes:
    message = {"role": "assistant", "content": _TEXT}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    head = {
        "id": f"chatcmpl-{number:x}",
        "object": "chat.completion",
        "created": 1,
        "model": "mock",
    }
    return json.dumps({**head, "choices": [choice], "usage": _USAGE}).encode()


class Answered:
    """An answer that is there."""

    def __init__(self, body: bytes) -> None:
        self.status = 200
        self.headers: Headers = (
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
        )
        self._body = body

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self._body

    async def pass_on(self, take: Callable[[bytes], bool]) -> bool:
        take(self._body)
        return False

    async def take_arrived(self, take: Callable[[bytes], object]) -> None:
        take(self._body)

    async def read(self, limit_bytes: int) -> bytes:
        return self._body

    def close(self) -> None:
        pass


class Provider:
    """Answers everything, each time anew."""

    def __init__(self) -> None:
        self._number = 0

    async def send(
        self,
        request: Outgoing,
        timeouts: Timeouts,
        on_sent: Callable[[], None] | None = None,
        on_left: object = None,
    ) -> Incoming:
        if on_sent is not None:
            on_sent()
        self._number += 1
        return Answered(answer_of(self._number))

    async def close(self) -> None:
        pass


class Asked:
    """A request that has come, and its answer."""

    def __init__(self, head: Head, body: bytes) -> None:
        self.head = head
        self.stays: Callable[[], bool] | None = None
        self.started = False
        self.status = 0
        self._body = body

    async def read_body(self, limit_bytes: int) -> bytes:
        return self._body

    async def stream_body(self) -> AsyncIterator[bytes]:
        yield self._body

    async def respond(self, status: int, headers: Headers, body: bytes) -> None:
        self.started, self.status = True, status

    async def start(self, status: int, headers: Headers) -> None:
        self.started, self.status = True, status

    async def write(self, chunk: bytes) -> None:
        pass

    def send(self, chunk: bytes) -> bool:
        return True

    async def drained(self) -> None:
        pass

    async def finish(self) -> None:
        pass

    def abort(self) -> None:
        raise AssertionError("cut")


class Load:
    """Requests as a cell of the bench sends them."""

    def __init__(self, cell: str) -> None:
        several = cell == "sessions"
        bodies = {
            "small": lambda: (question(),),
            "58k": lambda: conversation(MESSAGES, 60_000)[-1:],
            "sessions": lambda: conversation(MESSAGES, 60_000),
        }[cell]()
        self._bodies = [json.dumps(body).encode() for body in bodies]
        self._sessions = 64 if several else 0
        self._number = 0

    def next(self) -> Asked:
        number, self._number = self._number, self._number + 1
        headers = _HEADERS
        which = number
        if self._sessions:
            which, step = number % self._sessions, number // self._sessions
            which += self._sessions * (step // len(self._bodies))
            body = self._bodies[step % len(self._bodies)]
            headers = (*headers, ("x-holdfast-session", f"s{which}"))
        else:
            body = self._bodies[0]
        body = body.replace(SLOT.encode(), b"%012x" % which)
        headers = (*headers, ("content-length", str(len(body))))
        return Asked(Head("POST", "/v1/chat/completions", headers), body)


def policy_of(folder: Path, content: str) -> Path:
    """That of the bench, with so much kept of each call."""
    path = folder / "policy.yaml"
    path.write_text(f"{_POLICY.read_text()}checkpoints: {{content: {content}}}\n")
    return path


async def _run(handle: Callable[[Asked], Awaitable[None]], asked: list[Asked], lanes: int) -> None:
    waiting = iter(asked)

    async def lane() -> None:
        for exchange in waiting:
            await asyncio.get_running_loop().create_task(handle(exchange))  # type: ignore[arg-type]

    async with asyncio.TaskGroup() as tasks:
        for _ in range(lanes):
            tasks.create_task(lane())
    assert all(exchange.status == 200 for exchange in asked)


async def measure(arguments: argparse.Namespace, cell: str, store: str) -> float:
    """The best round's CPU for each call, in µs."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/ledger.db" if store == "sqlite" else "memory://"
        policy = policy_of(Path(folder), arguments.content)
        settings = Settings(policy_path=policy, port=0, admin_port=0, store_url=url)
        app = App(settings, {"HOLDFAST_ADMIN_TOKEN": "bench"})
        await app.start()
        app.lines.add = lambda call: None  # type: ignore[method-assign]  # it would fill the screen
        app.upstreams = Provider()  # type: ignore[assignment]
        handle = app._build().handle  # noqa: SLF001 - behind another provider
        load = Load(cell)
        gc.freeze()
        try:
            await _run(handle, [load.next() for _ in range(arguments.requests)], arguments.lanes)
            best = float("inf")
            for _ in range(arguments.rounds):
                asked = [load.next() for _ in range(arguments.requests)]
                began = process_time()
                await _run(handle, asked, arguments.lanes)
                best = min(best, (process_time() - began) / len(asked) * 1e6)
            if arguments.calls:
                await _count(handle, [load.next() for _ in range(200)])
            return best
        finally:
            await app.close()


async def _count(handle: Callable[[Asked], Awaitable[None]], asked: list[Asked]) -> None:
    gc.collect()
    profile = cProfile.Profile()
    profile.enable()
    await _run(handle, asked, 8)
    profile.disable()
    stats = pstats.Stats(profile)
    total = sum(row[1] for row in stats.stats.values())  # type: ignore[attr-defined]
    print(f"{total / len(asked):.0f} calls a request")
    stats.sort_stats("tottime").print_stats(60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", nargs="+", default=["small", "58k", "sessions"])
    parser.add_argument("--stores", nargs="+", default=["memory", "sqlite"])
    parser.add_argument("--requests", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lanes", type=int, default=16)
    parser.add_argument("--calls", action="store_true")
    parser.add_argument("--content", choices=["full", "hashes", "off"], default="full")
    arguments = parser.parse_args()
    for cell in arguments.cells:
        for store in arguments.stores:
            cpu = uvloop.run(measure(arguments, cell, store))
            print(f"{cell:9} {store:7} {cpu:7.1f} µs a call", flush=True)


if __name__ == "__main__":
    sys.exit(main())
