"""The supervisor's own decisions; what it does with processes is in tests/integration."""

import socket
from pathlib import Path

import pytest

from proxy.config.watch import POLL_SECONDS, PolicyWatcher
from proxy.workers.board import Board
from proxy.workers.places import Places
from proxy.workers.seat import Seat, Shared, number_of
from proxy.workers.supervisor import Supervisor, back_off_seconds
from tests.fakes import FakeClock


def shared(policy: Path, clock: FakeClock, admin: socket.socket) -> Shared:
    watcher = PolicyWatcher(policy, {}, clock, lambda _: None)
    return Shared("1-a", Board(2), watcher, admin, "token", Places())


@pytest.mark.parametrize(
    ("early", "seconds"), [(0, 0), (1, 0), (2, 0.1), (3, 0.2), (4, 0.4), (9, 10), (10_000, 10)]
)
def test_a_worker_that_dies_again_and_again_is_waited_for(early: int, seconds: float) -> None:
    """One that died once is replaced at once: its share of the clients waits."""
    assert back_off_seconds(early) == seconds


def test_it_keeps_the_last_good_policy_for_workers_to_come(tmp_path: Path) -> None:
    """A worker that starts while the file is broken cannot read it from there."""
    policy = tmp_path / "policy.yaml"
    policy.write_text("limits: {steps: 41}")
    clock = FakeClock()
    with socket.socket() as admin:
        theirs = shared(policy, clock, admin)
        supervisor = Supervisor(theirs, lambda _: 0, clock, lambda: None, 1.0)
        for text in ("limits: {steps: 42}", "limits: {stepz: 1}"):
            policy.write_text(text)
            for _ in range(3):
                supervisor._look()
                clock.advance(POLL_SECONDS)

    assert theirs.watcher.current.limits.steps == 42
    assert "stepz" in str(theirs.watcher.last_error)


def test_no_two_workers_have_had_one_name(tmp_path: Path) -> None:
    """What the dead one held is booked while its successor serves in the same place."""
    policy = tmp_path / "policy.yaml"
    policy.write_text("version: 1")
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.socket() as admin:
        seat = Seat(1, shared(policy, FakeClock(), admin), theirs)
        names = {seat.owner() for _ in range(100)}

    assert len(names) == 100
    assert {number_of(name) for name in names} == {1}
    assert all(name.startswith("1-a.") for name in names)
