"""A session as one file: all that a ledger has of it, for another ledger.

The file: a line that says what it is, a zlib stream, and the SHA-256 of all bytes before it. The
stream is entries, each a length (4 bytes, big-endian) and a MessagePack value: first an `Opening`,
then the log, the open holds and the contents. It is written and read piece by piece, and nothing in
it names a file or a type: who reads it makes no more of it than the values below.

The digest finds what was damaged on the way, not who changed it on purpose: that is for the chain,
which a ledger with the same key can check (`stores.chain.first_altered`).
"""

import errno
import hashlib
import os
import secrets
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from proxy import __version__
from proxy.core.session import SessionKey
from proxy.errors import UNREADABLE, MalformedRequest
from proxy.stores import Content, Hold, SessionDump, SessionHead
from proxy.stores.chain import ChainedPayload

_KIND = b"Holdfast session, format "
MAGIC = _KIND + b"1\n"
SUFFIX = ".holdfast"
_PIECE_BYTES = 256 * 1024
_MOST_BYTES = 512 * 1024 * 1024
_MOST_ENTRY_BYTES = 96 * 1024 * 1024
_MOST_ENTRIES = 500_000
DIGEST_BYTES = 32
_LENGTH_BYTES = 4
_LEVEL = 6


class Opening(msgspec.Struct, frozen=True, tag="session"):
    """What is in the file. events, contents: how many. version: of the Holdfast that wrote it."""

    tenant: str
    session: str
    seq: int
    chain: bytes
    head: SessionHead
    events: int
    contents: int
    exported_at: float
    token: bytes = b""
    links: tuple[bytes, ...] = ()
    version: str = ""


class _Row(msgspec.Struct, frozen=True, tag="event"):
    seq: int
    payload: bytes
    chain: bytes


class _Held(msgspec.Struct, frozen=True, tag="hold"):
    call_id: str
    hold: Hold


class _Kept(msgspec.Struct, frozen=True, tag="content"):
    name: str
    data: bytes


_Entry = Opening | _Row | _Held | _Kept
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Entry).decode


def export_of(dump: SessionDump, at: float) -> Iterator[bytes]:
    """The file, in pieces of some 256 KB. at: the time now, epoch seconds.

    Takes a processor some 30 ms a megabyte, so it belongs on a thread."""
    digest, deflater = hashlib.sha256(MAGIC), zlib.compressobj(_LEVEL)
    yield MAGIC
    gathered = bytearray()
    for entry in _entries(dump, at):
        written = memoryview(_encode(entry))
        gathered += deflater.compress(len(written).to_bytes(_LENGTH_BYTES, "big"))
        for start in range(0, len(written), _PIECE_BYTES):
            gathered += deflater.compress(written[start : start + _PIECE_BYTES])
            if len(gathered) >= _PIECE_BYTES:
                digest.update(gathered)
                yield bytes(gathered)
                gathered.clear()
    gathered += deflater.flush()
    digest.update(gathered)
    yield bytes(gathered) + digest.digest()


