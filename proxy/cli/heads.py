"""Heads of sessions that were kept outside their ledger: what shows that a log was cut, or that a
whole session is gone.

A file of them has a line for each session. They are looked up in a database in a temporary file, so
that a million of them need no memory.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import msgspec

from proxy.core.session import SessionKey
from proxy.stores.scratch import Scratch
from proxy.stores.verification import SessionLog

_INLINE = re.compile(
    r"(?:(?P<tenant>[^/=]*)/)?(?P<session>[^/=]+)=(?P<seq>\d+):(?P<hex>[0-9a-f]{64})"
)
_TABLE = """CREATE TABLE heads (session TEXT, tenant TEXT, seq INTEGER, chain BLOB, at REAL,
    seen INTEGER DEFAULT 0)"""


class Head(NamedTuple):
    """Where a log ended. tenant None: whichever has the session. at: of its last event, epoch
    seconds; 0 where that is not known."""

    tenant: str | None
    session: str
    seq: int
    chain: bytes
    at: float = 0.0


class _Line(msgspec.Struct):
    tenant: str
    session: str
    seq: int
    chain: str
    at: float = 0.0


class _At(msgspec.Struct):
    at: float = 0.0


_decode_line = msgspec.json.Decoder(_Line).decode
_decode_at = msgspec.json.Decoder(_At).decode


class Heads(Scratch):
    """A context manager; one thread's."""

    def __init__(self) -> None:
        super().__init__(_TABLE)
        self._is_empty = True

    def take(self, given: str) -> None:
        """A file of heads, or one: [TENANT/]SESSION=SEQ:HEX. Raises ValueError, OSError."""
        inline = _INLINE.fullmatch(given)
        if inline is not None and not os.path.exists(given):
            seq, chain = int(inline["seq"]), bytes.fromhex(inline["hex"])
            heads: Iterator[Head] = iter([Head(inline["tenant"], inline["session"], seq, chain)])
        elif "=" in given and not os.path.exists(given):
            said = "it is neither a file nor [TENANT/]SESSION=SEQ:HEX with 64 digits of the chain"
            raise ValueError(f"--head {given}: {said}")
        else:
            heads = _read(Path(given))
        sql = "INSERT INTO heads (tenant, session, seq, chain, at) VALUES (?, ?, ?, ?, ?)"
        try:
            self._database.executemany(sql, heads)
        except OverflowError as error:
            raise ValueError(f"{given}: no log has so many events") from error
        self._database.execute("CREATE INDEX IF NOT EXISTS by_name ON heads (session)")
        self._is_empty = False

    def of(self, key: SessionKey) -> list[Head]:
        """What was kept of a session, which is seen with that."""
        if self._is_empty:
            return []
        name = "session = ? AND (tenant = ? OR tenant IS NULL)"
        sql = f"SELECT tenant, session, seq, chain, at FROM heads WHERE {name}"  # noqa: S608
        found = self._database.execute(sql, (key.session, key.tenant)).fetchall()
        if found:
            sql = f"UPDATE heads SET seen = 1 WHERE {name}"  # noqa: S608 - a constant
            self._database.execute(sql, (key.session, key.tenant))
        return [Head(*row) for row in found]

    def unseen(self) -> Iterator[Head]:
        """Those whose session was not there."""
        sql = "SELECT tenant, session, seq, chain, at FROM heads WHERE NOT seen"
        for row in self._database.execute(sql):
            yield Head(*row)


class HeadsFile:
    """Writes heads down, aside at first: in its place it is whole, and only if `keep` was set.
    A context manager. Raises OSError."""

    keep = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._aside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            descriptor = os.open(self._aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
        self._file = os.fdopen(descriptor, "w", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        with self._file as file:
            file.flush()
            os.fsync(file.fileno())
        if self.keep and kind is None:
            self._aside.replace(self._path)
        else:
            self._aside.unlink()

    def add(self, log: SessionLog) -> None:
        at = 0.0
        if log.rows:
            with suppress(msgspec.MsgspecError):
                at = _decode_at(log.rows[-1].payload).at
        (seq, chain), (tenant, session) = log.tip, log.key
        line = {"tenant": tenant, "session": session, "seq": seq, "chain": chain.hex(), "at": at}
        self._file.write(json.dumps(line) + "\n")


def _read(path: Path) -> Iterator[Head]:
    with path.open("rb") as lines:
        for number, text in enumerate(lines, 1):
            try:
                line = _decode_line(text)
                chain = bytes.fromhex(line.chain)
            except (msgspec.MsgspecError, ValueError) as error:
                raise ValueError(f"{path}:{number}: not a head: {error}") from error
            yield Head(line.tenant, line.session, line.seq, chain, line.at)
