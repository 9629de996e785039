"""Of which log a head says that it tells: only such a one is held against its log."""

import pytest
from msgspec.structs import replace

from proxy.stores import SessionHead
from proxy.stores.effects import head_after
from tests.fakes_stores import NOW, reserved

BEFORE = SessionHead(seq=4)
GIVEN = replace(reserved("c1"), head=SessionHead(seq=5, updated_at=NOW))


@pytest.mark.parametrize(
    ("after", "before", "token", "seq"),
    [
        (None, BEFORE, b"", 5),  # decided on the log itself
        (b"mine", BEFORE, b"mine", 5),
        (b"mine", BEFORE, b"other", 0),
        (b"mine", replace(BEFORE, seq=3), b"mine", 0),
        (b"mine", None, b"mine", 0),
    ],
)
def test_a_head_tells_of_its_log_where_its_writer_knew_all_of_that(
    after: bytes | None, before: SessionHead | None, token: bytes, seq: int
) -> None:
    """Two processes that write at once each make a head without the other's events."""
    assert head_after(before, replace(GIVEN, after=after), 4, token).seq == seq
