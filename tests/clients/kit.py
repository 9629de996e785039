"""A client between two wire taps: client → tap → sidecar → tap → provider."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from proxy.admin.shapes import Json
from proxy.simulator import Simulator
from proxy.simulator.script import Actor
from tests.clients.tap import Tap, tapped
from tests.integration.kit import Sidecar, sidecar

HERE = Path(__file__).parent
PROGRAMS = HERE / "programs"
VENV = HERE.parent.parent / ".venv-clients"
MODULES = HERE / "node_modules"
AIMOCK = MODULES / "@copilotkit" / "aimock" / "dist" / "cli.js"
CODEX = MODULES / ".bin" / "codex"
CLAUDE = MODULES / ".bin" / "claude"
KEY = "sk-a-test-key"
MODEL = "sim-model"
PRICES = 'prices: {"*": {input: 1.0, output: 2.0}}\n'
"""1 micro-USD a token of input, 2 a token of output, whatever model a client names."""

_MOST_SECONDS = 100


def missing(*, agents: bool) -> str | None:
    """What of the clients is not installed; None where all is there."""
    needed = [VENV / ".installed", MODULES / ".installed"]
    if agents:
        needed += [CODEX, CLAUDE]
    gone = [str(path.relative_to(HERE.parent.parent)) for path in needed if not path.exists()]
    return f"no {', '.join(gone)}: run tests/clients/setup.sh" if gone else None


@dataclass(frozen=True, slots=True)
class Finished:
    """A client program that has ended."""

    code: int
    out: str
    err: str

    @property
    def reports(self) -> list[dict[str, Json]]:
        """What the programs here print: a line for each mode, in order."""
        lines = self.out.strip().splitlines()
        assert lines, f"the client said nothing; exit code {self.code}\n{self.err}"
        return [json.loads(line) for line in lines]

    @property
    def report(self) -> dict[str, Json]:
        """The same, of a single mode."""
        (only,) = self.reports
        return only


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything one test looks at. front: what the client sent; back: what went upstream."""

    side: Sidecar
    front: Tap
    back: Tap
    home: Path

    @property
    def sim(self) -> Simulator:
        return self.side.sim

    async def run(self, *command: str | Path, env: Mapping[str, str] | None = None) -> Finished:
        """Runs a client to its end, with a base URL and a key in its environment."""
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self.home,
            env=self.environment() | dict(env or {}),
        )
        try:
            async with asyncio.timeout(_MOST_SECONDS):
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return Finished(process.returncode or 0, out.decode(), err.decode())

    def environment(self) -> dict[str, str]:
        """All that a client is told. HOME is empty, so that no configuration is found."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "OPENAI_BASE_URL": f"{self.front.url}/v1",
            "OPENAI_API_KEY": KEY,
            "ANTHROPIC_BASE_URL": self.front.url,
            "ANTHROPIC_API_KEY": KEY,
        }

    async def sessions(self) -> list[dict[str, Json]]:
        """The sessions that the sidecar knows, in full, the oldest first."""
        rows = (await self.side.admin("GET", "/sessions"))["sessions"]
        assert isinstance(rows, list)
        ids = [row["session"] for row in reversed(rows) if isinstance(row, dict)]
        return [await self.side.admin("GET", f"/sessions/{session}") for session in ids]

    async def only_session(self) -> dict[str, Json]:
        (session,) = await self.sessions()
        return session


@asynccontextmanager
async def stage(
    folder: Path,
    policy: str | Callable[[str], str] = "",
    *,
    script: Actor | None = None,
    upstream: str | None = None,
    store: str = "memory://",
) -> AsyncIterator[Stage]:
    """A sidecar between two taps, in front of the simulated provider or of `upstream`. policy: may
    be made of the origin that the sidecar is to call."""
    home = folder / "home"
    home.mkdir(parents=True, exist_ok=True)
    async with (
        Simulator(script, seed=1) as sim,
        tapped(upstream or sim.url) as back,
        sidecar(
            folder,
            PRICES + (policy if isinstance(policy, str) else policy(back.url)),
            upstream=back.url,
            store=store,
        ) as side,
        tapped(side.url) as front,
    ):
        yield Stage(Sidecar(side.app, side.http, sim), front, back, home)


def node_command() -> str:
    """The Node that setup.sh found as well."""
    return shutil.which("node") or "node"


def python(program: str) -> tuple[str, str]:
    """The command of a Python client program."""
    return str(VENV / "bin" / "python"), str(PROGRAMS / f"{program}.py")


def node(program: str) -> tuple[str, str]:
    """The command of a Node client program."""
    return node_command(), str(PROGRAMS / f"{program}.mjs")
