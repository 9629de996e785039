"""What a call does when its connection has gone before it began."""

import asyncio
from typing import cast

import pytest
from aiohttp.connector import Connection

from proxy.errors import UpstreamUnavailable
from proxy.tasks import Tasks
from proxy.wire import Outgoing, Timeouts
from proxy.wire.call import Call
from proxy.wire.link import UpstreamLink


class LostConnection:
    """What the pool hands out when the provider hangs up in the turn of the loop before."""

    def __init__(self) -> None:
        self.protocol = UpstreamLink(asyncio.get_running_loop())

    def close(self) -> None:
        """Nothing is left to close."""


async def test_a_connection_that_was_lost_before_the_request_has_sent_nothing() -> None:
    """So that it costs nothing, and may be tried elsewhere."""
    call = Call(cast("Connection", LostConnection()), "model.example", Timeouts())
    with pytest.raises(UpstreamUnavailable) as fault:
        await call.send(Outgoing("POST", "", (), b"{}"), "/", (), Tasks())
    call.close()

    assert (fault.value.kind, fault.value.sent) == ("reset", False)
