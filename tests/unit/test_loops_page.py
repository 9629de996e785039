"""docs/loops.md: its thresholds are those of the shipped policy."""

import re
from dataclasses import astuple, fields
from pathlib import Path

from proxy.config import load_policy
from proxy.core.loops.policy import Cycle, Loops, Rungs

PAGE = Path(__file__).parents[2] / "docs" / "loops.md"
_ROW = re.compile(r"^\| `(\w+)` \| .* \| (\d+) \| (\d+) \| (\d+|-) \| (\d+) \|$", re.MULTILINE)


def in_force() -> dict[str, tuple[int | None, ...]]:
    """The rungs of each detector."""
    loops = load_policy(None, {}).policy.loops
    assert loops is not None
    values = {field.name: getattr(loops, field.name) for field in fields(Loops)}
    rungs = {n: v.rungs if isinstance(v, Cycle) else v for n, v in values.items()}
    return {n: astuple(v) for n, v in rungs.items() if isinstance(v, Rungs)}


def test_the_page_tells_the_thresholds_in_force() -> None:
    told = {
        name: tuple(None if cell == "-" else int(cell) for cell in cells)
        for name, *cells in _ROW.findall(PAGE.read_text())
    }

    assert told == in_force()
