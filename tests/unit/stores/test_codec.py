"""What is written today is read by later versions, and nothing else passes for it."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.event import Event
from proxy.core.events import AnyEvent, SessionPaused, StepReserved, StepSettled
from proxy.core.usage import Usage
from proxy.errors import MalformedRequest, StoreUnavailable
from proxy.stores import SessionHead
from proxy.stores.codec import (
    decode_cursor,
    decode_event,
    decode_head,
    encode_cursor,
    encode_event,
    encode_head,
)

EVENTS: list[type[Event]] = list(AnyEvent.__args__)


@given(st.floats(0, 4e9))
def test_every_event_survives(at: float) -> None:
    """To the last bit of its time; a settlement with all of its usage."""
    full = StepSettled(at, usage=Usage(1, 2, 3, 4, 5, billed_cost_micro_usd=0), tools=("a", "é"))
    reserved = StepReserved(at, body_digest=bytes(range(256)), accounts=("x", "y"))
    plain = [event(at) for event in EVENTS]

    for event in (full, reserved, *plain):
        assert decode_event(encode_event(event)) == event  # type: ignore[arg-type]  # of the union


def test_an_event_is_readable_without_us() -> None:
    """The file is evidence: `sqlite3` and a text are enough."""
    assert encode_event(SessionPaused(1.5)) == b'{"type":"SessionPaused","at":1.5}'


def test_fields_of_a_later_version_are_ignored() -> None:
    """After a roll-back the log must still be read."""
    payload = b'{"type":"SessionPaused","at":1.5,"by":{"name":"ada"}}'

    assert decode_event(payload) == SessionPaused(1.5)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff", b"{}", b"[1]", b'{"type":"Later","at":1}', b'{"a":' * 5000, b'{"type":"\xba"}'],
)
def test_what_is_no_event_is_refused_by_name(payload: bytes) -> None:
    """Half a log must not fold into a session with less spent."""
    with pytest.raises(StoreUnavailable, match="altered"):
        decode_event(payload)


@pytest.mark.parametrize("time", [float("nan"), float("inf")])
def test_a_time_that_json_cannot_hold_is_not_written(time: float) -> None:
    """It would come back as null, and the log could never be read again."""
    for event in (SessionPaused(time), StepReserved(1.0, deadline=time)):
        with pytest.raises(ValueError, match="finite"):
            encode_event(event)


def test_a_head_that_cannot_be_read_is_empty() -> None:
    """It is advisory: a listing with a hole is better than none."""
    head = SessionHead(state="paused", agent="coder", steps=3, updated_at=2.5)

    assert decode_head(encode_head(head)) == head
    assert decode_head("{") == SessionHead()


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63), 2**63 - 1))
def test_a_cursor_survives(updated_at: float, number: int) -> None:
    """And fits into a URL as it stands."""
    cursor = encode_cursor(updated_at, number)

    assert decode_cursor(cursor) == (updated_at, number)
    assert cursor.replace("-", "").replace("_", "").isalnum()


@given(st.text(max_size=12))
def test_any_other_text_is_no_cursor(text: str) -> None:
    """Refused, never an error of ours."""
    with suppress(MalformedRequest):
        assert isinstance(decode_cursor(text)[1], int)
