"""Whether one glob takes all that another takes, for rules that can never fire."""

import re
from fnmatch import fnmatchcase
from functools import cache
from typing import Final

_SIGN: Final = re.compile(r"\[!?\]?[^\]]*\]|.", re.DOTALL)


def covers(wide: str, narrow: str) -> bool:
    """True only if every text that `narrow` matches is matched by `wide`; False may be a miss."""
    wides = _SIGN.findall(re.sub(r"\*+", "*", wide))
    narrows = _SIGN.findall(re.sub(r"\*+", "*", narrow))

    @cache
    def from_here(w: int, n: int) -> bool:
        if w == len(wides):
            return n == len(narrows)
        sign = wides[w]
        if sign == "*":
            return from_here(w + 1, n) or (n < len(narrows) and from_here(w, n + 1))
        return n < len(narrows) and _one(sign, narrows[n]) and from_here(w + 1, n + 1)

    return from_here(0, 0)


def is_literal(glob: str) -> bool:
    """Whether it matches itself alone."""
    return not any(sign in glob for sign in "*?[")


def _one(wide: str, narrow: str) -> bool:
    """Whether a sign for one character takes every character of another."""
    if wide == narrow:
        return True
    if narrow == "*":
        return False
    return wide == "?" or (len(narrow) == 1 and narrow != "?" and fnmatchcase(narrow, wide))
