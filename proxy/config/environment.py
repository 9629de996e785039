"""`${NAME}` and `${NAME:-default}` in the scalars of a policy; `$${` is a plain `${`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_REFERENCE: Final = re.compile(
    r"\$\$\{|\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-(?:(?!\$\{)[^}])*)?\})?"
)


@dataclass(frozen=True, slots=True)
class Expanded:
    """used: something came from the environment or a default. fault: why it could not be done."""

    text: str
    used: bool = False
    fault: str | None = None


def expand(text: str, env: Mapping[str, str]) -> Expanded:
    """As in a shell, a default also stands in for a variable that is set but empty."""
    if "${" not in text:
        return Expanded(text)
    used = False
    fault: str | None = None

    def value(match: re.Match[str]) -> str:
        nonlocal used, fault
        if match[0] == "$${":
            return "${"
        used = True
        name, default = match["name"], match["default"]
        if name is None:
            fault = "a ${ that is not closed (allowed: ${NAME}, ${NAME:-default}, $${ for itself)"
        elif default is not None:
            return env.get(name) or default[2:]
        elif name not in env:
            fault = f"${{{name}}} is not set (allowed: set it, or give ${{{name}:-default}})"
        return env.get(name or "", "")

    return Expanded(_REFERENCE.sub(value, text), used, fault)
