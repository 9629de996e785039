"""The command line as a whole: which commands there are, and what a wrong one is told."""

import argparse
import os
import subprocess
import sys

import pytest

from proxy import __version__
from proxy.cli import schema
from proxy.cli.main import COMMANDS, main


def exit_code(*arguments: str) -> int:
    """What `holdfast ARGUMENTS` ends with; argparse ends by SystemExit."""
    try:
        return main(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)


@pytest.mark.parametrize("command", [name for name, _ in COMMANDS])
def test_each_command_tells_its_arguments(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(command, "--help") == 0

    told = capsys.readouterr().out
    assert told.startswith(f"usage: holdfast {command}")
    assert "--help" in told


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("--help") == 0

    told = capsys.readouterr().out
    assert all(f"{name} " in told and summary in told for name, summary in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "required: COMMAND"),
        (("surf",), "invalid choice: 'surf'"),
        (("sessions",), "required: ACTION"),
        (("sessions", "show"), "required: ID"),
        (("serve", "--port", "http"), "argument --port: invalid int value: 'http'"),
    ],
)
def test_a_wrong_command_line_is_2(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(*arguments) == 2
    assert said in capsys.readouterr().err


def test_an_interrupted_command_ends_as_shells_expect(monkeypatch: pytest.MonkeyPatch) -> None:
    """130 is how a pipeline tells Ctrl-C from a failure."""

    def interrupted(args: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(schema, "run", interrupted)

    assert main(["schema"]) == 130


@pytest.mark.process
def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "--version"],
        capture_output=True,
        text=True,
        check=True,
        timeout=25,
    )
    assert done.stdout == f"holdfast {__version__}\n"


def test_who_has_read_enough_is_no_error() -> None:
    """`holdfast … | head` ends without a traceback."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "proxy", "schema"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=25, check=False)
    os.close(writing)

    assert (done.returncode, done.stderr) == (141, b"")
