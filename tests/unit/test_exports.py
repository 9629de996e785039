"""A session as one file: written and read back, and refused where it is not what it says."""

import os
import time
import zlib
from collections.abc import Iterator
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import __version__, exports
from proxy.core.session import SessionKey
from proxy.errors import MalformedRequest
from proxy.exports import MAGIC, ExportReader, export_of, read_export, write_export
from proxy.stores import Content, Hold, SessionDump, SessionHead
from proxy.stores.chain import ChainedPayload

KEY = SessionKey("tenant-é", "s1")


def dump_of(events: int = 3, contents: int = 2, size: int = 100) -> SessionDump:
    rows = tuple(
        [
            ChainedPayload(n + 1, b'{"type":"CallRefused","at":%d.0}' % n, bytes(32))
            for n in range(events)
        ]
    )
    kept = tuple([Content(f"c{n}.q", os.urandom(size)) for n in range(contents)])
    head = SessionHead(agent="a", steps=7, cost_micro_usd=12, updated_at=3.5, waits=("ho_1",))
    hold = Hold("owner", 9.5, 100, ("global:day",), 5, ("tree",))
    return SessionDump(
        KEY, events, b"c" * 32, b"token", head, rows, (("c1", hold),), (b"l" * 16,), kept
    )


def file_of(dump: SessionDump) -> bytes:
    return b"".join(export_of(dump, 5.0))


DUMP = dump_of()
FILE = file_of(DUMP)


def refusal(file: bytes) -> str:
    with pytest.raises(MalformedRequest) as caught:
        read_export([file])
    assert caught.value.code == "bad_export"
    return str(caught.value)


def forged(*entries: object, tail: bytes = b"", magic: bytes = MAGIC) -> bytes:
    """A file that somebody made by hand, with a digest that is right."""
    written = b""
    for entry in entries:
        value = entry if isinstance(entry, bytes) else msgspec.msgpack.encode(entry)
        written += len(value).to_bytes(4, "big") + value
    file = magic + zlib.compress(written + tail)
    return file + sha256(file).digest()


def opening(**fields: object) -> dict[str, object]:
    known = {"type": "session", "tenant": "t", "session": "s", "seq": 0, "chain": b"", "head": {}}
    return {**known, "events": 0, "contents": 0, "exported_at": 1.0, **fields}


@pytest.mark.parametrize(
    "dump", [DUMP, dump_of(0, 0), dump_of(1_000, 300), dump_of(1, 1, 3_000_000)]
)
def test_what_was_written_is_read(dump: SessionDump) -> None:
    told, read = read_export(export_of(dump, 5.0))

    assert read == dump
    assert (told.exported_at, told.events) == (5.0, len(dump.rows))


@given(st.lists(st.integers(1, len(FILE)), max_size=6))
def test_pieces_of_any_size_are_the_same_file(cuts: list[int]) -> None:
    borders = [0, *sorted(cuts), len(FILE)]

    pieces = [FILE[a:b] for a, b in pairwise(borders)]
    assert read_export(pieces)[1] == DUMP


def test_what_inflates_to_whole_pieces_is_read_to_its_end() -> None:
    """The inflater may have taken all of a file, and not have given all of it."""
    for more in range(520):
        content = Content("c.q", bytes(262_144 - 400 + more))
        dump = SessionDump(KEY, 0, b"", b"", SessionHead(), (), contents=(content,))
        assert read_export([file_of(dump)])[1].contents == (content,)


def test_one_byte_at_a_time_is_the_same_file() -> None:
    assert read_export([FILE[at : at + 1] for at in range(len(FILE))])[1] == DUMP


def test_every_cut_is_refused_with_a_sentence() -> None:
    """A copy that broke off."""
    for end in range(len(FILE)):
        said = refusal(FILE[:end])
        assert "cut off" in said or (end > len(FILE) - 32 and "altered or damaged" in said)


def test_every_changed_byte_is_refused() -> None:
    """Not one bit of it may change unseen."""
    chance = Random(1)
    for at in range(len(FILE)):
        altered = bytearray(FILE)
        altered[at] ^= 1 << chance.randrange(8)
        assert refusal(bytes(altered)).startswith("the export cannot be read: ")


