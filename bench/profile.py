"""Attaches py-spy to a system while it is under load, where there is one."""

import shutil
import subprocess
from pathlib import Path

from bench.cells import Cell
from bench.measure import Running, take
from bench.places import BUILD, PEERS

_SECONDS = 4.0
_SAMPLES_A_SECOND = "400"


def py_spy() -> str | None:
    """From `peers.sh py-spy`, or the machine's own."""
    ours = PEERS / "py-spy" / "bin" / "py-spy"
    return str(ours) if ours.exists() else shutil.which("py-spy")


def profile(running: Running, cell: Cell) -> Path:
    """Runs a cell under py-spy and returns the file of its stacks, one a line with its count.

    Raises LookupError where there is no py-spy. The cell's own sample is thrown away: a profiler
    is part of what it measures.
    """
    program = py_spy()
    if program is None:
        raise LookupError("no py-spy: bench/peers.sh py-spy")
    assert running.server is not None
    stacks = BUILD / f"profile-{running.measured.name.replace(', ', '-')}-{cell.name}.txt"
    options = {
        "--pid": str(running.server.pid),
        "--duration": str(round(_SECONDS * 0.9)),
        "--rate": _SAMPLES_A_SECOND,
        "--format": "raw",
        "--output": str(stacks),
    }
    said = [word for option in options.items() for word in option]
    running.resume()
    watching = subprocess.Popen(
        (program, "record", *said), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        take(running, cell, cell.rate, "profiled", _SECONDS)
        running.resume()
        watching.wait(_SECONDS * 3)
    finally:
        watching.kill()
        running.pause()
        running.measured.samples.pop("profiled", None)
    return stacks
