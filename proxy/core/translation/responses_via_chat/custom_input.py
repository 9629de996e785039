"""The text of a custom tool's call, out of the arguments that a chat model writes for it.

Theory of operation. The arguments are an object with one text, and come in pieces. As soon as the
text has begun, what of it is certain passes on: whole characters and whole escapes, but for the
first half of a surrogate pair, which waits for the other. A model that writes the text as it is,
without an object around it, is taken at its word when the call has ended.
"""

import re

import msgspec

_BEGIN = re.compile(r'\s*\{\s*"input"\s*:\s*"')
_COULD_BEGIN = re.compile(r'\s*(?:\{\s*(?:"(?:i(?:n(?:p(?:u(?:t(?:"\s*(?::\s*)?)?)?)?)?)?)?)?)?')
_PLAIN = r'[^"\\\ud800-\udfff\x00-\x1f]++'
_ESCAPE = r'\\["\\/bfnrt]|\\u(?![dD][89a-fA-F])[0-9a-fA-F]{4}'
_PAIR = r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_CERTAIN = re.compile(rf"(?:{_PLAIN}|{_ESCAPE}|{_PAIR})*+")
_LONGEST_ESCAPE = len(r"\ud83d\ude00")
_MOST_BEFORE = 256
"""Characters in which the text has to begin; of what begins later, all is read at the end."""
_TEXT = msgspec.json.Decoder(str)


class _Arguments(msgspec.Struct):
    input: str


_ARGUMENTS = msgspec.json.Decoder(_Arguments)


class CustomInput:
    """is_whole: the text has ended. Each piece is looked at once, however many there are."""

    __slots__ = ("_begun", "_is_stuck", "_left", "_left_over", "_pieces", "is_whole")

    def __init__(self) -> None:
        self.is_whole = False
        self._pieces: list[str] = []
        self._begun: bool | None = None
        self._is_stuck = False
        self._left = ""
        self._left_over: list[str] = []

    @property
    def text(self) -> str:
        """As far as it is certain."""
        return "".join(self._pieces)

    def feed(self, piece: str) -> str:
        """Takes a piece of the arguments; returns what of the text is new."""
        if self.is_whole:
            return ""
        if self._begun is False or self._is_stuck:
            self._left_over.append(piece)
            return ""
        self._left += piece
        if self._begun is None and not self._begins():
            return ""
        return self._certain()

    def close(self) -> str:
        """The call has ended: what is left of the text."""
        if self.is_whole:
            return ""
        left = "".join([self._left, *self._left_over])
        if not self._begun:
            left, self.is_whole = input_of(left), True
        self._pieces.append(left)
        return left

    def _begins(self) -> bool:
        match = _BEGIN.match(self._left)
        if match is not None:
            self._begun, self._left = True, self._left[match.end() :]
        elif len(self._left) > _MOST_BEFORE or not _COULD_BEGIN.fullmatch(self._left):
            self._begun = False
        return match is not None

    def _certain(self) -> str:
        match = _CERTAIN.match(self._left)
        assert match is not None, "it matches nothing as well"
        new = _TEXT.decode(f'"{match[0]}"')
        self._left = self._left[match.end() :]
        self.is_whole = self._left.startswith('"')
        self._is_stuck = len(self._left) >= _LONGEST_ESCAPE
        self._pieces.append(new)
        return new


def input_of(arguments: str) -> str:
    """The text of a call whose arguments are whole."""
    try:
        return _ARGUMENTS.decode(arguments).input
    except (ValueError, RecursionError):
        return arguments
