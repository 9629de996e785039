"""`python -m tests.crash.sidecar FOLDER serve …`: the sidecar, that can be told where to die.

Its wall clock is off by the seconds in the file `clock` of the folder, where
there is one. What its store does in a quiet moment or after megabytes, it does here after
kilobytes, so that a round of some seconds comes to it; and who has died is known sooner.
"""

import sys
from pathlib import Path

from proxy import retention, sweeper
from proxy.cli.main import main
from proxy.clock import SystemClock
from proxy.stores import sqlite_checkpoint, sqlite_writer
from proxy.workers import leases
from tests.crash.points import CLOCK, watch

LEASE_SECONDS = 1.5
_CHECKPOINT_BYTES = (32 * 1024, 96 * 1024)


def _set_clock(folder: Path) -> None:
    right, file = SystemClock.now, folder / CLOCK

    def now(clock: SystemClock) -> float:
        return right(clock) + (float(file.read_text()) if file.exists() else 0.0)

    SystemClock.now = now  # type: ignore[method-assign, assignment]  # called with a clock alone


def _hurry() -> None:
    sweeper._EVERY_SECONDS = 0.5
    retention._EVERY_SECONDS = 1.0
    sqlite_checkpoint.Checkpointer.__init__.__defaults__ = _CHECKPOINT_BYTES
    sqlite_writer.APPENDS_IN_JOURNAL = 24
    sqlite_writer._WATCH_BYTES = 8 * 1024
    vars(leases).update(LEASE_SECONDS=LEASE_SECONDS, BEAT_SECONDS=0.25)


if __name__ == "__main__":
    folder = Path(sys.argv.pop(1))
    _hurry()
    _set_clock(folder)
    watch(folder)
    sys.exit(main())
