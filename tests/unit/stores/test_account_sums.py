"""What is on accounts, held against what the logs charged to them: when a difference is a fault."""

from collections.abc import Iterable, Sequence

import pytest

from proxy.core.events import SessionDeleted
from proxy.core.session import EMPTY
from proxy.stores import AccountRow, Balance, Counts, SessionHead
from proxy.stores.account_sums import AccountSums
from proxy.stores.recount import Charged, Recount
from tests.fakes_stores import NOW

DAY = 86_400
HOUR = f"tenant:t:1h:{int(NOW) // 3_600}"
TREE = f"tree:t:s1:{int(NOW * 1_000)}"
OLD = SessionDeleted(NOW - 9 * DAY, touched=NOW - 9 * DAY)
STILL = NOW - 61.0
"""Long enough ago, by every clock."""


def row(balance: Balance, at: float = STILL, name: str = HOUR) -> AccountRow:
    return name, balance, at


def of(charged: Charged, name: str = HOUR) -> Recount:
    return Recount(EMPTY, SessionHead(), 0.0, {}, {}, {name: charged}, None)


def since(days: float, *, spent: int = 5) -> Charged:
    """Charged first so many days ago, and last just now."""
    return Charged(spent=spent, since=NOW - days * DAY, until=NOW)


def told(
    recounts: Sequence[Recount],
    before: Iterable[AccountRow],
    after: Iterable[AccountRow],
    *,
    forgotten: float | None = None,
) -> list[str]:
    with AccountSums(NOW, forgotten) as sums:
        sums.before(before)
        for recount in recounts:
            sums.add(recount)
        return [f"{fault.what}: {fault.detail}" for fault in sums.after(after)]


def test_what_several_sessions_charged_to_an_account_is_added_up() -> None:
    """Each figure by itself, the time of the first charge and of the last with them."""
    one = Charged(1, 2, 3, 4, 5, 6, 7, since=NOW - 9, until=NOW - 8)
    other = Charged(10, 20, 30, 40, 50, 60, 70, since=NOW - 5, until=NOW - 4)
    balance = Balance(11, 22, Counts(33, 44, 55, 66, 77))
    assert told([of(one), of(other)], [row(balance)], [row(balance)]) == []

    for field in range(7):
        figures = [11, 22, 33, 44, 55, 66, 77]
        figures[field] -= 1
        spent, held, *counts = figures
        less = row(Balance(spent, held, Counts(*counts)))
        assert len(told([of(one), of(other)], [less], [less])) == 1, field


@pytest.mark.parametrize(("days", "is_told"), [(38, True), (40, False)])
def test_less_is_a_fault_of_an_account_that_cannot_have_begun_anew(
    days: int, is_told: bool
) -> None:
    """Retention forgets an account that nobody charged for 40 days. One that was charged again
    since has only what came after: of one that old, less may be all there ever was."""
    less = [row(Balance(4))]

    assert bool(told([of(since(days))], less, less)) is is_told


@pytest.mark.parametrize(("days", "is_told"), [(38, True), (40, False)])
def test_a_missing_account_is_a_fault_if_it_was_charged_of_late(days: int, is_told: bool) -> None:
    last = Charged(spent=5, since=NOW - 90 * DAY, until=NOW - days * DAY)

    assert bool(told([of(last)], [], [])) is is_told


def test_an_account_is_as_old_as_its_first_charge_and_as_young_as_its_last() -> None:
    """Whichever session is read first."""
    sessions = [of(since(40)), of(Charged(spent=5, since=NOW, until=NOW - 40 * DAY))]

    for recounts in (sessions, sessions[::-1]):
        assert told(recounts, [], [row(Balance(9))]) == []
        assert len(told(recounts, [], [])) == 1


def test_what_is_gone_with_nothing_on_it_is_no_fault() -> None:
    """One that holds something is, though nothing was spent."""
    assert told([of(Charged(tokens=5, steps=1, until=NOW))], [], []) == []
    assert len(told([of(HELD)], [], [])) == 1


