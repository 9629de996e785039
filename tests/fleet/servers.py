"""A Redis that can be killed, restarted and failed over: a primary, its replica, a sentinel."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, sleep

from proxy.stores.redis import WATCH_SECONDS
from tests.fakes_redis import RedisServer, needs_server, running
from tests.fakes_redis import _environment as environment

_NAME = "main"
_WAIT_SECONDS = 60.0


class Pair:
    """`url` names the primary by way of the sentinel, whichever of the two it is."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.one = RedisServer(kind, folder / "one")
        self.two = RedisServer(kind, folder / "two", ("--replicaof", f"127.0.0.1 {self.one.port}"))
        config = folder / "sentinel.conf"
        config.write_text(
            f"sentinel monitor {_NAME} 127.0.0.1 {self.one.port} 1\n"
            f"sentinel down-after-milliseconds {_NAME} 2000\n"
            f"sentinel failover-timeout {_NAME} 3000\n"
        )
        self.sentinel = _Sentinel(kind, folder / "sentinel", config)

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

    def until_in_step(self) -> None:
        """The replica has what the primary has, and those who write know that it is there: from
        then on they wait for it."""
        began = perf_counter()
        while "state=online" not in self.primary().ask("INFO", "replication"):
            if perf_counter() - began > _WAIT_SECONDS:
                raise RuntimeError("the replica does not follow")
            sleep(0.02)
        sleep(WATCH_SECONDS + 1)


class _Sentinel(RedisServer):
    """It has a file of its own, which it rewrites."""

    def __init__(self, kind: str, folder: Path, config: Path) -> None:
        super().__init__(kind, folder)
        self._config = config

    def start(self) -> "_Sentinel":
        words = ["--sentinel", "--port", str(self.port), "--bind", "127.0.0.1"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [needs_server(self.kind), str(self._config), *words],
                env=environment(), stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        self._until_it_answers()
        return self


@contextmanager
def pair(kind: str, folder: Path) -> Iterator[Pair]:
    """All three, until the end."""
    made = Pair(kind, folder)
    with running(made.one), running(made.two), running(made.sentinel):
        made.until_in_step()
        yield made
