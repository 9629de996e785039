"""`holdfast demo`: watch agents being told, stopped and helped, offline, with nothing to set up."""

import argparse
import sys

import uvloop

from proxy import logs
from proxy.demo.scenes import SCENES
from proxy.demo.stage import POLICY, stage
from proxy.demo.telling import Promise

_OPENING = """\
Holdfast demo: a sidecar, a simulated provider and agents, all on this machine's loopback. The
agents are told a base URL and nothing else. The policy, beside the defaults:
"""
_CLOSING = """
Next:  holdfast serve                                      # your own traffic, default limits
       export OPENAI_BASE_URL=http://127.0.0.1:8080/v1     # or ANTHROPIC_BASE_URL, without /v1"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Offline and without a key. Exit code 1 if anything went otherwise."


def run(args: argparse.Namespace) -> int:
    """0 if all went as promised, else 1."""
    logs.configure("WARNING")
    try:
        promises = uvloop.run(_play())
    except OSError as error:
        print(f"holdfast: the demo could not run: {error}", file=sys.stderr)
        return 1
    print("\nAs promised:\n")
    for promise in promises:
        print(f"  [{'ok' if promise.kept else 'NOT KEPT'}] {promise.what}")
    print(_CLOSING)
    return 0 if all(promise.kept for promise in promises) else 1


async def _play() -> list[Promise]:
    _say(_OPENING)
    _say("".join(f"  {line}\n" for line in POLICY.splitlines()).rstrip())
    async with stage(_say) as on:
        return [promise for scene in SCENES for promise in await scene(on)]


def _say(line: str) -> None:
    print(line, flush=True)