def write_export(path: Path, pieces: Iterable[bytes]) -> int:
    """Writes a file for its owner alone, whole or not at all, and on the disk: its size in bytes.
    Raises OSError, also for what is there and no file (a device would be replaced by one), and
    whatever its pieces raise."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is there, and is no file")
    aside = path.with_name(f".{secrets.token_hex(8)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(pieces)
            size_bytes = file.tell()
            file.flush()
            os.fsync(descriptor)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return size_bytes


def _entries(dump: SessionDump, at: float) -> Iterator[_Entry]:
    tenant, session = dump.key
    yield Opening(
        *(tenant, session, dump.seq, dump.chain, dump.head, len(dump.rows), len(dump.contents)),
        exported_at=at,
        token=dump.token,
        links=dump.links,
        version=__version__,
    )
    for row in dump.rows:
        yield _Row(row.seq, row.payload, row.chain)
    for call_id, hold in dump.holds:
        yield _Held(call_id, hold)
    for content in dump.contents:
        yield _Kept(content.name, content.data)


class ExportReader:
    """Reads one file as it comes; bounded, whatever comes. For one reader at a time.

    Raises MalformedRequest, whose message is for a human: not an export, of a later format, cut
    off, altered, too large."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj()
        self._digest = hashlib.sha256()
        self._begun = False
        self._tail = b""  # the last bytes so far: the digest, if nothing follows
        self._inflated = bytearray()
        self._size_bytes = 0
        self._opening: Opening | None = None
        self._rows: list[ChainedPayload] = []
        self._holds: dict[str, Hold] = {}
        self._contents: dict[str, bytes] = {}

    def feed(self, chunk: bytes) -> None:
        """What comes next of the file, in pieces of any size."""
        taken = self._tail + chunk
        if not self._begun:
            if len(taken) < len(MAGIC):
                _check_magic(taken)
                self._tail = taken
                return
            _check_magic(taken[: len(MAGIC)])
            self._digest.update(MAGIC)
            taken, self._begun = taken[len(MAGIC) :], True
        border = max(0, len(taken) - DIGEST_BYTES)
        body, self._tail = taken[:border], taken[border:]
        self._digest.update(body)
        self._inflate(body)

    def close(self) -> tuple[Opening, SessionDump]:
        """What was in it, now that it has ended."""
        if not (self._begun and self._inflater.eof):
            raise _refused("it is cut off: export the session again, or copy the file again")
        if self._digest.digest() != self._tail:
            raise _refused("it was altered or damaged on its way: copy it again")
        opening = self._opening
        counts = (len(self._rows), len(self._contents))
        if opening is None or self._inflated or counts != (opening.events, opening.contents):
            raise _refused("it does not hold what it says it holds")
        dump = SessionDump(
            SessionKey(opening.tenant, opening.session),
            opening.seq,
            opening.chain,
            opening.token,
            opening.head,
            tuple(self._rows),
            tuple(self._holds.items()),
            opening.links,
            tuple([Content(name, data) for name, data in self._contents.items()]),
        )
        return opening, dump

    def _inflate(self, body: bytes) -> None:
        """A little may come to gigabytes: it is taken out piece by piece."""
        inflater = self._inflater
        piece = bytes(_PIECE_BYTES)
        while body or len(piece) == _PIECE_BYTES:
            if inflater.eof:
                break
            try:
                piece = inflater.decompress(body, _PIECE_BYTES)
            except zlib.error as error:
                raise _refused("it was altered or damaged on its way: copy it again") from error
            self._size_bytes += len(piece)
            if self._size_bytes > _MOST_BYTES:
                raise _refused(f"it holds more than {_MOST_BYTES >> 20} MB")
            self._inflated += piece
            self._take_entries()
            body = inflater.unconsumed_tail or inflater.unused_data
        if body:
            raise _refused("something follows its end")

    def _take_entries(self) -> None:
        at, inflated = 0, self._inflated
        while len(inflated) - at >= _LENGTH_BYTES:
            size = int.from_bytes(inflated[at : at + _LENGTH_BYTES], "big")
            if size > _MOST_ENTRY_BYTES:
                raise _refused(f"an entry of it is larger than {_MOST_ENTRY_BYTES >> 20} MB")
            end = at + _LENGTH_BYTES + size
            if len(inflated) < end:
                break
            self._take(_entry(bytes(memoryview(inflated)[at + _LENGTH_BYTES : end])))
            at = end
        del inflated[:at]

    def _take(self, entry: _Entry) -> None:
        match entry:
            case Opening():
                self._open(entry)
            case _ if self._opening is None:
                raise _refused("it does not begin with its session")
            case _Row():
                self._rows.append(ChainedPayload(entry.seq, entry.payload, entry.chain))
            case _Held():
                self._holds[entry.call_id] = entry.hold
            case _Kept():
                if entry.name in self._contents:
                    raise _refused("it holds one content twice")
                self._contents[entry.name] = entry.data
        if len(self._rows) + len(self._holds) + len(self._contents) > _MOST_ENTRIES:
            raise _refused(f"it holds more than {_MOST_ENTRIES:,} events and contents")

    def _open(self, opening: Opening) -> None:
        if self._opening is not None:
            raise _refused("it holds two sessions")
        self._opening = opening


def read_export(pieces: Iterable[bytes]) -> tuple[Opening, SessionDump]:
    """The session of a file that is at hand. Raises as `ExportReader`."""
    reader = ExportReader()
    for piece in pieces:
        reader.feed(piece)
    return reader.close()


def _entry(written: bytes) -> _Entry:
    try:
        entry: _Entry = _decode(written)
    except UNREADABLE as error:
        raise _refused(f"it holds what no export has ({error})") from error
    return entry


def _check_magic(begun: bytes) -> None:
    if MAGIC.startswith(begun):
        return
    if begun.startswith(_KIND):
        raise _refused("its format is of a later version of Holdfast")
    raise _refused("it is no export of a session")


def _refused(why: str) -> MalformedRequest:
    return MalformedRequest(f"the export cannot be read: {why}", code="bad_export")
