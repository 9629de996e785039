"""`holdfast simulate`: the simulated provider alone."""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from proxy.simulator import Simulator
from proxy.simulator.control import HELP
from proxy.simulator.script import Script
from proxy.simulator.scriptfile import ScriptError, load_script


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("--host", default="127.0.0.1", help="address (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=8081, help="port, 0 for a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--script", type=Path, metavar="FILE", help="what the model says, in YAML or JSON"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="makes ids the same at each start")
    parser.add_argument(
        "--ids",
        choices=("random", "constant"),
        default="random",
        help="constant: every answer's tool calls are call_0, call_1, …",
    )
    parser.add_argument(
        "--cache", action="store_true", help="report prompt-cache reads of prefixes seen before"
    )


def run(args: argparse.Namespace) -> int:
    """Serves until SIGINT or SIGTERM. Exit code 1: the script or the address is no good."""
    script: Script | None = None
    if args.script is not None:
        try:
            script = load_script(args.script)
        except (ScriptError, UnicodeDecodeError) as error:
            print(error, file=sys.stderr)
            return 1
        except OSError as error:
            print(f"{args.script}: cannot be read: {error.strerror}", file=sys.stderr)
            return 1
    try:
        asyncio.run(_serve(args, script))
    except (OSError, OverflowError) as error:
        print(f"cannot listen on {args.host}:{args.port}: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(args: argparse.Namespace, script: Script | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    simulator = Simulator(
        script, seed=args.seed, ids=args.ids, host=args.host, port=args.port, cache=args.cache
    )
    async with simulator:
        print(_usage(simulator.url, args.script), flush=True)
        await stop.wait()
        totals = simulator.totals
    print(
        f"{totals.requests} requests; billed {totals.input_tokens} input "
        f"and {totals.output_tokens} output tokens"
    )


def _usage(url: str, script: Path | None) -> str:
    says = f"the script {script}" if script else "the built-in script (see docs/simulator.md)"
    control = "\n".join(f"  {endpoint:34} {what}" for endpoint, what in HELP.items())
    return f"""Simulated provider on {url}, playing {says}. Any API key will do.

  export OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY=sk-simulated
  export ANTHROPIC_BASE_URL={url} ANTHROPIC_API_KEY=sk-simulated

Models: any name; sim-loop repeats one tool call, sim-tools-N makes N tool steps, sim-spend writes
long answers, sim-gap10 waits 10 ms between chunks. Header x-sim-fault: status=503, cut_events=3, …
{control}
Stop with Ctrl-C."""
