"""Places that at most one worker of a crew has at a time, and that a dead one does not keep.

Theory of operation. A place is a byte of a file that no directory knows, made before the workers
are; who has it has locked it. The kernel ends such a lock with its process, however that ends. The
file stays empty: bytes may be locked that are not there, so a place is a number of any size.
"""

import fcntl
import os
import tempfile
from typing import Final

MOST: Final = 2**62
"""Places are numbers below it. The system counts bytes with a sign."""


class Places:
    """Made by a supervisor, or by a process that is alone. Raises OSError where no file can be
    made. Locks are of processes: whoever claims must know what it has itself."""

    def __init__(self) -> None:
        with tempfile.TemporaryFile() as file:
            self._file = os.dup(file.fileno())

    def __del__(self) -> None:
        os.close(self._file)

    def claim(self, number: int) -> bool:
        """Whether it is this process's now; it was nobody else's."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except OSError:  # taken, or the system has no more locks to give
            return False
        return True

    def give_back(self, number: int) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, number)

    def is_free(self, number: int) -> bool:
        """Whether it could be claimed now. Asked by one who has it, it would be lost."""
        free = self.claim(number)
        if free:
            self.give_back(number)
        return free
