"""What changes by itself in a result, and what does not."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.loops.volatile import volatile_spans

TOKEN = b"011CQaLx8kP2mVw9ZtYb4nRd"
BLOB = b"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5Erk"


def left(text: bytes) -> bytes:
    """The text with each span as <>."""
    kept, at = b"", 0
    for start, end in volatile_spans(text):
        kept += text[at:start] + b"<>"
        at = end
    return kept + text[at:]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (b'{"id": "2b1d6a52-9f4e-4c0a-8d3e-0123456789ab", "n": 5}', b'{"id": "<>", "n": 5}'),
        (b"at 2026-11-30T10:46:00.123Z done", b"at <> done"),
        (b"at 2026/11/30 10:46:00 +0100, done", b"at <>, done"),
        (b"Nov 30 10:46:00 host sshd", b"Nov 30 <> host sshd"),
        (b"2026-11-30T10:46:00.123456: ok", b"<>: ok"),
        (b"2026-11-30 10:46:00: INFO ok", b"<>: INFO ok"),
        (b"3 passed in 65.12s (0:01:05)", b"3 passed in <> (<>)"),
        (b"took 0:00:01.234567", b"took <>"),
        (b"-rw-r--r-- 1 root root 12 Nov 30 10:46 a.py", b"-rw-r--r-- 1 root root 12 <> a.py"),
        (b"-rw-r--r-- 1 root root 12 Dec  1 10:46 a.py", b"-rw-r--r-- 1 root root 12 <> a.py"),
        (b"20261130T104600Z done", b"<> done"),
        (b"ts 1732962360 1732962360.123 1732962360123", b"ts <> <> <>"),
        (b"object at 0x7f8b1c0dab12>", b"object at 0x<>>"),
        (b"sha 9fceb02d0ae598e95dc970b74767f19372d61af8", b"sha <>"),
        (b"req-8f3a2b1c failed", b"req-<> failed"),
        (b"request req_" + TOKEN + b" failed", b"request req_<> failed"),
        (b"image " + BLOB + b" end", b"image <> end"),
        (b"data:image/png;base64," + BLOB, b"data:image/png;base64,<>"),
        (b"\x1b[31mred\x1b[0m \x1b]0;title\x07", b"<>red<> <>"),
        (rb'"\u001b[31mred\u001b[0m"', b'"<>red<>"'),
        (b"12 passed in 0.12s", b"12 passed in <>"),
        (b"took 532 ms, 1m2.5s, 0.0520 seconds", b"took <>, <>, <>"),
        (b'{"duration_ms": 532, "rows": 3}', b'{"duration<>, "rows": 3}'),
        (b'{"timestamp": "14:32", "request_id": "a8"}', b'{"timestamp<>, "request_id<>}'),
        (b"elapsed=12 rows=3", b"elapsed<> rows=3"),
        (b"/tmp/tmpab12_x9z/a.py", b"/tmp/tmp<>/a.py"),
        (b"Chunk ID: ab12cd\nok", b"<>\nok"),
        (b"You have 4 steps left and 2 chances to answer left.\nok", b"You<>\nok"),
    ],
)  # fmt: skip
def test_what_changes_by_itself_is_found(text: bytes, kept: bytes) -> None:
    assert left(text) == kept


@pytest.mark.parametrize(
    "text",
    [
        b"page 3 of 9, 45 %, 12 rows, $10.99",
        b"order 12345, item 6086499569, #W1234567890",
        b"flights on 2026-11-30 and 2026-12-01",
        b"meet on Nov 30 10:46 or Dec  1 10:46, or on Dec 2 at 9:30",
        b"aspect 1:10:46:00, 00:11:22:33:44:55, 00:11:22:aa:bb:cc, 1:11:22:33",
        b"room 10:46, 30s of the 1990s, HTTP 500s",
        b"call 555-1234 or +44 20 7946 0958",
        b"facade decade 1234567 deadbeef",
        b"src/components/Some/VeryLongPathNameHere1/ThatGoes/OnAndOn/ForAVery/LongWhile",
        b"TestUserAuthenticationWithTwoFactors2 and TestUserLoginWithTwoFactors2",
        b"version 1.2.3-rc4, port 8080, pid 4711",
        b"the duration of the stay and the latency of the line",
        b"12 steps left",
    ],
)
def test_what_means_something_stays(text: bytes) -> None:
    """A page, a price or a count that changed is news, and no loop."""
    assert left(text) == text


@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: text.encode()))
def test_spans_lie_in_the_text_in_order_and_apart(text: bytes) -> None:
    spans = volatile_spans(text)

    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert all(before[1] < after[0] for before, after in pairwise(spans))


@given(st.lists(st.sampled_from([b"0", b"a", b"F", b"-", b":", b"T", b" ", b"s", b"\x1b", b"["]),
                max_size=80).map(b"".join))  # fmt: skip
def test_no_mixture_of_shapes_is_too_much(text: bytes) -> None:
    volatile_spans(text * 3)


@pytest.mark.parametrize("at", [0, 2_000, 9_000])
def test_shapes_are_found_wherever_they_stand_in_a_long_text(at: int) -> None:
    filler = b"word " * 2_000
    text = filler[:at] + b" 2b1d6a52-9f4e-4c0a-8d3e-0123456789ab " + filler[at:]

    assert [end - start for start, end in volatile_spans(text)] == [36]
