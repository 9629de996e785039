"""The simulator's own tokenizer: deterministic, about four bytes a token, no vocabulary.

Its figures are this provider's truth. They are not those of any real model, and nobody else may
compute them: a proxy has to learn them from the usage that it is told.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

_TOKEN = re.compile(r" ?[A-Za-z]{1,7}| ?[0-9]{1,3}| ?[^\sA-Za-z0-9]{1,2}|\s+")
_IMAGE_TOKENS = 765
_PART_OVERHEAD_TOKENS = 3
_TOOL_KEYS = ("function", "input_schema", "parameters")
_FRAME_KEYS = frozenset(  # what a message is wrapped in, and no model reads
    re.findall(
        r"\w+",
        "id type role status call_id tool_call_id tool_use_id index detail signature phase "
        "encrypted_content cache_control annotations logprobs",
    )
)
_CACHED_FROM_CHARS = 256
_CACHE_ENTRIES = 8_192

Json = Mapping[str, object]


def split(text: str) -> list[str]:
    """The tokens of a text; joined they are the text."""
    return _TOKEN.findall(text)


class TokenCounter:
    """Counts tokens, and remembers long texts: a history is sent again with each step."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], int] = {}

    def text(self, text: str) -> int:
        """The number of tokens that `split` makes of it."""
        if len(text) < _CACHED_FROM_CHARS:
            return sum(1 for _ in _TOKEN.finditer(text))
        key = (len(text), hash(text))
        count = self._seen.get(key)
        if count is None:
            if len(self._seen) >= _CACHE_ENTRIES:
                self._seen.clear()
            count = self._seen[key] = sum(1 for _ in _TOKEN.finditer(text))
        return count

    def part(self, part: object) -> int:
        """One message, tool or system block as it is billed: its texts and a small overhead.

        Binary content (images, files, audio) costs a flat amount, however long its encoding is.
        """
        whole = isinstance(part, Mapping) and any(key in part for key in _TOOL_KEYS)
        return _PART_OVERHEAD_TOKENS + sum(self._leaf(leaf) for leaf in _leaves(part, whole))

    def _leaf(self, leaf: str) -> int:
        return _IMAGE_TOKENS if leaf.startswith("data:") else self.text(leaf)


def _leaves(value: object, whole: bool) -> Iterator[str]:
    """The texts of a JSON value; all of it, names too, if `whole`; one text per binary block."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _leaves_of_mapping(value, whole)
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _leaves(inner, whole)
    elif type(value) in (int, float):  # a bool is no number here
        yield str(value)


def _leaves_of_mapping(value: Json, whole: bool) -> Iterator[str]:
    if value.get("type") == "base64" or "file_data" in value:
        yield "data:"
        return
    yield from value if whole else ()
    for name, inner in value.items():
        if whole or name not in _FRAME_KEYS:
            yield from _leaves(inner, whole or name == "input")