def test_what_follows_the_end_is_refused() -> None:
    refusal(FILE + b"x")
    refusal(FILE + FILE)
    assert "something follows" in refusal(forged(opening()) + bytes(64))


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (b"", "cut off"),
        (b"PK\x03\x04" + bytes(100), "no export of a session"),
        (b'{"session": "s1"}' + bytes(100), "no export of a session"),
        (b"Holdfast session, format 2\n" + bytes(100), "later version"),
        (forged(), "does not hold what it says"),
        (forged(opening(), opening()), "two sessions"),
        (forged({"type": "event", "seq": 1, "payload": b"", "chain": b""}), "does not begin with"),
        (forged(opening(events=2)), "does not hold what it says"),
        (forged(opening(contents=1)), "does not hold what it says"),
        (forged(opening(), tail=b"\0\0\0\x09x"), "does not hold what it says"),
        (forged(opening(), tail=b"\xff\xff\xff\xff"), "larger than 96 MB"),
        (forged({"type": "__import__('os')"}), "what no export has"),
        (forged(b"\x80"), "what no export has"),
        (forged(b"\x81\xa4type\xa1\xba"), "what no export has"),
        (forged(b"\x91" * 100_000), "what no export has"),
        (forged(opening(seq="1")), "what no export has"),
        (forged(opening(head={"steps": 1.5})), "what no export has"),
        (
            forged(opening(contents=1), *[{"type": "content", "name": "a", "data": b""}] * 2),
            "one content twice",
        ),
    ],
)
def test_what_is_no_export_is_refused_by_name(file: bytes, said: str) -> None:
    assert said in refusal(file)


def test_a_later_version_may_say_more() -> None:
    """Fields are only ever added."""
    told, _ = read_export([forged(opening(colour="red"))])

    assert told.session == "s"


def bomb(pieces: int) -> Iterator[bytes]:
    """Gigabytes of zeros in a few megabytes, as one entry after another."""
    deflater = zlib.compressobj(9)
    yield MAGIC
    first = msgspec.msgpack.encode(opening(contents=pieces))
    yield deflater.compress(len(first).to_bytes(4, "big") + first)
    for at in range(pieces):
        entry = msgspec.msgpack.encode(
            {"type": "content", "name": str(at), "data": bytes(8 * 1024 * 1024)}
        )
        yield deflater.compress(len(entry).to_bytes(4, "big") + entry)
    yield deflater.flush()


def test_a_bomb_is_refused_before_it_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "_MOST_BYTES", 64 * 1024 * 1024)
    reader = ExportReader()

    def fed() -> None:
        for piece in bomb(20):
            reader.feed(piece)

    with pytest.raises(MalformedRequest, match="more than 64 MB"):
        fed()
    assert sum(map(len, reader._contents.values())) + len(reader._inflated) <= 64 * 1024 * 1024


def test_a_bomb_in_one_piece_is_taken_out_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """60 MB in 60 KB: the reader never inflates more than a piece at once."""
    monkeypatch.setattr(exports, "_MOST_ENTRY_BYTES", 1024 * 1024)
    file = MAGIC + zlib.compress(b"\x7f\0\0\0" + bytes(60 * 1024 * 1024))
    reader = ExportReader()

    with pytest.raises(MalformedRequest, match="larger than 1 MB"):
        reader.feed(file)
    assert len(reader._inflated) < 1024 * 1024


def test_more_entries_than_any_session_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "_MOST_ENTRIES", 4)

    assert "more than 4 events" in refusal(FILE)


def test_a_large_answer_is_written_and_read_in_pieces() -> None:
    """50 MB that do not compress: no piece is larger than twice 256 KB."""
    dump = dump_of(1, 1, 50_000_000)
    reader, largest, began = ExportReader(), 0, time.process_time()

    for piece in export_of(dump, 1.0):
        largest = max(largest, len(piece))
        reader.feed(piece)
    assert reader.close()[1] == dump
    assert largest < 3 * 256 * 1024
    print(f"50 MB out and in: {time.process_time() - began:.1f} s")


def test_the_file_says_who_wrote_it() -> None:
    told, _ = read_export([FILE])

    assert (told.tenant, told.session, told.version) == (*KEY, __version__)


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_nothing_takes_the_place_of_what_is_no_file(tmp_path: Path, kind: str) -> None:
    """A device would be one more regular file, and gone for everybody."""
    target = tmp_path / "there"
    target.mkdir() if kind == "folder" else os.mkfifo(target)

    with pytest.raises(OSError, match="is no file"):
        write_export(target, [b"export"])
    assert not target.is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
