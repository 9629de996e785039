"""Compiles the rig when its sources have changed."""

import subprocess
from pathlib import Path

from bench.places import BUILD, RIG

_SOURCES = {
    "load": ("load.c", "request.c", "answer.c", "samples.c"),
    "upstream": ("upstream.c",),
}
_FLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror")


def built(program: str) -> Path:
    """The program, compiled if it has to be. Raises CalledProcessError, with its text shown."""
    target = BUILD / program
    sources = [RIG / name for name in _SOURCES[program]]
    newest = max(path.stat().st_mtime for path in RIG.glob("*.[ch]"))
    if not target.exists() or target.stat().st_mtime < newest:
        BUILD.mkdir(exist_ok=True)
        subprocess.run(["cc", *_FLAGS, "-o", target, *sources], check=True)
    return target
