"""The spools beside a ledger: one a process, and those that dead processes left.

Each has a locked file beside it; the kernel ends the lock with its process, so that a spool whose
lock can be had is nobody's, and belongs to whoever has it now.
"""

import fcntl
import os
from contextlib import suppress
from itertools import count
from pathlib import Path

from proxy.errors import StoreUnavailable
from proxy.stores.spool import MOST_BYTES, Spool
from proxy.stores.sqlite_file import Connect, connect

_LOCK = ".lock"
SPOOL = ".spool"
DAMAGED = ".damaged"


class Spools:
    """Of one process, which is called `name`. folder: is made where something is written."""

    def __init__(
        self, folder: Path, name: str, connect: Connect = connect, most_bytes: int = MOST_BYTES
    ) -> None:
        self._folder = folder
        self.name = name
        self._connect = connect
        self._most_bytes = most_bytes
        self._locks: dict[str, int] = {}
        self._own: Spool | None = None

    def own(self) -> Spool:
        """This process's; made when it is asked for first. Raises StoreUnavailable."""
        if self._own is None:
            if self.name not in self._locks:
                self._claim()
            self._own = self._spool(self.name)
        return self._own

    def adopt(self) -> list[tuple[str, Spool]]:
        """Those of processes that have ended, by their names, which nobody else takes care of: this
        process's from now on."""
        found = []
        for name in self._left():
            with suppress(OSError):  # another was faster
                lock = os.open(self._path(name, _LOCK), os.O_RDWR)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    os.close(lock)
                    continue
                self._locks[name] = lock
                if self._path(name, SPOOL).exists():
                    found.append((name, self._spool(name)))
                else:
                    self._forget(name)
        return found

    def is_left(self, name: str) -> bool:
        """Whether the spool of that process is there, whoever takes care of it."""
        return self._path(name, SPOOL).exists()

    async def leave(self, name: str, spool: Spool, *, is_empty: bool) -> None:
        """It is not used any more. Not empty: whoever comes next takes it over."""
        await spool.close()
        if is_empty:
            for suffix in ("", "-wal", "-shm"):
                self._path(name, SPOOL + suffix).unlink(missing_ok=True)
        self._forget(name, keep=not is_empty)

    async def set_aside(self, name: str, spool: Spool) -> Path:
        """It is damaged: it stays for a human, and nobody takes it over. Where it is now. Raises
        StoreUnavailable where it cannot be moved. This process's own is made anew."""
        await spool.close()
        places = (self._path(name, f".{n}{DAMAGED}" if n else DAMAGED) for n in count())
        place = next(place for place in places if not place.exists())
        try:
            for suffix in ("-wal", "-shm", ""):
                with suppress(FileNotFoundError):
                    spool.path.with_name(spool.path.name + suffix).rename(
                        place.with_name(place.name + suffix)
                    )
        except OSError as error:
            raise StoreUnavailable(f"{spool.path} is damaged: move it away ({error})") from error
        if spool is self._own:
            self._own = None
        else:
            self._forget(name)
        return place

    async def close(self, *, is_empty: bool) -> None:
        """This process ends."""
        if self._own is not None:
            own, self._own = self._own, None
            await self.leave(self.name, own, is_empty=is_empty)
        elif self.name in self._locks:
            self._forget(self.name)

    def _spool(self, name: str) -> Spool:
        return Spool(self._path(name, SPOOL), self._connect, self._most_bytes)

    def _path(self, name: str, suffix: str) -> Path:
        return self._folder / f"{name}{suffix}"

    def _left(self) -> list[str]:
        try:
            files = sorted(os.listdir(self._folder))
        except OSError:
            return []
        names = [file.removesuffix(_LOCK) for file in files if file.endswith(_LOCK)]
        return [name for name in names if name not in self._locks and name != self.name]

    def _claim(self) -> None:
        """Locked before it appears under its name: it is never seen unlocked."""
        aside = self._folder / f".{self.name}"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(aside, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            aside.rename(self._path(self.name, _LOCK))
        except OSError as error:
            raise StoreUnavailable(
                f"{self._folder}: nothing can be kept there while the store is away "
                f"({error.strerror}): check its owner and permissions"
            ) from error
        self._locks[self.name] = lock

    def _forget(self, name: str, *, keep: bool = False) -> None:
        if not keep:
            self._path(name, _LOCK).unlink(missing_ok=True)
        os.close(self._locks.pop(name))
