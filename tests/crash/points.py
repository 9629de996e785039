"""Where a process may be killed: each wait of its coroutines and each statement of its store, named
by the innermost line of ours, and by the lines that led there.

For tests.crash.sidecar, which calls `watch` before anything is served. SIGUSR1 reads what is aimed
at from the file `aim` of its folder, SIGUSR2 writes how often each point was passed.
"""

import asyncio
import json
import os
import random
import signal
import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Coroutine, Generator, Iterable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Final, Literal, cast

import msgspec

import proxy
from proxy.app import App
from proxy.stores import redis_connection
from proxy.wire import connection
from proxy.wire.handling import Handling

Side = Literal["waits", "goes on", "before", "within", "after"]
"""Of a wait, when it begins and when it is over; of a statement, before, while and after it."""

_PROXY: Final = str(Path(proxy.__file__).parent) + os.sep
_ELSEWHERE: Final = (
    "config/",
    "collecting.py",
    "readiness.py",
    "admin/",
    "workers/",
    "webhooks.py",
    "cli/",
)
"""Tasks that are no part of any call."""
_CARRIERS: Final = tuple(
    f"stores/redis_{name}.py" for name in ("connection", "nodes", "servers", "scripts")
)
_WITHIN_SECONDS: Final = 0.004
PASSED: Final = "passed"
DIED: Final = "died"
AIM: Final = "aim"
CLOCK: Final = "clock"


class Aim(msgspec.Struct, frozen=True):
    """What kills: that point, passed for the `nth` time from then on."""

    point: str
    side: Side
    nth: int


class Board:
    """Counts what is passed, and kills. Used by all threads; to be off by one does no harm."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.counts: Counter[tuple[str, Side]] = Counter()
        self._aim: Aim | None = None
        self._left = 0
        self._kill = partial(os.kill, os.getpid(), signal.SIGKILL)

    def passed(self, point: str, side: Side) -> None:
        self.counts[point, side] += 1
        aim = self._aim
        if aim is not None and aim.point == point and aim.side == side:
            self._left -= 1
            if self._left == 0:
                self._die(aim)

    def takes(self, *_: object) -> None:
        """From now on. A worker was forked after this was made: it is its own process."""
        self._kill = partial(os.kill, os.getpid(), signal.SIGKILL)
        self._aim = msgspec.json.decode((self._folder / AIM).read_bytes(), type=Aim)
        self._left = self._aim.nth

    def tells(self, *_: object) -> None:
        told = [[point, side, count] for (point, side), count in list(self.counts.items())]
        aside = self._folder / f"{PASSED}.{os.getpid()}"
        aside.write_text(json.dumps(told))
        aside.rename(self._folder / PASSED)

    def _die(self, aim: Aim) -> None:
        (self._folder / DIED).write_bytes(msgspec.json.encode(aim))
        if aim.side == "within":
            seconds = random.uniform(0, _WITHIN_SECONDS)
            threading.Timer(seconds, self._kill).start()
        else:
            self._kill()


class Watched(Coroutine[Any, Any, Any]):
    """A coroutine, each wait of which is told."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], board: Board) -> None:
        self._coroutine = coroutine
        self._board = board
        self._at = ""
        self.__name__ = getattr(coroutine, "__name__", "?")
        self.__qualname__ = getattr(coroutine, "__qualname__", "?")

    def send(self, value: Any) -> Any:
        self._goes_on()
        return self._waits(self._coroutine.send(value))

    def throw(self, *raised: Any) -> Any:
        self._goes_on()
        return self._waits(self._coroutine.throw(*raised))

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()

    def _goes_on(self) -> None:
        if self._at:
            self._board.passed(self._at, "goes on")

    def _waits(self, waited: Any) -> Any:
        self._at = _chain_of(self._coroutine)
        if self._at:
            self._board.passed(self._at, "waits")
        return waited


def innermost(point: str) -> str:
    """`file:function:line` of a point: where it waits, or what it asks of the file."""
    return point.split(" < ", 1)[0]


