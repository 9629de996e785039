"""Disks that are full or cannot be written, and starts that are refused."""

import asyncio
import os
import resource
import subprocess
import sys
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

_ROOT: Final = Path(__file__).parents[2]
_START_SECONDS: Final = 20.0


@contextmanager
def small_disk(folder: Path, megabytes: int = 4) -> Iterator[Path]:
    """A volume of its own. Skips where this user may mount none."""
    folder.mkdir()
    if _mount("-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)) != 0:
        pytest.skip("no volume can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _mount(*arguments: str) -> int:
    try:
        return subprocess.run(["mount", *arguments], check=False, capture_output=True).returncode
    except FileNotFoundError:
        return 1


def make_read_only(disk: Path) -> None:
    """No file may be open for writing there."""
    assert _mount("-o", "remount,ro", str(disk)) == 0


def fill(disk: Path) -> Path:
    """To the last byte; the file that does it."""
    filler = disk / "filler"
    descriptor = os.open(filler, os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(descriptor, bytes(4_096))
    except OSError:
        return filler
    finally:
        os.close(descriptor)


def bound_files(pid: int, size_bytes: int) -> None:
    """No file of that process grows beyond this: what a full disk is to who may mount none."""
    unbounded = resource.RLIM_INFINITY
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size_bytes, unbounded))


def unbound_files(pid: int) -> None:
    """They may again."""
    bound_files(pid, resource.RLIM_INFINITY)


async def refused_start(ledger: Path, workers: int = 1) -> str:
    """What a `holdfast serve` says that does not start."""
    arguments = ("--port=0", "--admin-port=0", f"--store=sqlite:///{ledger}")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proxy", "serve", *arguments, f"--workers={workers}"),
        cwd=_ROOT,
        stderr=PIPE,
    )
    try:
        async with asyncio.timeout(_START_SECONDS):
            _, said = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return "it started"
    lines = said.decode().strip().splitlines()
    return lines[-1] if process.returncode == 1 and lines else f"exit code {process.returncode}"
