"""`holdfast serve`: the sidecar, until it is told to stop."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import uvloop

from proxy import collecting, logs
from proxy.app import App, Settings, run_until_stopped
from proxy.config.problems import PolicyInvalid
from proxy.errors import StoreUnavailable
from proxy.workers.seat import SIGNALS, Seat

_MOST_WORKERS = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Each flag is also a HOLDFAST_… variable; the flag wins."""
    env = os.environ
    default = Settings()
    meaning = "policy file (YAML) [HOLDFAST_POLICY] (default: the shipped one)"
    parser.add_argument("--policy", type=Path, default=_path(env), help=meaning)
    _flag(parser, env, "--host", str, default.host, "address of the data port")
    _flag(parser, env, "--port", int, default.port, "data port; 0 takes a free one")
    _flag(parser, env, "--admin-host", str, default.admin_host, "address of the admin port")
    _flag(parser, env, "--admin-port", int, default.admin_port, "admin port; 0 takes a free one")
    _flag(
        parser,
        env,
        "--store",
        str,
        None,
        "sqlite:///PATH, redis://HOST or memory:// (default: the policy's)",
    )
    _flag(parser, env, "--workers", _workers, 1, "processes that share the data port and the store")
    _flag(parser, env, "--drain-seconds", float, default.drain_seconds, "wait for streams to end")
    _flag(parser, env, "--log-level", str, "INFO", "DEBUG, INFO, WARNING or ERROR")


def run(args: argparse.Namespace) -> int:
    """Serves; 0 after a drain, 1 where it could not start."""
    logs.configure(args.log_level.upper())
    settings = Settings(
        policy_path=args.policy,
        host=args.host,
        port=args.port,
        admin_host=args.admin_host,
        admin_port=args.admin_port,
        store_url=args.store,
        drain_seconds=args.drain_seconds,
    )
    try:
        if args.workers > 1:
            # Imported where it is needed: one process alone is to be no larger for it.
            from proxy.cli.supervise import supervise

            return supervise(settings, os.environ, args.workers, args.log_level.upper(), _serve)
        _serve(settings, os.environ)
    except PolicyInvalid as error:
        print(error, file=sys.stderr)
        return 1
    except (StoreUnavailable, ValueError, OSError) as error:
        print(f"holdfast: {error}", file=sys.stderr)
        return 1
    return 0


def _serve(settings: Settings, env: Mapping[str, str], seat: Seat | None = None) -> None:
    """One process, until a signal says stop."""
    uvloop.run(_until_stopped(settings, env, seat))


async def _until_stopped(settings: Settings, env: Mapping[str, str], seat: Seat | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    app = App(settings, env, seat=seat)
    loop.add_signal_handler(signal.SIGHUP, lambda: app.watcher.reload_now())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    collecting.begin()
    collector = collecting.collect_at_times(app.clock, app.calls.is_idle)
    app.tasks.spawn(collector, "collect garbage")
    await run_until_stopped(app, stop)


def _path(env: Mapping[str, str]) -> Path | None:
    return Path(env["HOLDFAST_POLICY"]) if env.get("HOLDFAST_POLICY") else None


def _workers(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= _MOST_WORKERS):
        raise argparse.ArgumentTypeError(f"{text!r}: expected 1 to {_MOST_WORKERS}")
    return int(text)


def _flag(
    parser: argparse.ArgumentParser,
    env: Mapping[str, str],
    flag: str,
    kind: Callable[[str], str | int | float],
    default: str | float | None,
    meaning: str,
) -> None:
    """argparse turns a default that is text into `kind`: a bad variable is told as a bad flag."""
    variable = "HOLDFAST_" + flag.removeprefix("--").replace("-", "_").upper()
    value = env.get(variable) or default
    shown = "" if default is None else f" (default: {default})"
    parser.add_argument(flag, type=kind, default=value, help=f"{meaning} [{variable}]{shown}")
