"""Places that at most one worker of a crew has at a time, and that a dead one does not keep.

Theory of operation. A place is a byte of a file that no directory knows, made before the workers
are (in memory on Linux: a container may have no disk to write to); who has it has locked it. The
kernel ends such a lock with its process, however that ends. The file stays empty: bytes may be
locked that are not there, so a place is a number of any size.
"""

import fcntl
import logging
import os
import sys
import tempfile
from contextlib import suppress
from typing import Final

log = logging.getLogger(__name__)

MOST: Final = 2**62
"""Places are numbers below it. The system counts bytes with a sign."""


class Places:
    """Made by a supervisor, or by a process that is alone. Raises OSError where no file can be
    made. Locks are of processes: whoever claims must know what it has itself."""

    def __init__(self) -> None:
        if sys.platform == "linux":
            self._file = os.memfd_create("holdfast-places")
        else:
            with tempfile.TemporaryFile() as file:
                self._file = os.dup(file.fileno())

    def __del__(self) -> None:
        os.close(self._file)

    def claim(self, number: int) -> bool:
        """Whether it is this process's now; it was nobody else's. Where the system has no locks to
        give, it is everybody's: what is claimed is to be done by one at most, but by one."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except (BlockingIOError, PermissionError):  # POSIX allows both
            return False
        except OSError as error:
            log.warning("a place cannot be locked", extra={"reason": error.strerror})
        return True

    def give_back(self, number: int) -> None:
        with suppress(OSError):
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, number)

    def is_free(self, number: int) -> bool:
        """Whether it could be claimed now. Asked by one who has it, it would be lost."""
        free = self.claim(number)
        if free:
            self.give_back(number)
        return free
