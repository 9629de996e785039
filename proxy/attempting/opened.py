"""An answer as far as it was read before anything of it is given: values between the rooms."""

from collections.abc import Callable
from typing import TypeAlias

from proxy.core.dialects.base import Meter, Unstreamed
from proxy.wire import Headers, Incoming


class Refused:
    """The provider's own refusal, read whole."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def close(self) -> None:
        """Nothing is left to end."""


class Whole:
    """An unstreamed answer. body: as it came; plain: without its encoding; read: what it says."""

    __slots__ = ("body", "headers", "plain", "read", "status")

    def __init__(
        self, status: int, headers: Headers, body: bytes, plain: bytes, read: Unstreamed
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.plain = plain
        self.read = read

    def close(self) -> None:
        """Nothing is left to end."""


class Begun:
    """A stream that has come to its first content, or to its end.

    meter: has read what came so far. raw: that; held: what of it goes on to the client. The rest is
    still to come, and the holder closes it.
    """

    __slots__ = ("_incoming", "headers", "held", "meter", "raw", "status")

    def __init__(self, incoming: Incoming, meter: Meter, raw: bytes, held: bytes) -> None:
        self.status = incoming.status
        self.headers = incoming.headers
        self.meter = meter
        self.raw = raw
        self.held = held
        self._incoming = incoming

    async def pass_on(self, take: Callable[[bytes], bool]) -> bool:
        """See `Incoming.pass_on`: what follows."""
        return await self._incoming.pass_on(take)

    def close(self) -> None:
        """Ends it now; the provider is not asked for what has not come."""
        self._incoming.close()


Opened: TypeAlias = Refused | Whole | Begun
