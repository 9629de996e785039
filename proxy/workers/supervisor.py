"""Starts the workers of one `serve`, starts those anew that die, and ends them all.

Theory of operation. One process without a loop or a thread, so that it may fork at any time; its
workers share the memory of all that was imported before. It sleeps until a signal comes (they are
blocked, and taken one by one), or until it is time to look at the policy file, or to start a worker
whose last one died early. The kernel tells it who died. It serves nothing and opens no ledger: were
it killed, its workers would see their line to it end, and end too.
"""

import logging
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NoReturn

from proxy.clock import Clock
from proxy.workers.board import State
from proxy.workers.seat import DEATH, SIGNALS, Seat, Shared

log = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 0.5
_STARTING_SECONDS: Final = 0.005
_AT_ONCE_SECONDS: Final = 1e-6  # a timer of 0 is none
_LONG_LIFE_SECONDS: Final = 10.0
_BACK_OFF_SECONDS: Final = 0.1
_BACK_OFF_MOST_SECONDS: Final = 10.0
_KILL_AFTER_SECONDS: Final = 15.0
_MOST_SAID: Final = 65_536


@dataclass(slots=True)
class _Worker:
    """One place. pid None: it is empty until `start_at`. early: deaths in a row soon after a
    start. line: the supervisor's end of its lifeline."""

    number: int
    pid: int | None = None
    line: socket.socket | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    early: int = 0


