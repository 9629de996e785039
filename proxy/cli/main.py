"""The commands and how they are found. A command's module is imported only when it is asked for."""

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence

from proxy import __version__

COMMANDS: tuple[tuple[str, str], ...] = (
    ("serve", "run the sidecar"),
    ("run", "run a command behind a sidecar of its own and show what it did"),
    ("demo", "watch an agent being stopped, offline"),
    ("check", "validate a policy file"),
    ("schema", "print the JSON Schema of the policy"),
    ("simulate", "run the simulated provider alone"),
    ("replay", "try a policy on sessions that are over"),
    ("verify", "recompute the chain of every session of a ledger"),
    ("migrate", "take a whole ledger into another store"),
    ("sessions", "list, show, stop, extend and guide sessions"),
    ("handoffs", "what stands before a human"),
    ("breakers", "show who is not asked now, open and close"),
)
"""The ordered list. Adding one: proxy/cli/NAME.py with `add_arguments` and `run`, and its line."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code (2 for a wrong command line)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="holdfast", description="Keeps an agent's model calls inside hard limits."
    )
    parser.add_argument("--version", action="version", version=f"holdfast {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    asked = next((a for a in arguments if not a.startswith("-")), None)
    if asked == "serve":
        _expect_signals()
    for name, summary in COMMANDS:
        command = commands.add_parser(name, help=summary, description=summary)
        if name == asked:
            importlib.import_module(f"proxy.cli.{name}").add_arguments(command)
    args = parser.parse_args(arguments)
    try:
        return int(importlib.import_module(f"proxy.cli.{args.command}").run(args))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever reads has seen enough (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def _expect_signals() -> None:
    """Importing a server takes most of its start: a stop meanwhile is no crash, nor is a reload."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
