"""What became of a log that is not as it was written, and where it begins."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from proxy.core.events import AnyEvent, LimitWarned, SessionDeleted, StepReserved, StepSettled
from proxy.core.fingerprints import NOTHING_KEPT
from proxy.core.recording import digest_of
from proxy.stores.chain import GENESIS, Chain, ChainedPayload, prefix_of
from proxy.stores.codec import encode_event
from proxy.stores.verification import (
    SessionLog,
    fault_against,
    first_fault,
    kind_of,
)
from tests.fakes_stores import KEY, NOW, OTHER, SECRET

CHAIN = Chain(SECRET)
Rows = list[ChainedPayload]


def chained(*events: AnyEvent, start: tuple[int, bytes] = (0, GENESIS)) -> Rows:
    rows, (before, previous) = [], start
    for seq, event in enumerate(events, before + 1):
        payload = encode_event(event)
        previous = CHAIN.after(previous, prefix_of(KEY), seq, payload)
        rows.append(ChainedPayload(seq, payload, previous))
    return rows


def log_of(rows: Rows, contents: dict[str, bytes] | None = None) -> SessionLog:
    return SessionLog(KEY, rows, (rows[-1].seq, rows[-1].chain), contents or {})


def warnings(count: int) -> Rows:
    return chained(*(LimitWarned(NOW + n, limit=f"l{n}") for n in range(count)))


def found(log: SessionLog) -> tuple[int, str, str] | None:
    fault = first_fault(CHAIN, log)
    return (fault.seq, fault.what, fault.kind) if fault is not None else None


def altered(row: ChainedPayload) -> ChainedPayload:
    return replace(row, payload=row.payload.replace(b'"l', b'"L'))


def renumbered(rows: Rows) -> Rows:
    return [replace(row, seq=seq) for seq, row in enumerate(rows, 1)]


def swapped(rows: Rows, at: int, to: int) -> Rows:
    rows = [*rows]
    rows[at], rows[to] = rows[to], rows[at]
    return renumbered(rows)


def only_payloads_swapped(rows: Rows, at: int, to: int) -> Rows:
    payloads = [row.payload for row in rows]
    payloads[at], payloads[to] = payloads[to], payloads[at]
    return [replace(row, payload=p) for row, p in zip(rows, payloads, strict=True)]


def inserted(rows: Rows, at: int, to: int) -> Rows:
    return renumbered([*rows[:at], altered(rows[to]), *rows[at:]])


def copied(rows: Rows, at: int, to: int) -> Rows:
    return renumbered([*rows[:at], rows[to], *rows[at:]])


def test_a_log_as_it_was_written_has_no_fault() -> None:
    """Whatever it holds, also nothing."""
    assert found(log_of(warnings(9))) is None
    assert found(SessionLog(KEY, (), (0, GENESIS), {})) is None
    assert first_fault(Chain(b"another key, 32 bytes of it....."), log_of(warnings(9))) is not None


@given(st.data(), st.integers(2, 9))
def test_the_first_event_that_is_not_as_it_was_is_named(data: st.DataObject, count: int) -> None:
    """By its seq and what became of it, whatever was done further on."""
    rows = warnings(count)
    at = data.draw(st.integers(0, count - 1))
    seq = at + 1
    is_last = seq == count
    change = [*rows[:at], altered(rows[at]), *rows[seq:]]
    rechained = [*rows[:at], replace(rows[at], chain=bytes(32)), *rows[seq:]]

    tip = (count, rows[-1].chain)
    assert found(SessionLog(KEY, change, tip, {})) == (seq, "altered", "LimitWarned")
    assert found(SessionLog(KEY, rechained, tip, {})) == (seq, "altered", "LimitWarned")
    if not is_last:
        assert found(log_of([*rows[:at], *rows[seq:]])) == (seq, "deleted", "")
    if count - seq >= 2:
        assert found(log_of(renumbered([*rows[:at], *rows[seq:]]))) == (seq, "deleted", "")
    to = data.draw(st.integers(0, count - 1).filter(lambda n: n != at))
    first = min(at, to) + 1
    for swap in (swapped, only_payloads_swapped):
        assert found(log_of(swap(rows, at, to))) == (first, "swapped", "LimitWarned")
    assert found(log_of(inserted(rows, at, to))) == (seq, "inserted", "LimitWarned")
    assert found(log_of(copied(rows, at, to))) == (seq, "inserted", "LimitWarned")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows.__setitem__(1, altered(rows[1])), "its content was altered"),
        (
            lambda rows: rows.__setitem__(1, replace(rows[1], chain=bytes(32))),
            "its chain value was altered",
        ),
        (lambda rows: rows.__setitem__(3, altered(rows[3])), "altered, or put there"),
        (lambda rows: rows.pop(1), "event 2 is missing, between LimitWarned and LimitWarned"),
        (
            lambda rows: rows.__delitem__(slice(0, 2)),
            "events 1 to 2 are missing, between the",
        ),
    ],
)
def test_what_is_known_of_it_is_told(change: Callable[[Rows], object], said: str) -> None:
    """For who looks into the matter."""
    rows = warnings(4)
    change(rows)
    fault = first_fault(CHAIN, log_of(rows))

    assert fault is not None
    assert said in fault.detail


def test_a_tail_that_was_cut_is_told_by_the_sessions_row() -> None:
    """And, where that was set back too, by a head that was kept outside."""
    rows = warnings(5)
    cut = SessionLog(KEY, rows[:3], (5, rows[4].chain), {})
    set_back = log_of(rows[:3])
    against = fault_against(set_back, 5, rows[4].chain)

    assert found(cut) == (4, "cut", "")
    assert found(SessionLog(KEY, (), (5, rows[4].chain), {})) == (1, "cut", "")
    assert found(set_back) is None
    assert against is not None
    assert (against.seq, against.what) == (4, "cut")


def test_a_row_that_tells_of_another_end_is_named() -> None:
    """Events that somebody chained with the key, or a row that was set back."""
    rows = warnings(5)

    assert found(SessionLog(KEY, rows, (3, rows[2].chain), {})) == (5, "tip altered", "LimitWarned")
    assert found(SessionLog(KEY, rows, (5, bytes(32)), {})) == (5, "tip altered", "LimitWarned")


def test_a_log_that_goes_on_from_a_head_is_right_and_one_written_anew_is_not() -> None:
    """Who has the key can chain another history, but not to the same head."""
    rows = warnings(5)
    anew = chained(*(LimitWarned(NOW, limit="other") for _ in range(5)))

    assert [fault_against(log_of(rows), row.seq, row.chain) for row in rows] == [None] * 5
    fault = fault_against(log_of(anew), 3, rows[2].chain)
    assert fault is not None
    assert (fault.seq, fault.what, fault.kind) == (3, "rewritten", "LimitWarned")


def test_a_tombstone_is_chained_on_what_it_stands_for() -> None:
    """And what comes after it on it; heads from before it are not contradicted, its own may be."""
    before = warnings(3)
    grave = SessionDeleted(NOW, events=3, chain=before[-1].chain)
    rows = chained(grave, LimitWarned(NOW, limit="l9"), start=(3, before[-1].chain))
    lies = SessionDeleted(NOW, events=3, chain=bytes(32))
    forged = [replace(rows[0], payload=encode_event(lies)), rows[1]]

    assert found(log_of(rows)) is None
    assert found(log_of(forged)) == (4, "altered", "SessionDeleted")
    assert found(log_of([replace(rows[0], payload=b'"SessionDeleted"'), rows[1]])) is not None
    assert found(log_of(rows[1:])) == (1, "deleted", "")
    elsewhere = SessionDeleted(NOW, events=7, chain=before[-1].chain)
    moved = [replace(rows[0], payload=encode_event(elsewhere)), rows[1]]
    assert found(log_of(moved)) == (1, "deleted", "")
    heads = [(2, bytes(32)), (3, before[-1].chain), (4, rows[0].chain), (5, rows[1].chain)]
    assert [fault_against(log_of(rows), *head) for head in heads] == [None] * 4
    assert fault_against(log_of(rows), 3, bytes(32)) is not None


def test_what_is_kept_beside_the_log_is_what_its_events_say() -> None:
    """Altered, missing, put there; where only marks are kept, nothing has to be there."""
    mark = digest_of(b"sent") + bytes(90)
    rows = chained(
        StepReserved(NOW, call_id="c1", content=mark),
        StepSettled(NOW, call_id="c1", content=digest_of(b"said")),
        StepReserved(NOW, call_id="c2", content=NOTHING_KEPT + bytes(90)),
        StepSettled(NOW, call_id="c2"),
    )
    right = {"c1.q": digest_of(b"sent"), "c1.a": digest_of(b"said")}

    assert found(log_of(rows, right)) is None
    assert found(log_of(rows, {**right, "c1.q": b"x"})) == (1, "altered", "StepReserved")
    assert found(log_of(rows, {"c1.q": right["c1.q"]})) == (2, "deleted", "StepSettled")
    crossed = {"c1.q": right["c1.a"], "c1.a": right["c1.q"]}
    assert found(log_of(rows, crossed)) == (1, "altered", "StepReserved")
    assert found(log_of(rows, {**right, "c9.a": b"x"})) == (4, "inserted", "")


def test_an_event_of_another_session_is_not_one_of_this() -> None:
    """The chain names the session."""
    rows = warnings(2)

    assert found(log_of(rows)) is None
    fault = first_fault(CHAIN, replace(log_of(rows), key=OTHER))
    assert fault is not None
    assert (fault.seq, fault.key) == (1, OTHER)


def test_what_is_no_event_has_no_name() -> None:
    """Somebody may have put anything there."""
    assert kind_of(b'{"type":"StepSettled","at":1}') == "StepSettled"
    assert [kind_of(b) for b in (b"", b"[]", b"{}", b"\xff", b'{"type":3}')] == ["unreadable"] * 5
