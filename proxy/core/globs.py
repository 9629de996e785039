"""Whether a name matches one of several globs, asked again and again of the same few names.

What was found is remembered, and so is the name it was found of. Names come from clients and
models, in bodies of up to 64 MiB: none is kept that is longer than names of tools are.
"""

from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

_KEPT_CHARACTERS: Final = 256
_KEPT_TOGETHER: Final = 16_384
"""Characters of all names of one offer."""

Names = tuple[str, ...]


def matches(globs: Names, name: str) -> bool:
    """Whether any of the globs matches the name, case included."""
    if not globs:
        return False
    return _known(globs, name) if len(name) <= _KEPT_CHARACTERS else _is_match(globs, name)


def any_matches(globs: Names, names: Names) -> bool:
    """The same of several names, which agents offer call after call."""
    if not globs:
        return False
    kept = len("".join(names)) <= _KEPT_TOGETHER  # faster than to add lengths up
    return _any_known(globs, names) if kept else _is_any_match(globs, names)


def _is_match(globs: Names, name: str) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)


def _is_any_match(globs: Names, names: Names) -> bool:
    return any(_is_match(globs, name) for name in names)


_known = lru_cache(4_096)(_is_match)
_any_known = lru_cache(1_024)(_is_any_match)
