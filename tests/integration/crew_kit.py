"""Real `holdfast serve --workers N` processes on loopback, and clients that know their worker."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp

from proxy.admin.shapes import Json
from proxy.simulator import Simulator
from proxy.simulator.script import Actor
from proxy.stores import OpenHold
from proxy.stores.sqlite import SqliteStore
from tests.integration.kit import PRICES, TOKEN, Sidecar, body_of

ROOT = Path(__file__).parents[2]


class Client(Sidecar):
    """A client of a sidecar in another process. New connections go to any of its workers; those of
    a `pinned` client, to the one it has found."""

    def __init__(
        self, ports: tuple[int, int], connector: aiohttp.TCPConnector, stack: AsyncExitStack
    ) -> None:
        self.http = aiohttp.ClientSession(connector=connector)
        stack.push_async_callback(self.http.close)
        self._sim = None
        self._stack = stack
        self.ports = ports
        self.url, self.admin_url = (f"http://127.0.0.1:{port}" for port in ports)

    async def streaming(self, session: str = "s1", bound: int = 90_000) -> aiohttp.ClientResponse:
        """A stream of which some content has arrived."""
        response = await self.http.post(
            f"{self.url}/s/{session}/v1/chat/completions",
            json=body_of("chat", stream=True, bound=bound),
            headers={"authorization": "Bearer key-1"},
        )
        self._stack.callback(response.close)
        assert response.status == 200, await response.read()
        await response.content.readany()
        return response

    async def text(self, path: str, *, admin: bool = True) -> tuple[int, str]:
        """A GET without a token."""
        async with self.http.get((self.admin_url if admin else self.url) + path) as response:
            return response.status, await response.text()


class Serving(Client):
    """A running `holdfast serve`, its log and the sessions of its clients."""

    def __init__(
        self, process: Process, ready: dict[str, Json], folder: Path, stack: AsyncExitStack
    ) -> None:
        port, admin_port = ready["port"], ready["admin_port"]
        assert isinstance(port, int)
        assert isinstance(admin_port, int)
        anywhere = aiohttp.TCPConnector(force_close=True, limit=0)
        super().__init__((port, admin_port), anywhere, stack)
        self.process = process
        self.folder = folder
        self.log: list[dict[str, Json]] = []
        self._logged = asyncio.Event()
        self._ended = asyncio.Event()
        self._probes = 0

    async def read_log(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.log.append(json.loads(line))
            self._logged.set()
        self._ended.set()

    async def ended(self) -> None:
        """Nobody is left who could write to the log: not a worker either."""
        await self._ended.wait()

    async def logged(self, wanted: Callable[[dict[str, Json]], bool]) -> dict[str, Json]:
        """The first line of the log that fits, once it is there."""
        while True:
            self._logged.clear()
            found = next((line for line in self.log if wanted(line)), None)
            if found is not None:
                return found
            await self._logged.wait()

    async def lines_of(self, session: str, count: int) -> list[dict[str, Json]]:
        """What was logged of a session's calls, once so many are there."""
        while True:
            self._logged.clear()
            found = [line for line in self.log if line.get("session") == session]
            if len(found) >= count:
                return found
            await self._logged.wait()

    async def told_of(self, killed: int) -> None:
        """The supervisor knows that this worker has died."""
        await self.logged(lambda line: line.get("pid") == killed)

    async def worker_of(self, session: str) -> int:
        """Which worker carried out the (first) call of this session."""
        line = await self.logged(lambda line: line.get("session") == session and "worker" in line)
        number = line["worker"]
        assert isinstance(number, int)
        return number

    async def pinned(self, workers: int) -> list[Client]:
        """A client on each worker, the n-th on the n-th: each keeps the connection it has."""
        found: dict[int, Client] = {}
        while len(found) < workers:
            client = Client(self.ports, aiohttp.TCPConnector(limit=1), self._stack)
            self._probes += 1
            session = f"probe-{self._probes}"
            answer = await client.call(session=session)
            assert answer.status == 200, answer.body
            found.setdefault(await self.worker_of(session), client)
        return [found[number] for number in range(workers)]

    def pids(self) -> list[int]:
        """Of the workers, as they were started."""
        return sorted(_children(self.process.pid))

    def pid_of(self, response: aiohttp.ClientResponse, door: int = 1) -> int:
        """The worker at the other end of a connection; door: to the admin port (1) or the other."""
        assert response.connection is not None
        assert response.connection.transport is not None
        _, port = response.connection.transport.get_extra_info("sockname")
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        ends = [f"0100007F:{self.ports[door]:04X}", f"0100007F:{port:04X}"]
        (inode,) = (row[9] for row in rows if row[1:3] == ends)
        sockets = {pid: {os.readlink(fd) for fd in _descriptors(pid)} for pid in self.pids()}
        return next(pid for pid, open_ in sockets.items() if f"socket:[{inode}]" in open_)

    async def open_holds(self) -> list[OpenHold]:
        """What is held in the ledger now."""
        store = SqliteStore(self.folder / "ledger.db")
        await store.open()
        try:
            return list(await store.open_holds())
        finally:
            await store.close()

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return await self.process.wait()


