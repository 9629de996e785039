"""What is remembered of earlier bodies, and that it has an end."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.memo import Memo, size_of
from proxy.core.request import Learned, Message, Piece, Saying
from proxy.core.usage import ToolCall
from tests.unit.core.dialects.metering import law


def said(text: str) -> Piece:
    return Piece((Message("user", text, bytes(16)),))


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def test_what_was_kept_is_known() -> None:
    memo = Memo(100_000, 0)
    memo.keep(Learned(((key(1), said("hi")),)))

    assert memo.young.get(key(1)) == said("hi")
    assert memo.young.get(key(2)) is None is memo.older(key(2))


def test_what_is_met_again_outlives_what_is_not() -> None:
    """A session goes on while a hundred others begin and end."""
    memo = Memo(15_000, 0)
    mine, once = (key(1), said("mine")), (key(2), said("once"))
    memo.keep(Learned((mine, once)))
    for number in range(100, 300):
        memo.keep(Learned(((key(number), said("x")),)))
        if (known := memo.older(key(1))) is not None:  # as a reader does
            memo.keep(Learned(((key(1), known),)))

    assert memo.young.get(key(1)) or memo.older(key(1))
    assert memo.young.get(key(2)) is None is memo.older(key(2))


def test_one_request_fills_an_eighth_at_most() -> None:
    """What others are known by is not pushed out by one enormous body."""
    memo = Memo(80_000, 0)
    memo.keep(Learned(((key(1), said("other")),)))
    memo.keep(Learned(tuple([(key(number), said("x" * 500)) for number in range(2, 1000)])))

    assert memo.size_bytes <= 10_000 + 400
    assert key(1) in memo.young


def test_what_is_too_large_is_not_kept() -> None:
    memo = Memo(80_000, 0)
    memo.keep(Learned(((key(1), said("x" * 20_000)),)))

    assert memo.size_bytes == 0
    assert memo.young.get(key(1)) is None


@law
@given(
    st.integers(0, 200_000),
    st.lists(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 30_000)), max_size=9)),
)
def test_a_memo_never_grows_beyond_its_bound(
    limit: int, requests: list[list[tuple[int, int]]]
) -> None:
    """And counts what it holds."""
    memo = Memo(limit, 0)
    for request in requests:
        memo.keep(Learned(tuple([(key(number), said("x" * size)) for number, size in request])))

        held = [*memo.young.values(), *memo._old.values()]
        assert memo.size_bytes == sum(map(size_of, held)) <= limit // 2  # the rest is for trails


def test_all_that_a_piece_holds_is_counted() -> None:
    """A bound that overlooks the arguments of calls is none."""
    long = "x" * 10_000
    call = ToolCall("c", "f", long)
    bare = size_of(Piece())

    for piece in (
        said(long),
        Piece((Message("assistant", "", bytes(16), (call,)),)),
        Piece(names=(long,)),
        Piece(saying=Saying(long)),
        Piece(saying=Saying(attachments=(long.encode(),))),
        Piece(saying=Saying(tool_call=call)),
        Piece((Message("tool", "", bytes(16), tool_result_id=long),)),
    ):
        assert size_of(piece) > bare + 10_000


def test_the_same_bytes_are_known_apart_by_what_they_are_read_as() -> None:
    """A list of tools and a message can be spelled alike; and another policy allows less depth."""
    memo = Memo(1, 2**64 - 1)
    seeds = {memo.seed(kind, depth) for kind in ("chat", "tools", "input") for depth in (20, 128)}

    assert len(seeds) == 6
    assert all(0 <= seed < 2**64 for seed in seeds)
