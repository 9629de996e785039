"""Puts the events of a `/v1/messages` stream together to the blocks that a client makes of them."""

from collections.abc import Iterable

import msgspec

from proxy.core.dialects.pieces import Text, encode

Members = dict[str, msgspec.Raw]

_VALUE = msgspec.json.Decoder()
_TEXT = msgspec.json.Decoder(str)
_JOINED = ("text", "thinking")
_REPLACED = ("signature",)


class BlockSoFar:
    """One block: what its start said, and its deltas."""

    __slots__ = ("_members", "_written")

    def __init__(self, start: Members) -> None:
        self._members: dict[str, object] = {key: raw.copy() for key, raw in start.items()}
        self._written: Text | None = None

    def add(self, delta: Members) -> None:
        """Raises ValueError for texts that are none."""
        for key, raw in delta.items():
            if key in _JOINED:
                known = self._members.get(key)
                if not isinstance(known, Text):
                    said = _VALUE.decode(known) if isinstance(known, msgspec.Raw) else ""
                    known = self._members[key] = Text(str(said or ""))
                known.add(_TEXT.decode(raw))
            elif key in _REPLACED:
                self._members[key] = raw.copy()
            elif key == "partial_json":
                self._written = self._written or Text("")
                self._written.add(_TEXT.decode(raw))
            elif key == "citation":
                cited = self._members.get("citations")
                self._members["citations"] = [
                    *(cited if isinstance(cited, list) else ()),
                    raw.copy(),
                ]

    def whole(self) -> dict[str, object] | None:
        """The block; None for an empty text, which a request must not have. Arguments that were cut
        off are none."""
        if self._written is not None and str(self._written):
            return {**self._members, "input": _input(str(self._written))}
        if str(self._members.get("text", " ")) in ("", '""'):
            return None
        return self._members


def message(blocks: Iterable[BlockSoFar]) -> bytes:
    """The JSON of the message that has these blocks."""
    content = [whole for block in blocks if (whole := block.whole()) is not None]
    return encode({"role": "assistant", "content": content})


def _input(written: str) -> msgspec.Raw:
    try:
        _VALUE.decode(written)
    except (ValueError, RecursionError):
        return msgspec.Raw(b"{}")
    return msgspec.Raw(written.encode())
