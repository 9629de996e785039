"""A recorded stream goes in pieces of whole events."""

import pytest

from proxy.replaying import giving


@pytest.mark.parametrize("border", [b"\n\n", b"\r\n\r\n"])
@pytest.mark.parametrize("size", [4, 16, 17, 40])
def test_no_piece_ends_within_an_event(
    monkeypatch: pytest.MonkeyPatch, border: bytes, size: int
) -> None:
    """Whatever its size: what follows a part of one is read as the rest of it."""
    monkeypatch.setattr(giving, "_PIECE_BYTES", size)
    events = [b"data: " + b"x" * n + border for n in (1, 0, 9, 30, 3, 3, 70, 1)]
    body, ends, at = b"".join(events), [0], 0
    for event in events:
        ends.append(ends[-1] + len(event))

    while at < len(body):
        end = giving._end_of_piece(body, at)
        assert end > at
        assert end in ends
        assert end - at <= max(size, *(len(event) for event in events if len(event) > size), 0)
        at = end


def test_what_has_no_events_is_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(giving, "_PIECE_BYTES", 4)

    assert giving._end_of_piece(b"data: of no end", 0) == 15
