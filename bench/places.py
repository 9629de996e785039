"""Where things are."""

from pathlib import Path

BENCH = Path(__file__).parent
ROOT = BENCH.parent
RIG = BENCH / "rig"
PEERS = BENCH / ".peers"
"""Filled by peers.sh."""
BUILD = BENCH / ".build"
"""Made anew at need: programs, bodies, logs, results of partial runs."""
