"""docs/translation.md: what it shows is what is done."""

import re
from pathlib import Path
from types import ModuleType

import pytest

from proxy.core.changes import Changes
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.registry import DIALECTS
from proxy.core.request import DialectName
from proxy.core.translation.registry import translation
from tests.unit.core.translation import test_chat_via_messages as of_chat
from tests.unit.core.translation import test_messages_via_chat as of_messages

PAGE = (Path(__file__).parents[2] / "docs" / "translation.md").read_text()
TRANSLATED = re.findall(
    r"```json (\w+) (\w+) (request|answer|error)(?: (\d+))?\n(.*)\n(.*)\n```", PAGE
)
UNBOUND = re.findall(r"```json (\w+) unbound\n(.*)\n(.*)\n```", PAGE)


@pytest.mark.parametrize(("client", "spoken", "what", "status", "before", "after"), TRANSLATED)
def test_what_the_page_shows_is_what_is_said(
    client: DialectName, spoken: DialectName, what: str, status: str, before: str, after: str
) -> None:
    """Byte for byte."""
    made, body = translation(client, spoken), before.encode()

    assert made is not None
    match what:
        case "request":
            told = made.request(body, output_bound=4096)
        case "answer":
            told = made.answer(body, asked=b"{}", created=0)
        case _:
            told = made.error(int(status), body)
    assert told.decode() == after


@pytest.mark.parametrize(("dialect", "before", "after"), UNBOUND)
def test_what_the_page_takes_out_is_taken_out(
    dialect: DialectName, before: str, after: str
) -> None:
    made, body = DIALECTS[dialect], before.encode()

    told = made.rewrite(body, made.parse(body, Bounds()), Changes(unbound=True))

    assert told.decode() == after


@pytest.mark.parametrize(
    ("heading", "tested"),
    [("Chat asked in messages", of_chat), ("Messages asked in chat", of_messages)],
)
def test_what_is_left_out_or_refused_is_named(heading: str, tested: ModuleType) -> None:
    """Members whose tests say so; some of those are of values that no page has to name."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    left_out, refused = re.split(r"^Refused: ", section.partition("Left out: ")[2], flags=re.M)

    for text, rows in ((left_out, tested.LEFT_OUT), (refused, tested.REFUSED)):
        members = [name for name in rows if re.fullmatch("[a-z]+(_[a-z]+)*", name)]
        shown = set(re.findall("`([^`]+)`", text)) | {"null", "audio", "bash", "web_search"}
        assert [name for name in members if name not in shown] == []
        assert len(members) > 4


def test_every_example_is_tried() -> None:
    assert PAGE.count("```json") == len(TRANSLATED) + len(UNBOUND) == 9