class Supervisor:
    """work: all that a worker does, and its exit code; in a new process, with SIGNALS blocked.

    on_ready: called once, when all of them serve. drain_seconds: what they take to end at most;
    those that take much longer are killed."""

    def __init__(
        self,
        shared: Shared,
        work: Callable[[Seat], int],
        clock: Clock,
        on_ready: Callable[[], None],
        drain_seconds: float,
    ) -> None:
        self._shared = shared
        self._work = work
        self._clock = clock
        self._on_ready = on_ready
        self._drain_seconds = drain_seconds
        self._workers = [_Worker(number) for number in range(shared.board.workers)]
        self._starting = True
        self._kill_at: float | None = None
        self._look_at = clock.monotonic()
        self._code = 0

    def run(self) -> int:
        """Until it is told to stop and all have ended: 0; 1 where they could not start, or a worker
        did not end well."""
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        while self._kill_at is None or any(worker.pid for worker in self._workers):
            self._start_due()
            self._note_ready()
            self._mind(self._next_signal())
            self._look()
        return self._code

    def _next_signal(self) -> signal.Signals:
        """SIGALRM when it is time to look. Not `sigtimedwait`: CPython's, stopped past its time (by
        Ctrl-Z, or with its container) and continued, returns whatever stood in its memory."""
        signal.setitimer(signal.ITIMER_REAL, max(self._patience(), _AT_ONCE_SECONDS))
        return signal.Signals(signal.sigwaitinfo(SIGNALS).si_signo)

    def _mind(self, number: signal.Signals) -> None:
        match number:
            case signal.SIGALRM:
                pass
            case signal.SIGCHLD:
                for worker in self._workers:
                    self._reap(worker)
            case signal.SIGHUP:
                self._shared.watcher.reload_now()
                self._send_all(signal.SIGHUP)
            case _:
                self._stop()

    def _stop(self) -> None:
        if self._kill_at is None:
            self._kill_at = self._clock.monotonic() + self._drain_seconds + _KILL_AFTER_SECONDS
            self._send_all(signal.SIGTERM)

    def _send_all(self, number: signal.Signals) -> None:
        for worker in self._workers:
            if worker.pid is not None:
                os.kill(worker.pid, number)

    def _patience(self) -> float:
        """Seconds until there is something to do without a signal."""
        if self._starting and self._kill_at is None:
            return _STARTING_SECONDS
        due = [self._look_at, *(w.start_at for w in self._workers if w.pid is None)]
        if self._kill_at is not None:
            due = [self._kill_at]
        return max(0.0, min(due) - self._clock.monotonic())

    def _look(self) -> None:
        """At the policy, so that a worker started later begins with the last good one; and at those
        who take too long to end."""
        now = self._clock.monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            self._shared.watcher.poll()
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = now + _KILL_AFTER_SECONDS
            self._send_all(signal.SIGKILL)

    def _note_ready(self) -> None:
        if self._starting and self._shared.board.ready() == len(self._workers):
            self._starting = False
            self._on_ready()

    def _start_due(self) -> None:
        now = self._clock.monotonic()
        for worker in self._workers:
            if worker.pid is None and worker.start_at <= now and self._kill_at is None:
                self._start(worker, now)

    def _start(self, worker: _Worker, now: float) -> None:
        ours, theirs = socket.socketpair()
        try:
            pid = os.fork()
        except OSError as error:
            ours.close()
            theirs.close()
            if self._starting:
                raise
            log.warning("a worker cannot be started", extra={"reason": error.strerror})
            self._put_off(worker)
            return
        if pid == 0:
            ours.close()
            self._become(Seat(worker.number, self._shared, theirs))
        theirs.close()
        worker.pid, worker.line, worker.started_at = pid, ours, now

    def _become(self, seat: Seat) -> NoReturn:
        """The new process. Of the lines to others it keeps no copy: one would not end with us."""
        code = 1
        try:
            for other in self._workers:
                if other.line is not None:
                    other.line.close()
            code = self._work(seat)
        finally:  # whatever was raised, nothing of the supervisor's may go on in here
            if sys.exc_info()[0] is not None:
                traceback.print_exc()
            os._exit(code)

    def _reap(self, worker: _Worker) -> None:
        if worker.pid is None or worker.line is None:
            return
        pid, status = os.waitpid(worker.pid, os.WNOHANG)
        if pid == 0:
            return
        self._shared.board.set_state(worker.number, State.DOWN)
        problem = _said(worker.line)
        worker.line.close()
        worker.pid = worker.line = None
        code = os.waitstatus_to_exitcode(status)
        facts: dict[str, object] = {
            "worker": worker.number,
            "pid": pid,
            "exit_code": code,
            "reason": problem,
        }
        if self._kill_at is not None:
            self._ended(code, facts)
        elif self._starting:
            sys.stderr.write(f"holdfast: {problem or 'a worker ended'}\n")
            self._code = 1
            self._stop()
        else:
            self._put_off(worker)
            facts["again_in_seconds"] = back_off_seconds(worker.early)
            log.warning("a worker died; another takes its place", extra=facts)
            self._tell_death()

    def _ended(self, code: int, facts: dict[str, object]) -> None:
        if code != 0 and self._code == 0:
            self._code = 1
            log.warning("a worker did not end well", extra=facts)

    def _put_off(self, worker: _Worker) -> None:
        """The first is replaced at once; one that dies again and again, later each time."""
        now = self._clock.monotonic()
        lived_long = now - worker.started_at >= _LONG_LIFE_SECONDS
        worker.early = 0 if lived_long else worker.early + 1
        worker.start_at = now + back_off_seconds(worker.early)

    def _tell_death(self) -> None:
        """The others book what the dead one held."""
        for worker in self._workers:
            if worker.line is not None:
                with suppress(OSError):
                    worker.line.send(DEATH, socket.MSG_DONTWAIT)


def back_off_seconds(early: int) -> float:
    """How long a place stays empty after so many early deaths in a row."""
    if early <= 1:
        return 0.0
    return min(_BACK_OFF_SECONDS * 2.0 ** min(early - 2, 16), _BACK_OFF_MOST_SECONDS)


def _said(line: socket.socket) -> str:
    """What a worker that has ended had to say."""
    with suppress(OSError):
        return line.recv(_MOST_SAID, socket.MSG_DONTWAIT).decode(errors="replace")
    return ""
