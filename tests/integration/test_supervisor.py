"""The supervisor with workers that behave badly: small ones, in processes of their own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
PROGRAM = """
import os, signal, socket, sys, time
from pathlib import Path
from proxy.clock import SystemClock
from proxy.config.watch import PolicyWatcher
from proxy.workers import supervisor
from proxy.workers.board import Board, State
from proxy.workers.places import Places
from proxy.workers.seat import SIGNALS, Seat, Shared

supervisor._KILL_AFTER_SECONDS = 0.2

def serve(seat):
    seat.say(State.READY)
    return signal.sigwait({signal.SIGTERM}) and 0

def stubborn(seat):
    seat.say(State.READY)
    signal.pause()

def fails_at_the_end(seat):
    serve(seat)
    return 3

def raises(seat):
    raise RuntimeError("what is wrong")

def complains(seat):
    seat.complain("no such thing")
    return 1

work = [serve, globals()[sys.argv[1]]]
clock = SystemClock()
watcher = PolicyWatcher(None, {}, clock, lambda _: None)
shared = Shared("1-a", Board(2), watcher, socket.socket(), "", Places())
ready = lambda: os.kill(os.getpid(), signal.SIGTERM)
code = supervisor.Supervisor(
    shared, lambda seat: work[seat.number](seat), clock, ready, 0.1
).run()
print("children", Path(f"/proc/self/task/{os.getpid()}/children").read_text().strip())
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("worker", "code", "said"),
    [
        ("serve", 0, ""),
        ("stubborn", 1, "a worker did not end well"),
        ("fails_at_the_end", 1, "a worker did not end well"),
        ("raises", 1, "RuntimeError: what is wrong"),
        ("complains", 1, "holdfast: no such thing"),
    ],
)
def test_it_ends_with_all_its_workers_and_says_how_it_went(
    worker: str, code: int, said: str
) -> None:
    """None is left behind, also where one does not want to go, or never came."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, worker],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=25,
    )

    assert (done.returncode, done.stdout) == (code, "children \n")
    assert said in done.stderr


def test_a_stop_before_they_are_ready_is_a_clean_one() -> None:
    """An orchestrator may change its mind at once."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM.replace("seat.say(State.READY)", "pass"), "serve"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while len(children.read_text().split()) < 2:
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=25)

    assert (process.returncode, said) == (0, "children \n")


def test_it_goes_on_after_it_was_stopped_for_a_while() -> None:
    """By Ctrl-Z, or with its container or laptop."""
    begun = PROGRAM.replace("os.kill(os.getpid(), signal.SIGTERM)", "print('ready', flush=True)")
    with subprocess.Popen(
        [sys.executable, "-c", begun, "serve"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for _ in range(2):
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.7)  # past its next look at the policy
            process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=25)

    assert (process.returncode, said) == (0, "children \n")
