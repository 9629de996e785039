"""A sample of the fault matrix; `python -m tests.faults` is the whole of it."""

import pytest

from proxy.clock import SystemClock
from tests.faults.__main__ import all_cells, played, shown
from tests.faults.promises import broken
from tests.integration.kit import DIALECTS

_EACH = 7
"""Every seventh cell: no multiple of the five kinds of fallback, so that all of them come."""
_AT_ONCE = 5
"""More of them on a busy machine, and one that is well would be slow by its cell's policy."""


@pytest.mark.timeout(90)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_no_provider_can_break_a_promise(dialect: str) -> None:
    """No cell hangs, ends cleanly when truncated, books an attempt other than once, or answers in
    another dialect."""
    cells = [cell for cell in await all_cells(SystemClock().now()) if cell.dialect == dialect]
    seen = await played(cells[DIALECTS.index(dialect) :: _EACH], _AT_ONCE)

    wrong = [f"{shown(*one)}: {why}" for one in seen for why in broken(*one)]
    assert wrong == []
    assert len({(cell.case.name, cell.fallback) for cell, _ in seen}) > 30
