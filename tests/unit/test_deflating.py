"""What ISA-L writes is what zlib reads, primed or not, at once or in pieces."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.rebuilding import inflated
from proxy.core.recording import WINDOW_BYTES
from proxy.deflating import deflated, deflating

WORDS = [b"", b"a", b'{"role": "user"}', b"\x00\xff", bytes(range(256)), b"word " * 40]
TEXTS = st.lists(st.sampled_from(WORDS) | st.binary(max_size=40), max_size=60).map(b"".join)
REPEATED = st.builds(lambda text, times: text * times, TEXTS, st.integers(1, 200))
WINDOWS = REPEATED.map(lambda text: text[-WINDOW_BYTES:])


@given(REPEATED, WINDOWS)
def test_zlib_reads_what_is_deflated(literal: bytes, window: bytes) -> None:
    assert inflated(deflated(literal, window), window) == literal


@given(st.lists(REPEATED, max_size=5), WINDOWS)
def test_zlib_reads_what_came_in_pieces(pieces: list[bytes], window: bytes) -> None:
    deflate = deflating(window)
    data = b"".join([*map(deflate.compress, pieces), deflate.flush()])
    assert inflated(data, window) == b"".join(pieces)


def test_what_the_window_has_is_not_said_again() -> None:
    window = b"".join(b"%d %x, " % (number, number * 7919) for number in range(2_000))
    literal = window[-1_000:] + b"and so on"
    assert len(deflated(literal, window)) < len(deflated(literal)) / 5
