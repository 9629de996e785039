"""A body that is read back is compared with its fingerprint."""

import pytest

from proxy.core.fingerprints import IN_CLEAR
from proxy.core.prefixes import Prefixes
from proxy.core.rebuilding import Body
from proxy.core.recording import Span, find

BODY = b'{"messages":["one","two"],"model":"m"}'
SPAN = Span(BODY.index(b"["), BODY.index(b"]"))
PARTS = (BODY[: SPAN.start], BODY[SPAN.start : SPAN.end], BODY[SPAN.end :])


@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize("longer", [False, True])
def test_any_other_part_is_found_out(part: int, longer: bool) -> None:
    """Of the same size or not: it is not what was sent."""
    _, fingerprint = find(BODY, SPAN, (), 7, IN_CLEAR, Prefixes())
    altered = list(PARTS)
    altered[part] = altered[part] + b" " if longer else altered[part].replace(b"e", b"E")
    assert altered[part] != PARTS[part]

    assert Body(*PARTS).is_of(fingerprint, 7)
    assert not Body(*altered).is_of(fingerprint, 7)


def test_of_another_seed_only_the_sizes_can_be_compared() -> None:
    _, fingerprint = find(BODY, SPAN, (), 7, IN_CLEAR, Prefixes())
    head, listed, tail = PARTS

    assert Body(head, listed.replace(b"e", b"E"), tail).is_of(fingerprint, 8)
    assert not Body(head, listed + b" ", tail).is_of(fingerprint, 8)