def _children(pid: int) -> Iterator[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except FileNotFoundError:
        return
    yield from map(int, text.split())


def _descriptors(pid: int) -> Iterator[Path]:
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        if descriptor.is_symlink():
            yield descriptor


@asynccontextmanager
async def serving(
    folder: Path,
    upstream: str,
    workers: int,
    *,
    policy: str = "",
    ports: tuple[int, int] = (0, 0),
    drain_seconds: float = 10,
    command: Sequence[str] = ("proxy",),
    store: str | None = None,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[Serving]:
    """`holdfast serve` on the ledger in `folder`, under `policy` over the prices for tests.
    command: the module that is run, which may be another that serves, and what follows it. store:
    another ledger."""
    file = folder / "policy.yaml"
    file.write_text(policy if "prices:" in policy else PRICES + policy)
    variables = {
        "HOLDFAST_OPENAI_URL": f"{upstream}/v1",
        "HOLDFAST_ANTHROPIC_URL": upstream,
        "HOLDFAST_ADMIN_TOKEN": TOKEN,
        "PYTHONPATH": str(ROOT),
        **(env or {}),
    }
    flags = {
        "policy": str(file),
        "store": store or f"sqlite:///{folder}/ledger.db",
        "workers": str(workers),
        "port": str(ports[0]),
        "admin-port": str(ports[1]),
        "drain-seconds": str(drain_seconds),
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *command, "serve"),
        *(f"--{name}={value}" for name, value in flags.items()),
        env={**os.environ, **variables},
        stderr=PIPE,
        limit=2**20,
    )
    assert process.stderr is not None
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_end, process)
        lines: list[dict[str, Json]] = []
        while not lines or lines[-1]["message"] != "ready":
            line = await process.stderr.readline()
            assert line, lines
            lines.append(json.loads(line))
        on = Serving(process, lines[-1], folder, stack)
        reading = asyncio.ensure_future(on.read_log())
        stack.push_async_callback(_await, reading)
        stack.push_async_callback(_end, process)
        yield on


async def quickest(play: Callable[[str], Awaitable[float]], enough_seconds: float) -> float:
    """Of up to ten rounds, each in a session of its own, the one that took the fewest seconds; the
    first that is quick enough is the last. Of several processes a busy machine makes any round
    longer, and none shorter."""
    took: list[float] = []
    while len(took) < 10 and min(took, default=enough_seconds) >= enough_seconds:
        took.append(await play(f"s{len(took) + 1}"))
    print(f"{', '.join(f'{seconds * 1000:.1f}' for seconds in took)} ms")
    return min(took)


async def _await(task: "asyncio.Future[None]") -> None:
    await task


async def _end(process: Process) -> None:
    """Its workers end with it."""
    if process.returncode is None:
        process.kill()
    await process.wait()


@asynccontextmanager
async def crew(
    folder: Path, workers: int = 4, policy: str = "", script: Actor | None = None
) -> AsyncIterator[tuple[Serving, Simulator]]:
    """A sidecar of several workers and its provider."""
    async with (
        Simulator(script=script, seed=1) as sim,
        serving(folder, sim.url, workers, policy=policy) as on,
    ):
        yield on, sim
