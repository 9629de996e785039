"""What is said of a disk."""

import errno
import os
from pathlib import Path

import pytest

from proxy.stores.volumes import FULL, READ_ONLY, advice, fault_of


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "raise the quota"),
        (errno.EROFS, "mount it writable"),
        (errno.EACCES, "look at it"),
    ],
)
def test_what_is_to_be_done_follows_from_what_the_system_said(number: int, told: str) -> None:
    error = OSError(number, os.strerror(number))

    said = advice(error, "look at it")

    assert said.startswith(os.strerror(number))
    assert told in said


@pytest.mark.parametrize(
    ("flags", "free", "told"),
    [(0, 0, FULL), (os.ST_RDONLY, 9, READ_ONLY), (os.ST_RDONLY, 0, READ_ONLY), (0, 9, None)],
)
def test_a_volume_is_asked_for_itself(
    monkeypatch: pytest.MonkeyPatch, flags: int, free: int, told: str | None
) -> None:
    """SQLite tells the same of all that fails in it."""
    volume = os.statvfs_result((1, 1, 9, 9, free, 9, 9, 9, flags, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: volume)

    assert fault_of(Path("/somewhere/ledger.db")) == told


def test_a_volume_that_is_gone_says_nothing(tmp_path: Path) -> None:
    assert fault_of(tmp_path / "gone" / "ledger.db") is None
