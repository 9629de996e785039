"""Files of recorded runs: large, gzipped, damaged, or not at all what their name says."""

import gzip
import os
from pathlib import Path
from threading import Event, Thread

import pytest

from proxy.dry_run.lines import Fault, Line, lines_of


def read(path: Path, most_bytes: int = 100) -> list[str]:
    return [
        f"{line.place.line}: {line.data.decode().strip()}" if isinstance(line, Line) else str(line)
        for line in lines_of(path, most_bytes)
    ]


@pytest.mark.parametrize("name", ["runs.jsonl", "runs.jsonl.gz"])
@pytest.mark.parametrize("is_gzip", [True, False])
def test_lines_come_with_their_numbers(tmp_path: Path, name: str, is_gzip: bool) -> None:
    """By what the file begins with: a download may have been unpacked on its way. Blank ones are
    left out, but counted, as an editor does."""
    text = b"one\n\n  \r\ntwo\nlast"
    path = tmp_path / name
    path.write_bytes(gzip.compress(text) if is_gzip else text)

    assert read(path) == ["1: one", "4: two", "5: last"]


def test_a_line_that_is_too_long_is_passed_over(tmp_path: Path) -> None:
    """It must not fill the memory, and not take the lines after it along."""
    path = tmp_path / "runs.jsonl"
    path.write_bytes(b"one\n" + b"x" * 3_000_000 + b"\ntwo\n" + b"y" * 101)

    assert read(path) == [
        "1: one",
        f"{path}:2: the line is over 100 bytes",
        "3: two",
        f"{path}:4: the line is over 100 bytes",
    ]
    assert read(path, 3_000_000)[1] == "2: " + "x" * 3_000_000


def test_a_gzipped_file_cut_short_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    """A download that broke off still says something, and where it ends."""
    path = tmp_path / "runs.jsonl.gz"
    whole = gzip.compress(b"one\n") + gzip.compress(b"two\n")
    path.write_bytes(whole[:-6])

    lines = read(path)

    assert lines[0] == "1: one"
    assert lines[-1].startswith(f"{path}:")
    assert "damaged or cut short" in lines[-1]


def test_a_damaged_gzip_is_told(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl.gz"
    path.write_bytes(b"\x1f\x8b" + b"nonsense" * 20)

    (fault,) = lines_of(path)

    assert isinstance(fault, Fault)
    assert "damaged" in fault.message


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    assert read(tmp_path) == [f"{tmp_path}: cannot be read: Is a directory"]
    assert read(tmp_path / "no") == [
        f"{tmp_path / 'no'}: cannot be read: No such file or directory"
    ]


@pytest.mark.parametrize("is_gzip", [True, False])
def test_a_pipe_is_read_too(tmp_path: Path, is_gzip: bool) -> None:
    """`holdfast replay --from <(zcat …)`: what was looked at is not there a second time."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    text = b"one\ntwo\n"
    writing = Thread(
        target=path.write_bytes, args=(gzip.compress(text) if is_gzip else text,), daemon=True
    )
    writing.start()

    assert read(path) == ["1: one", "2: two"]
    writing.join()


def test_a_line_is_there_before_the_next_is_read(tmp_path: Path) -> None:
    """A file of gigabytes is never in memory, and a pipe is judged as it flows."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    is_read = Event()

    def write() -> None:
        with path.open("wb", buffering=0) as pipe:
            pipe.write(b"one\n")
            assert is_read.wait(5)
            pipe.write(b"two\n")

    writing = Thread(target=write, daemon=True)
    writing.start()
    lines = lines_of(path)

    first = next(lines)
    is_read.set()
    assert isinstance(first, Line)
    assert first.data == b"one\n"
    assert len(list(lines)) == 1
    writing.join()
