"""Fingerprints of recorded requests."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.fingerprints import (
    NOTHING_KEPT,
    Fingerprint,
    base_of,
    borders_of,
    is_kept,
    pack,
    remembered,
    unpack,
)

hashes = st.integers(0, 2**64 - 1)
sizes = st.integers(0, 2**32 - 1)
digests = st.binary(min_size=16, max_size=16)
short = st.binary(min_size=4, max_size=4)
fingerprints = st.builds(
    Fingerprint,
    digests,
    short,
    short,
    sizes,
    sizes,
    sizes,
    hashes,
    hashes,
    st.text("0123456789abcdef", max_size=40),
    st.lists(hashes, max_size=20).map(tuple),
)


@given(fingerprints)
def test_a_fingerprint_is_read_as_it_was_written(fingerprint: Fingerprint) -> None:
    packed = pack(fingerprint)

    assert unpack(packed) == fingerprint
    assert base_of(packed) == fingerprint.base
    assert packed[:16] == fingerprint.digest


@given(st.binary(max_size=90))
def test_anything_else_is_no_mark(packed: bytes) -> None:
    """Events of a later version, or altered ones, are folded all the same."""
    fingerprint = unpack(packed)

    assert fingerprint is None or pack(fingerprint)[:16] == packed[:16]
    assert remembered((), "c", packed) in ((), (("c", packed),))
    assert isinstance(base_of(packed), str)


def test_a_list_has_a_border_for_each_doubling_of_the_distance_from_its_end() -> None:
    assert borders_of(0) == [0]
    assert borders_of(512) == [512]
    assert borders_of(5_000) == [5_000, 4_608, 4_096, 3_072, 2_048]
    assert borders_of(1_000_000)[1:4] == [999_936, 999_424, 998_400]


@given(st.integers(0, 2**24), st.integers(1, 2**24))
def test_what_is_kept_of_a_list_that_is_rewritten_is_not_much_less(size: int, last: int) -> None:
    rewritten = max(last, 512)
    kept = max((at for at in borders_of(size) if at <= size - last), default=0)

    assert kept >= size - 4 * rewritten
    assert borders_of(size) == sorted(borders_of(size), reverse=True)
    assert len(borders_of(size)) <= 17


@given(st.integers(0, 2**24), st.integers(0, 2**24))
def test_a_list_that_goes_on_has_borders_where_it_had_them(size: int, more: int) -> None:
    before = {at for at in borders_of(size + more) if at <= size}

    assert before <= {*borders_of(size)}


def test_only_a_digest_says_that_something_was_kept() -> None:
    """Of requests and of answers; where only hashes are kept, nothing can be given again."""
    digest = b"d" * 16
    packed = (b"", digest[:15], NOTHING_KEPT, NOTHING_KEPT + b"x", digest, digest + b"x")

    assert [is_kept(one) for one in packed] == [False, False, False, False, True, True]
