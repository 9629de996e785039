"""docs/forwarded.md: what it shows is what is done."""

import re
from pathlib import Path

import pytest

from proxy.core.changes import Changes, Given
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.registry import DIALECTS
from proxy.core.request import DialectName
from proxy.core.usage import ToolCall

PAGE = Path(__file__).parents[2] / "docs" / "forwarded.md"
SHOWN = re.findall(r"```json (\w+) ([\w ]+)\n(.*)\n(.*)\n```", PAGE.read_text())
CHANGES = {
    "note": Changes(notes=("A note.",)),
    "withhold": Changes(withhold_tools=True),
    "without look": Changes(without_tools=("look",)),
    "put back": Changes(put_back=(Given(ToolCall("t2", "mail", "{}"), "sent"),)),
}


@pytest.mark.parametrize(("dialect", "change", "before", "after"), SHOWN)
def test_what_the_page_shows_is_what_is_forwarded(
    dialect: DialectName, change: str, before: str, after: str
) -> None:
    """Byte for byte."""
    body, made = before.encode(), DIALECTS[dialect]

    assert made.rewrite(body, made.parse(body, Bounds()), CHANGES[change]).decode() == after


def test_the_page_shows_every_change() -> None:
    """Each in some dialect."""
    assert {change for _, change, _, _ in SHOWN} == set(CHANGES)
    assert PAGE.read_text().count("```json") == len(SHOWN)
