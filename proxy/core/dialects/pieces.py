"""Texts that come in pieces, as streams bring them, and the JSON of what they are part of."""

from collections.abc import Mapping, Sequence

import msgspec

_MOST_LOOSE = 64
"""So many pieces of a text are kept apart; joined one by one, a long one would be copied often."""


class Text:
    """A text that came in pieces."""

    __slots__ = ("_pieces",)

    def __init__(self, first: str) -> None:
        self._pieces = [first]

    def add(self, piece: str) -> None:
        self._pieces.append(piece)
        if len(self._pieces) == _MOST_LOOSE:
            self._pieces = [str(self)]

    def __str__(self) -> str:
        return "".join(self._pieces)


_ENCODER = msgspec.json.Encoder(enc_hook=str)


def encode(message: Mapping[str, object] | Sequence[object]) -> bytes:
    """The JSON of what has such texts in it."""
    return _ENCODER.encode(message)
