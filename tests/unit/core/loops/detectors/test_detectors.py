"""Detectors on rounds made by hand: what is next to what they count, and is none of it."""

import pytest

from proxy.core.loops.detectors.cycle import Cycle, length_of, shortest_period
from proxy.core.loops.detectors.flagged import Empty, ErrorStreak
from proxy.core.loops.detectors.polling import Polling
from proxy.core.loops.detectors.registry import DETECTORS
from proxy.core.loops.detectors.stall import Stall
from proxy.core.loops.normal import NO_TOOL
from proxy.core.loops.policy import Cycle as Settings
from proxy.core.loops.policy import Loops, Rungs
from proxy.core.loops.rounds import Flag

LOOPS = Loops()
OFF = Loops(
    repeat=None, repeat_any_result=None, cycle=None, stall=None, empty=None, error_streak=None,
    text=None, polling_bound=None,
)  # fmt: skip


def turn(call: str, result: str = "r", flags: int = 0, tool: bytes = b"tool") -> bytes:
    return call.encode().ljust(8) + result.encode().ljust(8) + tool + bytes((flags, 0, 0, 0))


def turns(calls: str, flags: int = 0) -> bytes:
    return b"".join(turn(one, one, flags) for one in calls)


@pytest.mark.parametrize(
    ("calls", "period", "length"),
    [
        ("a", 0, 0),
        ("ab", 0, 0),
        ("aba", 0, 0),
        ("aa", 1, 2),
        ("xaaa", 1, 3),
        ("abab", 2, 4),
        ("xbabab", 2, 5),
        ("aabaab", 3, 6),
        ("abcabcab", 3, 8),
        ("abcdefghabcdefgh", 8, 16),
        ("abcdefghiabcdefghi", 0, 0),
        ("abcab", 0, 0),
        ("bbab", 0, 0),
    ],
)
def test_the_shortest_way_round_is_found_and_no_half_of_one(
    calls: str, period: int, length: int
) -> None:
    rounds = turns(calls)

    assert shortest_period(rounds, 8) == period
    assert not period or length_of(rounds, period) == length


def test_what_only_looks_like_a_round_between_two_is_none() -> None:
    """Rounds are bytes: the same sixteen may stand across two fields of an earlier one."""
    newest = turn("call", "result")

    assert shortest_period(b"12345678" + newest[:16] + turn("other") + newest, 8) == 0


def test_a_cycle_is_of_several_turns_and_counts_whole_ways() -> None:
    assert Cycle().look(LOOPS, turns("aaaa")) is None
    found = Cycle().look(LOOPS, turns("ababa"))
    assert found is not None
    assert (found.times, found.period, found.is_new) == (2, 2, False)
    assert Cycle().look(LOOPS, turns("abab", Flag.POLLING)) is None
    assert Cycle().look(Loops(cycle=Settings(2)), turns("abcabc")) is None


def test_a_stall_needs_other_arguments_one_tool_and_something_said() -> None:
    """The same arguments are a repeat, several tools no stall, a nod nothing at all."""
    look = Stall().look
    other = [turn(str(n)) for n in range(5)]

    found = look(LOOPS, b"".join(other))
    assert found is not None
    assert found.times == 5
    assert look(LOOPS, turn("a") * 9) is None
    assert look(LOOPS, b"".join(turn(str(n), tool=NO_TOOL) for n in range(5))) is None
    for flag in (Flag.BRIEF, Flag.EMPTY, Flag.POLLING, Flag.TEXT):
        assert look(LOOPS, b"".join(turn(str(n), flags=flag) for n in range(5))) is None


@pytest.mark.parametrize(("detector", "flag"), [(Empty(), 1), (ErrorStreak(), 2)])
def test_a_streak_ends_where_something_comes_back(detector: Empty | ErrorStreak, flag: int) -> None:
    rounds = turn("a") + turn("b", flags=flag) * 4

    found = detector.look(LOOPS, rounds)
    assert found is not None
    assert found.times == 4
    assert detector.look(LOOPS, rounds + turn("c")) is None
    assert detector.look(LOOPS, turn("p", flags=flag | Flag.POLLING) * 9) is None


def test_polling_counts_turns_without_news_around_a_polled_call() -> None:
    poll, other = turn("p", flags=Flag.POLLING), turn("o")

    found = Polling().look(LOOPS, (poll + other) * 30)
    assert found is not None
    assert (found.times, found.period) == (60, 2)
    assert Polling().look(LOOPS, other * 90) is None
    assert Polling().look(LOOPS, poll * 50 + turn("p", "news", Flag.POLLING)) is None
    assert Polling().look(LOOPS, poll) is None
    few = Polling().look(LOOPS, poll * 2)
    assert few is not None
    assert few.times == 2


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda one: one.name)
def test_a_detector_that_is_off_says_nothing(detector: object) -> None:
    everything = turns("ab" * 9, Flag.EMPTY | Flag.ERROR) + turn("t", flags=Flag.TEXT) * 9

    for rounds in (everything, turn("a") * 9, turn("p", flags=Flag.POLLING) * 9):
        assert detector.look(OFF, rounds) is None  # type: ignore[attr-defined]


def test_the_first_of_equals_is_told_of() -> None:
    """`repeat` says more than `repeat_any_result`."""
    assert [one.name for one in DETECTORS][:3] == ["repeat", "cycle", "repeat_any_result"]
    assert Rungs(2, 3, 4, 5).least == 2
