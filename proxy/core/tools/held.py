"""A tool call that the agent has not been handed, because a human is asked first."""

import msgspec


class HeldTool(msgspec.Struct, frozen=True, gc=False):
    """tool, arguments: as the model wrote them; arguments are cut to what a human reads.

    call_id: the provider's id of the call. digest: 16 bytes of tool and canonical arguments.
    """

    call_id: str
    tool: str
    digest: bytes
    arguments: str = ""
