"""Lines of a file of recorded runs, plain or gzipped, one at a time: a file may be of gigabytes."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, NamedTuple, cast

MOST_BYTES: Final = 128 * 1024 * 1024
"""Of one line: twice what a proxy takes for one body, and a run ends with its longest."""

_GZIP: Final = b"\x1f\x8b"
_PIECE: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Place:
    """Where in which file; line 0 stands for the file as a whole."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Fault:
    """What could not be read, and why. The lines around it are read all the same."""

    place: Place
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


class Line(NamedTuple):
    """One line as it is in the file, its end included."""

    place: Place
    data: bytes


def lines_of(path: Path, most_bytes: int = MOST_BYTES) -> Iterator[Line | Fault]:
    """Every line that is not blank, or why it cannot be had. Raises nothing."""
    place = Place(str(path))
    try:
        with _opened(path) as file:
            for line in _numbered(file, str(path), most_bytes):
                if isinstance(line, Line):
                    place = line.place
                yield line
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        at = Place(str(path), place.line + 1)
        yield Fault(at, f"the gzipped file is damaged or cut short here ({error})")
    except OSError as error:
        yield Fault(place, f"cannot be read: {error.strerror or error}")


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Unpacked where it begins as gzip does: a name may lie. Opened once: it may be a pipe."""
    with path.open("rb") as file:
        if file.peek(len(_GZIP)).startswith(_GZIP):
            with gzip.open(file) as unpacked:
                yield cast("IO[bytes]", unpacked)
        else:
            yield file


def _numbered(file: IO[bytes], name: str, most_bytes: int) -> Iterator[Line | Fault]:
    number = 0
    while line := file.readline(most_bytes + 1):
        number += 1
        if len(line) > most_bytes and not line.endswith(b"\n"):
            _skip_line(file)
            yield Fault(Place(name, number), f"the line is over {most_bytes} bytes")
        elif not line.isspace():
            yield Line(Place(name, number), line)


def _skip_line(file: IO[bytes]) -> None:
    while (piece := file.readline(_PIECE)) and not piece.endswith(b"\n"):
        pass
