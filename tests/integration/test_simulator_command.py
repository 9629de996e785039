"""`holdfast simulate` as a process: tells how to use it, and what is wrong with a script."""

import argparse
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from proxy.cli import simulate

COMMAND = (
    "import argparse, sys; from proxy.cli import simulate; p = argparse.ArgumentParser();"
    "simulate.add_arguments(p); sys.exit(simulate.run(p.parse_args()))"
)


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    simulate.add_arguments(parser)
    return parser.parse_args(arguments)


def test_a_bad_script_is_told_with_file_key_and_allowed_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is served then."""
    script = tmp_path / "s.yaml"
    script.write_text("turns:\n  - {text: a, fault: nope}\n")

    assert simulate.run(parsed("--script", str(script))) == 1
    told = capsys.readouterr().err
    assert f"{script}:2:15: turns.0.fault: unknown fault 'nope' (allowed: status," in told


def test_a_missing_script_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In words, not with a traceback."""
    assert simulate.run(parsed("--script", str(tmp_path / "none.yaml"))) == 1
    assert "cannot be read: No such file" in capsys.readouterr().err


@pytest.mark.process
def test_the_command_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    """It prints its address, answers, and ends with what it has billed."""
    script = tmp_path / "s.json"
    script.write_text('{"turns": [{"text": "hi"}]}')
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "--port", "0", "--seed", "1", "--script", str(script)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process:
        first = process.stdout.readline()
        url = first.split()[3].rstrip(",")
        with urlopen(url + "/__sim/totals") as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()

    assert process.returncode == 0
    assert f"OPENAI_BASE_URL={url}/v1" in rest
    assert "0 requests; billed 0 input and 0 output tokens" in rest


@pytest.mark.process
def test_a_port_in_use_is_told() -> None:
    """Two simulators on the default port are the usual mistake."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, "--port", port],
            capture_output=True,
            text=True,
            check=False,
            timeout=25,
        )

    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
