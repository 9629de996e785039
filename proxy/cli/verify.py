"""`holdfast verify LEDGER`: whether every event, and all that is kept beside it, is as it was
written."""

import argparse
import json
import os
import sys
from pathlib import Path

from proxy.cli.heads import Heads
from proxy.cli.verifying import verify_ledger
from proxy.config.table_checkpoints import seconds_of
from proxy.errors import StoreUnavailable

_CANNOT = 2
"""Exit code where it cannot be told; 1 where something is not as it was written."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Recomputes the HMAC chain of every session, the digest of all that is kept beside it, and "
        "what accounts, open holds and listings have to be by its events; read-only, also while a "
        "sidecar runs. Exit 1 where something is not as it was written, 2 where that cannot be "
        "told. The key is the ledger's own: HOLDFAST_CHAIN_KEY, or its file."
    )
    parser.add_argument("ledger", metavar="LEDGER", help="a store URL, or a SQLite file")
    parser.add_argument(
        "--head",
        action="append",
        default=[],
        metavar="FILE|SESSION=SEQ:HEX",
        help="heads that were kept outside: a file of --heads, or one ([TENANT/]SESSION=SEQ:HEX)",
    )
    parser.add_argument(
        "--heads",
        type=Path,
        metavar="FILE",
        help="write the heads there, to be kept outside; only if all is as it was written",
    )
    parser.add_argument(
        "--retention",
        default="7d",
        metavar="TIME",
        help="of the policy: a session whose head is older than twice that may be gone "
        "(default: 7d)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """0; 1 where something is not as it was written; 2 where that cannot be told."""
    try:
        with Heads() as heads:
            for given in args.head:
                heads.take(given)
            retention = _seconds(args.retention)
            verified = verify_ledger(args.ledger, os.environ, heads, args.heads, retention)
    except (StoreUnavailable, ValueError, OSError) as error:
        print(f"holdfast: {error}", file=sys.stderr)
        return _CANNOT
    if args.json:
        print(json.dumps(verified.as_json(), indent=2))
    else:
        print(verified.summary())
    return 1 if verified.faulty else 0


def _seconds(text: str) -> float:
    try:
        return seconds_of(text)
    except (KeyError, ValueError, IndexError) as error:
        raise ValueError(f"--retention: {text!r} is no time (90m, 12h, 7d, 4w)") from error
