"""What workers share in memory."""

import os

from proxy.workers.board import Board, State


def test_it_counts_who_serves() -> None:
    board = Board(3)
    board.set_state(0, State.READY)
    board.set_state(2, State.READY)
    assert board.ready() == 2

    board.set_state(2, State.DRAINING)
    assert board.ready() == 1


def test_it_keeps_what_was_noted_last_for_each() -> None:
    board = Board(2)
    assert board.noted(0) == b""
    for counts in (b"one", b"one and two", b"3"):
        board.note(0, counts)
    board.note(1, b"other")

    assert (board.noted(0), board.noted(1)) == (b"3", b"other")


def test_what_is_too_large_leaves_what_was_there() -> None:
    board = Board(1)
    board.note(0, b"before")
    board.note(0, b"x" * (2 * 1024 * 1024))

    assert board.noted(0) == b"before"


def test_it_outlives_who_wrote_on_it() -> None:
    """A worker that dies has written, and the next one reads."""
    board = Board(2)
    pid = os.fork()
    if pid == 0:
        board.note(1, b"counted")
        board.set_state(1, State.READY)
        os._exit(0)
    os.waitpid(pid, 0)

    assert board.noted(1) == b"counted"
    assert board.ready() == 1
