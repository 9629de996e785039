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
_UNIT = r'[^"\\\ud800-\udfff\x00-\x1f]|\\["\\/bfnrt]|\\u(?![dD][89a-fA-F])[0-9a-fA-F]{4}'
_PAIR = r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_CERTAIN = re.compile(rf"(?:{_UNIT}|{_PAIR})*")
_TEXT = msgspec.json.Decoder(str)


class _Arguments(msgspec.Struct):
    input: str


_ARGUMENTS = msgspec.json.Decoder(_Arguments)


class CustomInput:
    """text: as far as it is certain. is_whole: it has ended."""

    __slots__ = ("_at", "_begun", "_written", "is_whole", "text")

    def __init__(self) -> None:
        self.text = ""
        self.is_whole = False
        self._written = ""
        self._begun: bool | None = None
        self._at = 0

    def feed(self, piece: str) -> str:
        """Takes a piece of the arguments; returns what of the text is new."""
        self._written += piece
        if self._begun is None:
            match = _BEGIN.match(self._written)
            if match is not None:
                self._begun, self._at = True, match.end()
            elif not _COULD_BEGIN.fullmatch(self._written):
                self._begun = False
        if not self._begun or self.is_whole:
            return ""
        match = _CERTAIN.match(self._written, self._at)
        assert match is not None, "it matches nothing as well"
        new = _TEXT.decode(f'"{match[0]}"')
        self._at = match.end()
        self.is_whole = self._written[self._at : self._at + 1] == '"'
        self.text += new
        return new

    def close(self) -> str:
        """The call has ended: what is left of the text."""
        if self.is_whole:
            return ""
        left = self._written[self._at :] if self._begun else input_of(self._written)
        self.is_whole = not self._begun
        self.text += left
        return left


def input_of(arguments: str) -> str:
    """The text of a call whose arguments are whole."""
    try:
        return _ARGUMENTS.decode(arguments).input
    except (ValueError, RecursionError):
        return arguments
