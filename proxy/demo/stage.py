"""Where the demo plays: a sidecar and the simulated provider, on free ports, in a new folder."""

import os
import sys
import tempfile
from asyncio import create_subprocess_exec, subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from proxy.admin.token import VARIABLE as TOKEN_VARIABLE
from proxy.app import App, Settings
from proxy.demo.model import INPUT_USD, NAME, OUTPUT_USD, PRICES, DemoModel
from proxy.simulator import Simulator

BUDGET_USD = 0.05
POLICY = f"""\
limits: {{cost_usd: {BUDGET_USD}}} # USD a session
tools: {{side_effects: ["send_*"]}} # handed to an agent once
prices: {{{NAME}: {{input: {INPUT_USD}, output: {OUTPUT_USD}}}}} # USD per million tokens
"""
_CALL_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Stage:
    """The running pieces. say: where the story is told, a line at a time."""

    app: App
    sim: Simulator
    http: aiohttp.ClientSession
    folder: Path
    say: Callable[[str], None]

    def base_url(self, session: str) -> str:
        """All that an agent is told: the sidecar, with the session's name in the path."""
        return f"http://127.0.0.1:{self.app.port}/s/{session}/v1"

    async def holdfast(self, *arguments: str) -> str:
        """Runs the command line as a human beside the sidecar would; what it printed."""
        environment = {
            **os.environ,
            "HOLDFAST_ADMIN_URL": f"http://127.0.0.1:{self.app.admin_port}",
            "HOLDFAST_STORE": self.app.store_url,
        }
        process = await create_subprocess_exec(
            sys.executable,
            *("-m", "proxy", *arguments),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        told, _ = await process.communicate()
        return told.decode()


@asynccontextmanager
async def stage(say: Callable[[str], None]) -> AsyncIterator[Stage]:
    """Sets it up and clears it away. Raises OSError where loopback cannot be listened on."""
    with tempfile.TemporaryDirectory(prefix="holdfast-demo-") as name:
        folder = Path(name)
        (folder / "policy.yaml").write_text(POLICY)
        settings = Settings(
            policy_path=folder / "policy.yaml",
            port=0,
            admin_port=0,
            store_url=f"sqlite:///{folder}/ledger.db",
        )
        async with Simulator(DemoModel(), seed=1, prices=PRICES) as sim:
            environment = {"HOLDFAST_OPENAI_URL": f"{sim.url}/v1"}
            if token := os.environ.get(TOKEN_VARIABLE):
                environment[TOKEN_VARIABLE] = token
            app = App(settings, environment)
            await app.start()
            headers = {"authorization": "Bearer sk-demo"}
            timeout = aiohttp.ClientTimeout(total=_CALL_SECONDS)
            try:
                async with aiohttp.ClientSession(headers=headers, timeout=timeout) as http:
                    yield Stage(app, sim, http, folder, say)
            finally:
                await app.close()
