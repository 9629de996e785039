"""What is wrong with a disk, in the words of who has to mend it."""

import errno
import os
from pathlib import Path

FULL = "the disk is full: free some space"
READ_ONLY = "its volume is mounted read-only: mount it writable"

_SAID = {errno.ENOSPC: FULL, errno.EDQUOT: f"{FULL}, or raise the quota", errno.EROFS: READ_ONLY}


def advice(error: OSError, otherwise: str) -> str:
    """What the system said, and what to do: where it is not the disk's own fault, `otherwise`."""
    said = _SAID.get(error.errno or 0, otherwise)
    return f"{error.strerror or error}: {said}"


def fault_of(path: Path) -> str | None:
    """What the volume on which a file lies cannot do now, though an error told only that it failed:
    SQLite says "disk I/O error" where it cannot make its shared memory larger. None: it seems to be
    well."""
    try:
        volume = os.statvfs(path.parent)
    except OSError:
        return None
    if volume.f_flag & os.ST_RDONLY:
        return READ_ONLY
    return FULL if volume.f_bavail == 0 else None
