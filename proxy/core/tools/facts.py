"""What the log says of tool calls: the values in its events, and what tells two calls apart."""

from hashlib import blake2b

import msgspec

from proxy.core.canonical import canonical_arguments

DIGEST_BYTES = 16
RESULT_BYTES = 65_536
"""How much of a result is kept, as text and once more as its JSON."""
SHOWN_CHARACTERS = 4_096
"""How much of a call's arguments a human is shown."""

_encode = msgspec.msgpack.Encoder().encode


def effect_of(tool: str, arguments: str) -> bytes:
    """What makes two calls the same call: 16 bytes over the tool's name and its arguments, whatever
    their spelling. Cryptographic: who writes a call's arguments must not find another call that
    passes for one that was approved."""
    spelled = canonical_arguments(arguments) or "{}"
    return blake2b(_encode((tool, spelled)), digest_size=DIGEST_BYTES).digest()


class Handed(msgspec.Struct, frozen=True, gc=False):
    """A guarded call that the agent was given. digest: see `effect_of`."""

    call_id: str
    tool: str
    digest: bytes


class Withheld(msgspec.Struct, frozen=True, gc=False):
    """A call that the agent was not given, beside others of its turn that it was: beside is the id
    of the last of those, and made what it was (`effect_of`): some providers give the same ids in
    every turn."""

    call_id: str
    tool: str
    arguments: str
    digest: bytes
    beside: str = ""
    made: bytes = b""


class HeldTool(msgspec.Struct, frozen=True, gc=False):
    """A call that the agent has not been handed, because a human is asked first.

    tool: safe to show. arguments: as the model wrote them, cut to SHOWN_CHARACTERS.
    """

    call_id: str
    tool: str
    digest: bytes
    arguments: str = ""
