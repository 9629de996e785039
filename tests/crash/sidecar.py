"""`python -m tests.crash.sidecar FOLDER serve …`: the sidecar, that can be told where to die.

What its store does in a quiet moment or after megabytes, it does here after kilobytes, so that a
round of some seconds comes to it.
"""

import sys
from pathlib import Path

from proxy.cli.main import main
from proxy.stores import sqlite_checkpoint, sqlite_writer
from tests.crash.points import watch

_CHECKPOINT_BYTES = (64 * 1024, 256 * 1024)


def _hurry() -> None:
    sqlite_checkpoint.Checkpointer.__init__.__defaults__ = _CHECKPOINT_BYTES
    sqlite_writer.APPENDS_IN_JOURNAL = 24
    sqlite_writer._WATCH_BYTES = 8 * 1024


if __name__ == "__main__":
    folder = Path(sys.argv.pop(1))
    _hurry()
    watch(folder)
    sys.exit(main())
