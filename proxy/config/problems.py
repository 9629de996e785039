"""What is wrong with a policy file, and where."""

import re
from dataclasses import dataclass
from typing import Final

from proxy.errors import HoldfastError

Path = tuple[str | int, ...]
"""Keys and list positions from the top of the document."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Place:
    """Where in which file, counted from 1; line 0 stands for the file as a whole."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a policy, or (is_warning) a rule in it that does not do what it seems to.

    Holds no value that came from the environment or from a key that names a secret.
    """

    place: Place
    key: str
    message: str
    is_warning: bool = False

    def __str__(self) -> str:
        parts = [str(self.place), "warning" if self.is_warning else "", self.key, self.message]
        return ": ".join(part for part in parts if part)


class PolicyInvalid(HoldfastError):
    """The policy cannot be used; `problems` is everything wrong with it, sorted by place."""

    status = 400
    code = "policy_invalid"

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def key_of(path: Path) -> str:
    """A path as a reader of the file writes it: `routes[0].match.model`, `prices["gpt-4.1*"]`."""
    key = ""
    for part in path:
        if isinstance(part, int):
            key += f"[{part}]"
        elif _PLAIN.fullmatch(part):
            key += f".{part}" if key else part
        else:
            key += f'["{part}"]'
    return key


def by_place(problems: list[Problem], file: str) -> tuple[Problem, ...]:
    """Each once, sorted by place, those of `file` before those of the defaults beneath it."""
    return tuple(
        sorted(
            set(problems), key=lambda p: (p.place.file != file, p.place.line, p.place.column, p.key)
        )
    )
