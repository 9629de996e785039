"""Places that one worker has at a time."""

import os
import signal

import pytest

from proxy.workers.places import MOST, Places


def in_a_child(places: Places, number: int) -> tuple[int, bool]:
    """A worker that claims a place and lives on: its process, and whether the place is its own."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(tell, b"1" if places.claim(number) else b"0")
        signal.pause()
        os._exit(0)
    os.close(tell)
    has_it = os.read(told, 1) == b"1"
    os.close(told)
    return pid, has_it


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_one_worker_has_a_place_until_it_gives_it_back() -> None:
    places = Places()
    assert places.claim(7)
    assert places.claim(8)
    first, has_it = in_a_child(places, 7)
    kill(first)
    places.give_back(7)
    second, has_it_then = in_a_child(places, 7)
    kill(second)

    assert (has_it, has_it_then) == (False, True)


def test_a_killed_worker_keeps_no_place() -> None:
    """Nobody has to guess how long to wait for it."""
    places = Places()
    pid, has_it = in_a_child(places, MOST - 1)
    taken = places.is_free(MOST - 1), places.claim(MOST - 1)
    kill(pid)

    assert has_it
    assert taken == (False, False)
    assert places.is_free(MOST - 1)
    assert places.claim(MOST - 1)


def test_where_there_are_no_locks_places_are_everybodys(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Two that try a provider are better than none: it would be left alone for good."""
    places = Places()
    os.close(places._file)
    claimed = places.claim(3)
    places.give_back(3)
    places._file = os.dup(0)

    assert claimed
    assert [record.message for record in caplog.records] == ["a place cannot be locked"]


def test_looking_takes_nothing() -> None:
    places = Places()
    assert places.is_free(1)
    pid, has_it = in_a_child(places, 1)
    kill(pid)

    assert has_it
