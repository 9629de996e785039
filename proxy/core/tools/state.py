"""What a session's log says of its guarded tool calls, folded. All of it is bounded."""

from collections.abc import Mapping

import msgspec

from proxy.core.tools.facts import Handed

EFFECTS: int = 1_024
"""Calls with a result that a session remembers; of more the oldest may be handed out again."""
HANDED: int = 256
"""Calls handed to the agent that are known by their ids."""
WITHHELD: int = 32
KEPT: int = 4
ANSWERED: int = 256
CLAIMS: int = 1_024


class WithheldAt(msgspec.Struct, frozen=True, gc=False):
    """Calls of one turn that the agent was not given; what they were is in the log, at seq. beside,
    made: see `Withheld`."""

    beside: str
    seq: int
    made: bytes = b""


class KeptAt(msgspec.Struct, frozen=True, gc=False):
    """An answer kept for who sends the same body again; it is in the log, at seq."""

    body_digest: bytes
    stream: bool
    seq: int
    waits_for: tuple[bytes, ...] = ()


class Claim(msgspec.Struct, frozen=True, gc=False):
    """Somebody carries the call out, until then (epoch s)."""

    until: float


class ToolState(msgspec.Struct, frozen=True, gc=False):
    """effects: digest of a call → seq of its result in the log. handed: calls by id, newest last;
    awaited: those among them without a result. approved: how often a call may still pass by a
    human's word; refused: what the human said to it. renamed: response ids that the agent was
    given → those that the provider knows."""

    effects: Mapping[bytes, int] = {}
    handed: Mapping[str, Handed] = {}
    awaited: frozenset[bytes] = frozenset()
    withheld: tuple[WithheldAt, ...] = ()
    kept: tuple[KeptAt, ...] = ()
    approved: Mapping[bytes, int] = {}
    refused: Mapping[bytes, str] = {}
    claims: Mapping[bytes, Claim] = {}
    renamed: Mapping[str, str] = {}


NOTHING_KNOWN = ToolState()
