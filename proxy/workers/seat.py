"""A worker's side of its supervisor: what it was handed, and the line that ends with the other."""

import asyncio
import secrets
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import msgspec

from proxy.config.watch import PolicyWatcher
from proxy.workers.board import Board, State
from proxy.workers.places import Places

SIGNALS: Final = frozenset(
    {signal.SIGALRM, signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
)
"""Blocked in the supervisor; a worker lets them through once it minds them."""
DEATH: Final = b"d"
"""What a supervisor says when a worker has died."""
_MOST_SAID: Final = 4096


class Shared(msgspec.Struct, frozen=True):
    """What a supervisor makes once, before its workers: theirs together.

    crew: the prefix of their owners' names. watcher: of the policy; each worker goes on from where
    it was when it began, with the last good policy. admin: listens; whoever is free accepts.
    places: that one of them has at a time.
    """

    crew: str
    board: Board
    watcher: PolicyWatcher
    admin: socket.socket
    token: str
    places: Places


class Seat(msgspec.Struct, frozen=True):
    """The place of one worker, the `number`-th from 0. lifeline: to the supervisor."""

    number: int
    shared: Shared
    lifeline: socket.socket

    def owner(self) -> str:
        """A name for this worker that no other has had, nor will."""
        return f"{self.shared.crew}.{self.number}-{secrets.token_hex(4)}"

    def say(self, state: State) -> None:
        """Tells everyone how far this worker is."""
        self.shared.board.set_state(self.number, state)

    def complain(self, problem: str) -> None:
        """Tells the supervisor why this worker cannot start."""
        with suppress(OSError):
            self.lifeline.send(problem.encode()[:_MOST_SAID])

    def listen(self, on_death: Callable[[], object], on_orphaned: Callable[[], object]) -> None:
        """Calls back on the running loop: another worker has died, or the supervisor has."""
        loop = asyncio.get_running_loop()

        def said() -> None:
            try:
                still_there = bool(self.lifeline.recv(_MOST_SAID))
            except ConnectionError:
                still_there = False
            if still_there:
                on_death()
            else:
                loop.remove_reader(self.lifeline)
                on_orphaned()

        self.lifeline.setblocking(False)
        loop.add_reader(self.lifeline, said)


def number_of(owner: str) -> int:
    """The place of the worker of that name."""
    return int(owner.rpartition(".")[2].partition("-")[0])
