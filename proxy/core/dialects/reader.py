"""Reads a body and its parts, and what earlier bodies had from memory (`core.memo`)."""

from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec
import xxhash

from proxy.core.dialects.base import Bounds
from proxy.core.dialects.body import Body, read_body, refuse_deep, refuse_many_values
from proxy.core.dialects.continued import between, continued, past_of
from proxy.core.memo import Kind, Memo
from proxy.core.request import DialectName, Learned, Piece, Trail

Read = Callable[[msgspec.Raw, int], Piece]
"""What reads a part at a place in its list. Raises MalformedRequest."""

_SAME = 0.75
"""Of a history that goes on: what has less of it in common is another that began alike."""

_part_key = xxhash.xxh3_128_digest


_CONVERSATIONS: Mapping[DialectName, Kind] = {
    "chat": "chat",
    "messages": "messages",
    "responses": "input",
}


def unread_bytes(dialect: DialectName, body: bytes, bounds: Bounds, memo: Memo) -> int:
    """About how much of a body `parse` has to read: little, where it goes on from a known one."""
    kind = _CONVERSATIONS.get(dialect)
    trail = memo.trail(body, memo.seed(kind, bounds.json_depth))[0] if kind else None
    new = None if trail is None else between(body, trail.past)
    return len(body) if new is None else new[2] - new[1]


class Reader:
    """For one body, in this order: the body itself, its conversation, its other parts, and what was
    learned from all that.

    kind: of the conversation, which is the member `listed`.
    """

    def __init__(self, bounds: Bounds, memo: Memo | None, kind: Kind, listed: str) -> None:
        self._bounds = bounds
        self._memo = memo
        self._kind = kind
        self._listed = listed
        self._met: list[tuple[bytes, Piece]] = []
        self._trail: Trail | None = None
        self._beginnings: tuple[bytes, ...] = ()
        self._recalled: list[Piece] = []
        self._keys: list[bytes] = []

    def body(self, body: bytes, governed: Collection[str], apart: Collection[str]) -> Body:
        """The body taken apart. Raises MalformedRequest. governed, apart: as in `read_body`; the
        conversation is one of those that are apart."""
        if self._memo is not None:
            seed = self._memo.seed(self._kind, self._bounds.json_depth)
            trail, self._beginnings = self._memo.trail(body, seed)
            if trail is not None and (known := self._continued(self._memo, trail, body)):
                return known
        return read_body(body, self._bounds, governed, (self._listed, *apart))

    def conversation(self, parts: Sequence[msgspec.Raw], read: Read) -> list[Piece]:
        """What each message says. parts: those that are not known by the body.

        Raises what `read` does, and MalformedRequest for one that nests too deeply."""
        keys = self._keys_of(self._kind, parts)
        self._keys += keys
        return self._recalled + self._pieces(keys, parts, read, 2, len(self._recalled))

    def part(self, kind: Kind, part: msgspec.Raw, read: Read) -> Piece:
        """What a member of the body says. Raises like `conversation`."""
        return self._pieces(self._keys_of(kind, (part,)), (part,), read, 1)[0]

    def together(self, places: Sequence[int], read: Callable[[], Piece]) -> Piece:
        """What the elements at these places of the conversation say together."""
        if self._memo is None:
            return read()
        seed = self._memo.seed("together", self._bounds.json_depth)
        key = _part_key(b"".join([self._keys[at] for at in places]), seed)
        young = self._memo.young.get(key)
        piece = young or self._memo.older(key) or read()
        if young is None:
            self._met.append((key, piece))
        return piece

    def learned(self, body: Body, parts: Sequence[msgspec.Raw]) -> Learned | None:
        """What to keep. parts: as given to `conversation`."""
        if self._memo is None:
            return None
        past = None
        if self._beginnings:
            past = past_of(body, self._listed, parts, tuple(self._keys))
        return Learned(tuple(self._met), past, self._trail, self._beginnings)

    def _continued(self, memo: Memo, trail: Trail, body: bytes) -> Body | None:
        past = trail.past
        known = continued(body, past, self._bounds)
        if known is None:
            return None
        refuse_many_values(body, self._bounds.values)
        if len(known.keys) >= _SAME * len(past.keys):
            self._trail = trail
        return known if self._recall(memo, known.keys) else None

    def _recall(self, memo: Memo, keys: Sequence[bytes]) -> bool:
        """Takes all of these pieces from memory, if they are there."""
        pieces = [piece for piece in map(memo.young.get, keys) if piece]
        if len(pieces) < len(keys):
            pieces = []
            for key in keys:
                young = memo.young.get(key)
                piece = young or memo.older(key)
                if piece is None:
                    return False
                if young is None:
                    self._met.append((key, piece))
                pieces.append(piece)
        self._recalled, self._keys = pieces, list(keys)
        return True

    def _keys_of(self, kind: Kind, parts: Sequence[msgspec.Raw]) -> list[bytes]:
        if self._memo is None:
            return []
        seed = self._memo.seed(kind, self._bounds.json_depth)
        return [_part_key(part, seed) for part in parts]

    def _pieces(
        self,
        keys: Sequence[bytes],
        parts: Sequence[msgspec.Raw],
        read: Read,
        levels: int,
        first: int = 0,
    ) -> list[Piece]:
        """levels: how deep the parts are in the body; first: the place of the first in its list."""
        memo = self._memo
        if memo is None:
            return [self._read(part, at, read, levels) for at, part in enumerate(parts)]
        pieces: list[Piece] = []
        for at, young in enumerate(map(memo.young.get, keys)):
            piece = young or memo.older(keys[at]) or self._read(parts[at], first + at, read, levels)
            if young is None:
                self._met.append((keys[at], piece))
            pieces.append(piece)
        return pieces

    def _read(self, part: msgspec.Raw, at: int, read: Read, levels: int) -> Piece:
        refuse_deep((part,), self._bounds, levels)
        return read(part, at)
