"""The sidecar's process, from outside: started, asked, read, stopped."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec

from tests.integration.kit import TOKEN

_ROOT = Path(__file__).parents[2]
_ANSWER_SECONDS = 20.0
_STOP_SECONDS = 15.0


class Told(msgspec.Struct, frozen=True):
    """What the process says of itself. tasks: by the name of what they run. checkpoints: begin and
    end of each, where they are watched."""

    port: int
    tasks: Mapping[str, int]
    threads: int
    holds: int
    streams: int
    checkpoints: tuple[tuple[float, float], ...] = ()


class Process:
    """A sidecar on loopback, its port, its log."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self._process = process
        self._folder = folder
        self._read = 0
        self.port = 0
        self.database = folder / "ledger.db"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.returncode

    async def ready(self) -> Told:
        """What it says once it serves. Raises RuntimeError if it does not, TimeoutError."""
        told = await self._told()
        self.port = told.port
        return told

    async def tell(self) -> Told:
        """What it says now. Raises RuntimeError if it is dead, TimeoutError if it hangs."""
        assert self._process.stdin is not None
        with suppress(ConnectionError):
            self._process.stdin.write(b"\n")
            await self._process.stdin.drain()
        return await self._told()

    async def _told(self) -> Told:
        assert self._process.stdout is not None
        async with asyncio.timeout(_ANSWER_SECONDS):
            if line := await self._process.stdout.readline():
                return msgspec.json.decode(line, type=Told)
            code = await self._process.wait()
        last = (self._folder / "log").read_text()[-2_000:]
        raise RuntimeError(f"it died: exit code {code}\n{last}")

    def log(self) -> list[dict[str, object]]:
        """The lines since the last time. What is no JSON (a traceback of the interpreter) is told
        as a line of level error."""
        with (self._folder / "log").open("rb") as file:
            file.seek(self._read)
            whole, _, _ = file.read().rpartition(b"\n")
        self._read += len(whole) + bool(whole)
        found = []
        for line in whole.splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                found.append({"level": "error", "message": line.decode("utf-8", "replace")})
        return found

    def descriptors(self) -> int:
        """Files and sockets that it holds open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def memory_bytes(self) -> int:
        """Resident, without what the kernel could drop."""
        status = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) * 1024

    def cpu_seconds(self) -> float:
        """Used so far, by all of its threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def waited_seconds(self) -> float:
        """For which its event loop could have run so far, but others had its core."""
        told = Path(f"/proc/{self.pid}/task/{self.pid}/schedstat").read_text()
        return int(told.split()[1]) / 1e9

    async def stop(self) -> int:
        """Asks it to drain, and kills it if it does not. Its exit code."""
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                return await self._process.wait()
        except TimeoutError:
            self._process.kill()
            return await self._process.wait()


@asynccontextmanager
async def running(
    folder: Path, policy: str, upstream: str, *options: str
) -> AsyncIterator[Process]:
    """A sidecar with its ledger in `folder`, whose every provider is `upstream`. options: of
    tests.fuzz.sidecar."""
    file = folder / "policy.yaml"
    file.write_text(policy)
    variables = {
        "HOLDFAST_OPENAI_URL": f"{upstream}/v1",
        "HOLDFAST_ANTHROPIC_URL": upstream,
        "HOLDFAST_ADMIN_TOKEN": TOKEN,
    }
    store = f"sqlite:///{folder / 'ledger.db'}"
    command = (sys.executable, "-m", "tests.fuzz.sidecar", str(file), store, *options)
    with (folder / "log").open("wb") as log:
        started = await asyncio.create_subprocess_exec(
            *command, cwd=_ROOT, env=os.environ | variables, stdin=PIPE, stdout=PIPE, stderr=log
        )
    process = Process(started, folder)
    try:
        await process.ready()
        yield process
    finally:
        await process.stop()
