"""docs/attacks.md: every test that it names is there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "attacks.md"


def named() -> Iterator[tuple[str, str]]:
    """Each (file, part of a test's name); the part is empty where all of a file is meant."""
    for row in PAGE.read_text().splitlines():
        if row.startswith("|"):
            files: list[str] = []
            is_first = True
            for word in re.findall(r"`([^`]+)`", row.rstrip("|").rpartition("|")[2]):
                if word.endswith((".py", "/")):
                    files = [*files, word] if is_first else [word]
                    is_first = True
                    yield word, ""
                else:
                    is_first = False
                    yield " ".join(files), word.strip("…")


def names_in(file: str) -> list[str]:
    """The names of the tests of a file of tests/integration/, or of a folder."""
    path = ROOT / file if "/" in file else ROOT / "tests" / "integration" / file
    files = sorted(path.rglob("test_*.py")) if path.is_dir() else [path]
    return [name for one in files for name in re.findall(r"def (test_\w+)", one.read_text())]


@pytest.mark.parametrize(("files", "part"), sorted(set(named())))
def test_an_attack_that_the_page_names_is_tested(files: str, part: str) -> None:
    """A page of promises is worth what its tests are."""
    assert any(part in name for file in files.split() for name in names_in(file))


def test_the_page_names_tests() -> None:
    """Else the test above would show little."""
    assert len(list(named())) > 80
