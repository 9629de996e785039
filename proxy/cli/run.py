"""`holdfast run -- CMD`: a command behind a sidecar of its own, and what its sessions came to."""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import uvloop

from proxy import logs
from proxy.app import App, Settings
from proxy.cli.tables import table
from proxy.config.problems import PolicyInvalid
from proxy.core.events import StepSettled
from proxy.core.limits.base import usd
from proxy.errors import StoreUnavailable
from proxy.stores import SessionRow

_HEADS = (
    "session",
    "state",
    "steps",
    "input",
    "output",
    "cost_usd",
    "tool_calls",
    "cycles",
    "refused",
)
_MOST_SHOWN = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--policy", type=Path, default=None, help="policy file (YAML)")
    parser.add_argument("--store", default=None, help="keep the ledger (default: thrown away)")
    parser.add_argument("cmd", nargs=argparse.REMAINDER, metavar="-- CMD…", help="what to run")


def run(args: argparse.Namespace) -> int:
    """Exits with the command's own code; 1 where the sidecar could not start, 2 without one."""
    command = args.cmd[1:] if args.cmd[:1] == ["--"] else args.cmd
    if not command:
        print("holdfast run: name a command after --", file=sys.stderr)
        return 2
    logs.configure("WARNING")
    with tempfile.TemporaryDirectory(prefix="holdfast-") as folder:
        store = args.store or f"sqlite:///{folder}/ledger.db"
        settings = Settings(policy_path=args.policy, port=0, admin_port=0, store_url=store)
        try:
            return uvloop.run(_run(settings, command))
        except (PolicyInvalid, StoreUnavailable, ValueError, OSError) as error:
            print(f"holdfast: {error}", file=sys.stderr)
            return 1


async def _run(settings: Settings, command: list[str]) -> int:
    app = App(settings, os.environ)
    await app.start()
    try:
        code = await _command(command, base_url_variables(f"http://127.0.0.1:{app.port}"))
        print(await _report(app), file=sys.stderr)
    finally:
        await app.close()
    return code


class _Signals:
    """Go to the command; those that come before it is there, as soon as it is."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._early: list[int] = []

    def came(self, number: int) -> None:
        if self._process is None:
            self._early.append(number)
        elif self._process.returncode is None:
            self._process.send_signal(number)

    def go_to(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        for number in self._early:
            self.came(number)


async def _command(command: list[str], variables: Mapping[str, str]) -> int:
    """Runs it with our own terminal; signals go to it, and its code becomes ours."""
    loop, signals = asyncio.get_running_loop(), _Signals()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, signals.came, number)
    try:
        process = await asyncio.create_subprocess_exec(*command, env={**os.environ, **variables})
    except OSError as error:
        print(f"holdfast: {command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    signals.go_to(process)
    code = await process.wait()
    return 128 - code if code < 0 else code


def base_url_variables(url: str) -> dict[str, str]:
    """The variables by which the common SDKs and agents are told a base URL (docs/clients.md)."""
    return {
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_BASE": f"{url}/v1",
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_BASE": url,
        "HOLDFAST_URL": url,
    }


async def _report(app: App) -> str:
    rows, _ = await app.control.list(
        state=None, agent=None, tenant=None, limit=_MOST_SHOWN, cursor=None
    )
    if not rows:
        return "holdfast: no model call passed through."
    lines = [await _line(app, row) for row in reversed(rows)]
    return "\nholdfast: what passed through\n" + table(_HEADS, lines)


async def _line(app: App, row: SessionRow) -> list[object]:
    state = await app.control.show(row.key)
    events = [s.event for s in await app.control.events(row.key)]
    cut = sum(isinstance(e, StepSettled) and e.outcome == "cut" for e in events)
    status = f"{state.status} ({cut} cut)" if cut else state.status
    return [
        row.key.session,
        status,
        state.steps,
        state.input_tokens,
        state.output_tokens,
        usd(state.cost_micro_usd),
        state.tool_calls,
        state.cycles,
        f"{state.refusals} {state.refused_code}".strip(),
    ]
