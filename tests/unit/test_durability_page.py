"""docs/durability.md is held to the code: what an operator reads is said somewhere."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "durability.md").read_text()
SAID = re.findall(r'^\| [^|]+ \| "([^"]+)" \|', PAGE, re.MULTILINE)
COMMANDS = re.findall(r"^\| `(?:python -m|pytest) ([^` ]+)([^`]*)`", PAGE, re.MULTILINE)


def _texts() -> list[str]:
    files = [*(ROOT / "proxy" / "stores").glob("*.py"), ROOT / "proxy" / "sweeper.py"]
    return [
        node.value
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


TEXTS = _texts()


@pytest.mark.parametrize("said", SAID)
def test_what_an_operator_reads_is_what_is_said(said: str) -> None:
    assert any(said in text for text in TEXTS)


def test_all_sentences_are_read_here() -> None:
    assert len(SAID) == 12


@pytest.mark.parametrize(("what", "options"), COMMANDS)
def test_the_commands_are_there(what: str, options: str) -> None:
    if what.endswith(".py"):
        assert (ROOT / what).exists()
        return
    main = (ROOT / what.replace(".", "/") / "__main__.py").read_text()

    assert all(f'"{option}"' in main for option in re.findall(r"--\w+", options))
