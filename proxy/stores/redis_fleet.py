"""What replicas on one Redis need of it beside the ledger: leases, and a way to speak."""

import secrets
from collections.abc import Callable, Mapping, Sequence

from proxy.stores.redis_listener import Listener
from proxy.stores.redis_scripts import script
from proxy.stores.redis_servers import Servers


class RedisFleet:
    """`Leases` and `Bus` of one process, on connections of its own: what replicas tell each other
    does not wait behind appends. All raise StoreUnavailable."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._owners = f"{servers.prefix}:{{fleet}}:owners"
        self._script = script("leases")

    async def open(self) -> None:
        await self._servers.open()

    async def close(self) -> None:
        await self._servers.close()

    async def claim(self, name: str, seconds: float) -> Mapping[str, float] | None:
        """The first lease of that name; None where somebody has or had one. See `beat`."""
        told = await self._run("claim", name, _milliseconds(seconds), secrets.token_hex(16))
        return _seconds(told) if isinstance(told, list) else None

    async def beat(self, name: str, seconds: float) -> Mapping[str, float]:
        """The lease lasts for so long from now. How much is left of everybody's, by the server's
        clock; negative since it ended."""
        return _seconds(await self._run("beat", name, _milliseconds(seconds)))

    async def leave(self, name: str, *, settled: bool) -> None:
        """Not settled: others are to take care of what it held, at once."""
        await self._run("leave", name, int(settled))

    async def take(self, name: str, by: str, seconds: float) -> bool:
        """Whether its lease has ended, and nobody else takes care of it for so long."""
        return await self._run("take", name, by, _milliseconds(seconds)) == 1

    async def bury(self, name: str, by: str) -> None:
        """It is forgotten, unless it has come back."""
        await self._run("bury", name, by)

    async def let_go(self, name: str, by: str) -> None:
        """Somebody else may take care of it."""
        await self._run("let_go", name, by)

    async def publish(self, channel: str, data: bytes) -> None:
        await self._servers.publish(self._named(channel), data)

    def listen(
        self,
        channels: Sequence[str],
        on_message: Callable[[bytes], None],
        on_connected: Callable[[], None],
    ) -> Listener:
        """on_connected: from then on; what was said before went unheard."""
        named = [self._named(channel) for channel in channels]
        return self._servers.listen(named, lambda _, data: on_message(data), on_connected)

    def _named(self, channel: str) -> str:
        return f"{self._servers.prefix}:fleet:{channel}"

    async def _run(self, *words: str | int) -> object:
        return await self._servers.evaluate(self._script, self._owners, *words)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _seconds(told: object) -> Mapping[str, float]:
    assert isinstance(told, list)
    names, left = told[::2], told[1::2]
    return {
        name.decode(errors="replace"): int(one) / 1000
        for name, one in zip(names, left, strict=True)
    }
