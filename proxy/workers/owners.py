"""Who lives: each process that opens holds in a ledger keeps a locked file beside it.

Theory of operation. The kernel ends a lock with its process, however that ends, so whether an owner
lives is never a guess: a file that can be locked is that of one who is gone. It is locked before it
appears under its name, and stays after a crash until the holds of its owner are booked. No file
says nothing (another version, another mount of the ledger): such holds wait for their deadline.
"""

import fcntl
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from proxy.errors import StoreUnavailable
from proxy.stores.urls import secret_beside
from proxy.stores.volumes import advice

_LOCK = ".lock"
_SOCKET = ".sock"


class Gone(Protocol):
    """An owner that has ended: nobody else takes care of it until it is let go."""

    @property
    def name(self) -> str: ...

    def bury(self) -> None:
        """Nothing of it is left in the ledger."""

    def let_go(self) -> None:
        """Whoever comes next takes care of it, unless it was buried."""


class Owners(Protocol):
    """The owners of holds in one ledger, as one of them sees it; `name` is what it is called."""

    @property
    def name(self) -> str: ...

    def lives(self, name: str) -> bool:
        """Whether that owner lives."""

    def gone(self) -> Sequence[Gone]:
        """Those that ended and left something, but for those that another takes care of now."""

    def others(self) -> list[str]:
        """Those that can be spoken to; one that crashed may be among them for a while."""


class Locked:
    """One whose lock could be had, so that it is dead."""

    def __init__(self, name: str, folder: Path, lock: int) -> None:
        self.name = name
        self._folder = folder
        self._lock = lock

    def bury(self) -> None:
        """Nothing of it is left in the ledger."""
        for suffix in (_SOCKET, _LOCK):
            with suppress(OSError):
                (self._folder / f"{self.name}{suffix}").unlink()

    def let_go(self) -> None:
        """Whoever comes next takes care of it, unless it was buried."""
        os.close(self._lock)


class FolderOwners:
    """Told by a folder beside the ledger. For one process; `name` is what it is called itself.

    folder None: the ledger is nobody else's (memory). Then nothing is on disk and nobody is gone.
    """

    def __init__(self, folder: Path | None, name: str) -> None:
        self.folder = folder
        self.name = name
        self._lock: int | None = None

    def claim(self) -> None:
        """Says that this process lives, from now until it ends. Raises StoreUnavailable."""
        if self.folder is None:
            return
        aside = self.folder / f".{self.name}"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            aside.rename(self.folder / f"{self.name}{_LOCK}")
        except OSError as error:
            raise StoreUnavailable(
                f"{self.folder}: it cannot be said there that this process lives: "
                + advice(error, "check the owner and permissions of the ledger's directory")
            ) from error

    def leave(self, *, settled: bool) -> None:
        """This process ends. Not settled: it leaves holds, for others to book at once."""
        if self.folder is None or self._lock is None:
            return
        me = Locked(self.name, self.folder, self._lock)
        self._lock = None
        if settled:
            me.bury()
        me.let_go()

    def lives(self, name: str) -> bool:
        """Whether that owner lives, for certain."""
        if self.folder is None or name not in self._named(_LOCK):
            return name == self.name
        with suppress(OSError):
            lock = _locked(self.folder / f"{name}{_LOCK}", fcntl.LOCK_SH)
            if lock is None:
                return True
            os.close(lock)
        return False

    def gone(self) -> list[Locked]:
        """As in `Owners`."""
        ended = []
        for name in self._named(_LOCK):
            assert self.folder is not None
            with suppress(OSError):
                lock = _locked(self.folder / f"{name}{_LOCK}", fcntl.LOCK_EX)
                if lock is not None:
                    ended.append(Locked(name, self.folder, lock))
        return ended

    def others(self) -> list[str]:
        """Those that can be spoken to; one that crashed stays among them until it is buried."""
        return [name for name in self._named(_SOCKET) if name != self.name]

    def named(self) -> list[str]:
        """Those that lived, and were not buried yet."""
        return self._named(_LOCK)

    def _named(self, suffix: str) -> list[str]:
        try:
            files = os.listdir(self.folder) if self.folder is not None else []
        except FileNotFoundError:
            return []
        return sorted(f.removesuffix(suffix) for f in files if f.endswith(suffix))


def owners_folder(store_url: str) -> Path | None:
    """Where the owners of holds in a store keep their files; None where it is one process's own."""
    secret = secret_beside(store_url)
    return secret and secret.with_name(secret.name.removesuffix(".key") + ".owners")


def living(folder: Path) -> list[str]:
    """Those that live, for certain, by the folder of a ledger."""
    owners = FolderOwners(folder, "")
    return [name for name in owners.named() if owners.lives(name)]


def socket_of(name: str) -> str:
    """The file at which the owner of that name is spoken to."""
    return f"{name}{_SOCKET}"


def _locked(path: Path, kind: int) -> int | None:
    """The file, locked; None while another process holds it. Raises FileNotFoundError."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