def _chain_of(coroutine: Any) -> str:
    """The lines of ours that wait for one another, the innermost first; "" where no call waits."""
    chain: list[str] = []
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None and (name := _name_of(frame)):
            chain.append(name)
        inner = getattr(coroutine, "cr_await", None)
        coroutine = inner if inner is not None else getattr(coroutine, "gi_yieldfrom", None)
    if not chain or chain[0].startswith(_ELSEWHERE):
        return ""
    return " < ".join(reversed(chain))


def _name_of(frame: FrameType) -> str:
    code = frame.f_code
    if not code.co_filename.startswith(_PROXY):
        return ""
    return f"{code.co_filename.removeprefix(_PROXY)}:{code.co_name}:{frame.f_lineno}"


def _stack_of(frame: FrameType | None) -> str:
    """The lines of ours that called one another, of a thread of the store's."""
    chain: list[str] = []
    while frame is not None:
        if name := _name_of(frame):
            chain.append(name)
        frame = frame.f_back
    return " < ".join(chain)


def _connection_of(board: Board) -> type[sqlite3.Connection]:
    """Tells of each statement that writes, checkpoints, begins or ends something."""

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            return cast("sqlite3.Cursor", _told(board, sql, super().execute, parameters))

        def executemany(self, sql: str, parameters: Iterable[Any], /) -> sqlite3.Cursor:
            return cast("sqlite3.Cursor", _told(board, sql, super().executemany, parameters))

    return Connection


def _told(board: Board, sql: str, run: Any, parameters: Any) -> object:
    words = sql.split(None, 1)
    if words[0] in ("SELECT", "ROLLBACK") or (words[0] == "PRAGMA" and "checkpoint" not in sql):
        return run(sql, parameters)
    point = _stack_of(sys._getframe(2))
    board.passed(point, "before")
    board.passed(point, "within")
    done = run(sql, parameters)
    board.passed(point, "after")
    return done


def _watch_redis(board: Board) -> None:
    """Each request to Redis: before it is sent, while the server may run it, and once it has left.
    That its answer has come is told by whoever waits for it."""
    request = redis_connection.Connection.request

    def told(connection: redis_connection.Connection, *commands: redis_connection.Command) -> Any:
        point = _asker_of(sys._getframe(1))
        if not point:
            return request(connection, *commands)
        board.passed(point, "before")
        board.passed(point, "within")
        done = request(connection, *commands)
        board.passed(point, "after")
        return done

    redis_connection.Connection.request = told  # type: ignore[method-assign, assignment]


def _asker_of(frame: FrameType) -> str:
    """Who asks the server, without those who carry what is asked; "" where that is no call's."""
    chain = _stack_of(frame).split(" < ")
    while chain and chain[0].startswith(_CARRIERS):
        del chain[0]
    return "" if not chain or chain[0].startswith(_ELSEWHERE) else " < ".join(chain)


def watch(folder: Path) -> None:
    """From now on, in this process and in those forked from it. What is aimed at already counts
    from the start."""
    board = Board(folder)
    start = App.start

    def handling(coroutine: Any, loop: Any, ended: Any) -> Handling:
        return Handling(Watched(coroutine, board), loop, ended)

    def task(loop: Any, coroutine: Any, **more: Any) -> "asyncio.Task[Any]":
        return asyncio.Task(Watched(coroutine, board), loop=loop, **more)

    async def started(app: App) -> None:
        asyncio.get_running_loop().set_task_factory(task)
        await start(app)

    connection.__dict__["Handling"] = handling
    App.start = started  # type: ignore[method-assign, assignment]  # called with the App alone
    with_points = partial(sqlite3.connect, factory=_connection_of(board))
    _watch_redis(board)
    sqlite3.connect = with_points  # type: ignore[assignment]  # the same call
    signal.signal(signal.SIGUSR1, board.takes)
    signal.signal(signal.SIGUSR2, board.tells)
    if (folder / AIM).exists():
        board.takes()
