"""A body that is read back is compared with its mark."""

import pytest

from proxy.core.marks import IN_CLEAR
from proxy.core.rebuilding import Body
from proxy.core.recording import Laid, find

BODY = b'{"messages":["one","two"],"model":"m"}'
LAID = Laid(BODY.index(b"["), BODY.index(b"]"))
PARTS = (BODY[: LAID.start], BODY[LAID.start : LAID.end], BODY[LAID.end :])


@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize("longer", [False, True])
def test_any_other_part_is_found_out(part: int, longer: bool) -> None:
    """Of the same size or not: it is not what was sent."""
    _, mark = find(BODY, LAID, (), 7, IN_CLEAR)
    altered = list(PARTS)
    altered[part] = altered[part] + b" " if longer else altered[part].replace(b"e", b"E")
    assert altered[part] != PARTS[part]

    assert Body(*PARTS).is_of(mark, 7)
    assert not Body(*altered).is_of(mark, 7)


def test_of_another_seed_only_the_sizes_can_be_compared() -> None:
    _, mark = find(BODY, LAID, (), 7, IN_CLEAR)
    head, listed, tail = PARTS

    assert Body(head, listed.replace(b"e", b"E"), tail).is_of(mark, 8)
    assert not Body(head, listed + b" ", tail).is_of(mark, 8)
