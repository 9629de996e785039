"""`holdfast run -- CMD` as a process: a command behind a sidecar of its own."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import cast

import pytest

from proxy.cli.run import _Signals, base_url_variables
from proxy.simulator import Simulator

pytestmark = pytest.mark.process
AGENT = """
import json, os, sys, urllib.request
body = {"model": "sim-model", "messages": [{"role": "user", "content": "hi"}]}
for session in sys.argv[2:]:
    request = urllib.request.Request(
        os.environ["OPENAI_BASE_URL"] + "/chat/completions",
        data=json.dumps(body).encode(),
        headers={"authorization": "Bearer k", "x-holdfast-session": session},
    )
    try:
        urllib.request.urlopen(request).close()
    except urllib.error.HTTPError as error:
        print(json.load(error)["error"]["message"])
sys.exit(int(sys.argv[1]))
"""
HEADS = [
    *("session", "state", "steps", "input", "output", "cost_usd", "tool_calls"),
    *("cycles", "refused"),
]
ENDLESS = "print('up', flush=True); import signal; signal.pause()"


async def run(*arguments: str, cwd: Path, upstream: str = "http://127.0.0.1:1") -> Process:
    """`holdfast run ARGUMENTS`, with the simulated provider behind it."""
    env = {**os.environ, "HOLDFAST_OPENAI_URL": f"{upstream}/v1"}
    command = (sys.executable, "-m", "proxy", "run", *arguments)
    return await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env=env, stdout=PIPE, stderr=PIPE
    )


async def ended(process: Process) -> tuple[int, str, str]:
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def ledgers(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("*.db")]


async def test_it_ends_with_the_commands_code_and_a_table_of_its_sessions(tmp_path: Path) -> None:
    """The agent has been told a base URL by its variable, and nothing else."""
    policy = tmp_path / "policy.yaml"
    policy.write_text("limits: {steps: 2}\nprices: {'*': {input: 1.0, output: 2.0}}\n")
    async with Simulator(seed=1) as sim:
        agent = (sys.executable, "-c", AGENT, "7", "s1", "s2", "s2", "s2")
        process = await run("--policy", str(policy), "--", *agent, cwd=tmp_path, upstream=sim.url)
        code, out, err = await ended(process)

        assert code == 7
        assert "Session s2 has used 2 of 2 steps" in out
        *_, heads, first, second = err.splitlines()
        assert heads.split() == HEADS
        assert first.split()[:3] == ["s1", "active", "1"]
        assert second.split()[0] == "s2"
        assert second.split()[-2:] == ["1", "step_limit_exceeded"]
        billed = sim.totals.input_tokens + 2 * sim.totals.output_tokens
        spent = float(first.split()[5]) + float(second.split()[5])
        assert spent == pytest.approx(billed / 1_000_000, abs=0.0001)
        assert not ledgers(tmp_path)


async def test_a_ledger_is_kept_where_one_is_named(tmp_path: Path) -> None:
    quiet = (sys.executable, "-c", "")
    process = await run("--store", "sqlite:///kept.db", "--", *quiet, cwd=tmp_path)

    code, _, err = await ended(process)
    assert code == 0
    assert "no model call passed through" in err
    assert ledgers(tmp_path) == ["kept.db"]


async def test_signals_go_to_the_command(tmp_path: Path) -> None:
    """Its code is 128 and the signal's number, as in a shell."""
    process = await run("--", sys.executable, "-c", ENDLESS, cwd=tmp_path)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGTERM)

    assert (await ended(process))[0] == 128 + signal.SIGTERM


def test_a_signal_before_the_command_is_there_waits_for_it() -> None:
    """Else it ended the sidecar alone, and left the command running."""
    signals, sent = _Signals(), list[int]()

    class Started:
        returncode = None

        def send_signal(self, number: int) -> None:
            sent.append(number)

    signals.came(signal.SIGTERM)
    signals.go_to(cast(Process, Started()))
    signals.came(signal.SIGINT)

    assert sent == [signal.SIGTERM, signal.SIGINT]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "name a command after --"),
        (("--", "no-such-command"), 127, "no-such-command: No such file or directory"),
        (("--policy", "none.yaml", "--", "true"), 1, "none.yaml: cannot be read"),
    ],
)
async def test_what_prevents_it_is_told(
    tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    process = await run(*arguments, cwd=tmp_path)

    ended_with, _, err = await ended(process)
    assert ended_with == code
    assert said in err
    assert "Traceback" not in err


def test_the_common_sdks_find_their_variable() -> None:
    """OpenAI's want /v1 in it, Anthropic's add it themselves."""
    variables = base_url_variables("http://127.0.0.1:1")
    assert variables["OPENAI_BASE_URL"] == "http://127.0.0.1:1/v1"
    assert variables["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:1"
