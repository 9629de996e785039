"""What a client is told that several `/v1/messages` streams used, where it sees them as one.

Input is what the first stream's start said, for that has passed, and clients take it for the size
of their conversation. What was generated is added up.
"""

from contextlib import suppress

import msgspec

from proxy.core.dialects.held_stream import NULL, OBJECT, Members
from proxy.core.dialects.held_usage import summed

_MADE = frozenset({"output_tokens", "output_tokens_details", "server_tool_use"})


class Figures:
    """The figures as the client sees them, or would."""

    __slots__ = ("_before", "_now")

    def __init__(self) -> None:
        self._now: Members = {}
        self._before: Members = {}

    def begin_anew(self) -> None:
        self._before = dict(self._now)

    def note_start(self, data: bytes) -> None:
        """Takes note of a `message_start`."""
        with suppress(ValueError, KeyError, RecursionError):
            self.note(OBJECT.decode(OBJECT.decode(OBJECT.decode(data)["message"])["usage"]))

    def note(self, usage: Members) -> None:
        """Later figures win; what they do not mention stands."""
        self._now |= {key: raw.copy() for key, raw in usage.items() if raw != NULL}

    def together(self, usage: Members) -> Members:
        """The figures of a later stream with those of the streams before it."""
        told = dict(usage)
        for key, before in self._before.items():
            if key in _MADE:
                told[key] = msgspec.Raw(summed(bytes(before), bytes(usage.get(key, NULL))))
            elif key in usage:
                told[key] = before
        return told