def test_what_no_event_names_or_is_charged_late_is_not_compared() -> None:
    """Tools and minutes below a session; in a cluster, accounts of another slot."""
    tool = row(Balance(9, 3), name=f"{TREE}/tool/look")
    assert told([], [tool], [tool], forgotten=0.0) == []

    for rows in ([row(Balance(1))], []):
        with AccountSums(NOW, None) as sums:
            sums.before(rows)
            sums.add(of(since(0)), HOUR.__eq__)
            assert [*sums.after(rows)] == []


HELD = Charged(held=9, since=NOW - 100, until=NOW - 99)


def test_what_calls_in_flight_hold_is_compared_where_nothing_moved() -> None:
    """A verify that began a minute after the last charge. A step that was given back is taken off
    later than its event is written."""
    empty, more = [row(Balance())], [row(Balance(held_micro_usd=10))]
    steps = [row(Balance(held_micro_usd=9, counts=Counts(steps=1)))]

    said = "held altered: it has 0.000000 USD, its events say 0.000009 USD"
    assert told([of(HELD)], empty, empty) == [said]
    said = "held altered: it has 0.000010 USD, its events say 0.000009 USD"
    assert told([of(HELD)], more, more) == [said]
    assert told([of(HELD)], steps, steps) == []


@pytest.mark.parametrize(
    ("before", "at", "after", "then"),
    [
        (Balance(held_micro_usd=9), STILL, Balance(), STILL),
        (Balance(), STILL - 1, Balance(), STILL),
        (Balance(), NOW - 59, Balance(), NOW - 59),
    ],
    ids=["another balance", "another time", "a time that a clock behind may not pass"],
)
def test_what_may_have_moved_meanwhile_is_not_compared(
    before: Balance, at: float, after: Balance, then: float
) -> None:
    """A call was settled, or one began and ended, while its session was read. An account keeps the
    newest time: a writer whose clock is behind leaves it as it was."""
    assert told([of(HELD)], [row(before, at)], [row(after, then)]) == []
    assert told([of(HELD)], [], [row(after)]) == []  # it is new


def test_more_is_a_fault_where_every_session_is_there() -> None:
    """That of a window or a tree which began after the newest session was used that is not."""
    more, began = Balance(6), NOW // 3_600 * 3_600
    charged = since(0)

    assert told([of(charged)], [row(more)], [row(more)], forgotten=began - 1)
    assert not told([of(charged)], [row(more)], [row(more)], forgotten=began)
    assert not told([of(charged)], [row(more)], [row(more)], forgotten=None)
    tree = row(more, name=TREE)
    assert told([of(charged, TREE)], [tree], [tree], forgotten=NOW - 1)
    assert not told([of(charged, TREE)], [tree], [tree], forgotten=NOW)
    unnamed = row(more, name="no window of ours")
    assert not told([of(charged, unnamed[0])], [unnamed], [unnamed], forgotten=0.0)


BEGAN = NOW // 3_600 * 3_600


@pytest.mark.parametrize(("touched", "is_told"), [(BEGAN - 1, True), (BEGAN, False), (0.0, False)])
def test_more_is_no_fault_where_a_session_was_deleted_that_was_used_since(
    touched: float, is_told: bool
) -> None:
    """What counts is when it was used last, not when it was deleted; but older tombstones say no
    more than that."""
    more = [row(Balance(6))]
    gone = SessionDeleted(NOW, touched=touched)
    recounts = [of(since(0)), Recount(EMPTY, SessionHead(), 0.0, {}, {}, {}, gone)]

    for order in (recounts, [*recounts, Recount(EMPTY, SessionHead(), 0.0, {}, {}, {}, OLD)]):
        assert bool(told(order, more, more, forgotten=0.0)) is is_told


def test_what_was_spent_meanwhile_is_no_fault() -> None:
    """It was not there before the first session was read."""
    assert told([of(since(0))], [row(Balance(5))], [row(Balance(99))], forgotten=0.0) == []
    assert told([of(since(0))], [], [row(Balance(99))], forgotten=0.0) == []
