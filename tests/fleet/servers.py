"""A Redis that can be killed, restarted and failed over: a primary, its replica, a sentinel."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, sleep

from proxy.stores.redis import SHORT_SECONDS
from tests.fakes_redis import RedisServer, running

_NAME = "main"
_AT_ONCE = ("--repl-diskless-sync-delay", "0")
_DOWN_AFTER_SECONDS = 2.0
"""Longer than a restart takes."""
_WAIT_SECONDS = 60.0


class Pair:
    """`url` names the primary by way of the sentinel, whichever of the two it is."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.one = RedisServer(kind, folder / "one", _AT_ONCE)
        of_one = ("--replicaof", f"127.0.0.1 {self.one.port}")
        self.two = RedisServer(kind, folder / "two", (*_AT_ONCE, *of_one))
        self.sentinel = RedisServer(kind, folder / "sentinel")
        self.sentinel.watch(_NAME, self.one.port, _DOWN_AFTER_SECONDS)

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/{_NAME}"

    def primary(self) -> RedisServer:
        """Of the two, as the sentinel has it."""
        told = self.sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", _NAME)
        return self.two if str(self.two.port) in told.split() else self.one

    def restart(self) -> None:
        """The primary dies and is there again, as the crash left it."""
        primary = self.primary()
        primary.kill()
        primary.start()

    def away(self, seconds: float) -> None:
        """Both are dead for so long, and then there as the crash left them."""
        primary = self.primary()
        other = self.two if primary is self.one else self.one
        primary.kill()
        other.kill()
        sleep(seconds)
        primary.start()
        other.start()

    def fail_over(self) -> float:
        """The primary dies, and its replica takes over; after how many seconds."""
        before, began = self.primary(), perf_counter()
        before.kill()
        while self.primary() is before:
            if perf_counter() - began > _WAIT_SECONDS:
                raise RuntimeError("the sentinel does not fail over")
            sleep(0.02)
        return perf_counter() - began

    def until_followed(self) -> None:
        """The replica has what the primary has."""
        began = perf_counter()
        while "state=online" not in self.primary().ask("INFO", "replication"):
            if perf_counter() - began > _WAIT_SECONDS:
                raise RuntimeError("the replica does not follow")
            sleep(0.02)

    def until_in_step(self) -> None:
        """And those who write know that it is there: from then on they wait for it."""
        self.until_followed()
        sleep(4 * SHORT_SECONDS)


@contextmanager
def pair(kind: str, folder: Path) -> Iterator[Pair]:
    """All three, until the end."""
    made = Pair(kind, folder)
    with running(made.one), running(made.two), running(made.sentinel):
        made.until_followed()
        yield made
