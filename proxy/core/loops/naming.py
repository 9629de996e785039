"""The names of the tools in a loop, from what the request says; its rounds hold digests alone."""

import re
from typing import Final

from proxy.core.loops.normal import NO_TOOL, tool_digest
from proxy.core.loops.rounds import tool_of
from proxy.core.loops.turns import Tail

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_.:/-]+")
_CHARACTERS: Final = 64
_TOGETHER: Final = 4


def names_of(rounds: bytes, period: int, tail: Tail) -> tuple[str, ...]:
    """Of the newest `period` rounds, in their order, the first first; what nothing names is left
    out. Of several tools in one round, those of the newest are known by its calls."""
    known = {tool_digest(name): name for name in tail.offered}
    known.update({tool_digest(call.name): call.name for call in tail.calls})
    if period == 1 and tool_of(rounds) == NO_TOOL:
        together = dict.fromkeys(call.name for call in tail.calls)
        return tuple([safe_name(name) for name in together][:_TOGETHER])
    tools = [tool_of(rounds, back) for back in range(period, 0, -1)]
    return tuple([safe_name(known[tool]) for tool in tools if tool in known])


def safe_name(name: str) -> str:
    """A tool's name as it may be shown: models and clients choose it, and it is put into texts."""
    return _UNSAFE.sub("?", name)[:_CHARACTERS] or "?"
