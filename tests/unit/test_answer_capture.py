"""An answer that is taken down while it passes."""

import asyncio
import random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from proxy.answer_capture import AT_ONCE_BYTES, AnswerCapture, Room
from proxy.core.contents import RecordedAnswer
from proxy.core.rebuilding import inflated
from proxy.core.recording import MOST_DEPTH, WINDOW_BYTES, PackedAnswer, Window, grown

KIND = (("content-type", "text/event-stream"),)


def read(record: PackedAnswer, window: bytes = b"") -> tuple[int, bytes]:
    literal = inflated(record.deflated, window)
    return record.status, literal[record.head :]


@given(
    st.lists(st.binary(max_size=40).map(lambda some: some * 3_000), max_size=6),
    st.none() | st.binary(max_size=WINDOW_BYTES),
)
def test_it_is_the_same_in_whatever_pieces_it_comes(
    pieces: list[bytes], before: bytes | None
) -> None:
    room = Room()
    capture = AnswerCapture(room, None if before is None else Window(before, 3))
    capture.begin(200, KIND, stream=True)
    for piece in pieces:
        capture.add(piece)
    record, after = capture.end()
    capture.add(b"too late")
    literal = inflated(record.deflated, before or b"")
    capture.drop()

    assert read(record, before or b"") == (200, b"".join(pieces))
    assert after.data == grown(before or b"", literal)
    assert (after.depth, after.answered) == (0 if before is None else 4, True)
    assert room.left_bytes == Room().left_bytes


async def test_a_whole_one_is_the_same_whatever_its_size() -> None:
    for size in (0, 1, AT_ONCE_BYTES, AT_ONCE_BYTES + 1, 1_000_000):
        capture = AnswerCapture(Room(), None)
        await capture.whole(201, KIND, b"a" * size, 0)
        record, _ = capture.end()

        assert read(record) == (201, b"a" * size)


def test_what_is_larger_than_anybody_reads_again_is_let_go() -> None:
    room = Room()
    capture = AnswerCapture(room, None, most_bytes=200_000)
    capture.begin(200, KIND, stream=True)
    for _ in range(30):
        capture.add(b"x" * 10_000)

    assert (capture.is_there, capture.lost) == (False, True)
    assert room.left_bytes == Room().left_bytes


async def test_all_together_take_no_more_than_there_is_room_for() -> None:
    """Each on its own may be small: a thousand of them are not."""
    room = Room(530_000)
    captures = [AnswerCapture(room, None) for _ in range(5)]
    for capture in captures:
        capture.begin(200, KIND, stream=True)
        capture.add(b"x" * (AT_ONCE_BYTES + 1))
    whole = AnswerCapture(room, None)
    await whole.whole(200, (), b"x" * 700_000, 0)

    assert [capture.is_there for capture in captures] == [True, True, False, False, False]
    assert not whole.is_there
    for capture in captures:
        capture.drop()
    assert room.left_bytes == 530_000


async def test_one_that_is_given_up_while_it_is_deflated_takes_no_room_for_ever() -> None:
    """The client leaves: the thread goes on for a while."""
    room, body = Room(), random.Random(1).randbytes(6 * 1024 * 1024)
    before = room.left_bytes
    for seconds in (0.0, 0.01, 0.05):
        capture = AnswerCapture(room, None)
        deflating = asyncio.ensure_future(capture.whole(200, (), body, 0))
        await asyncio.wait([deflating], timeout=seconds)
        deflating.cancel()
        await asyncio.wait([deflating])
        capture.drop()
    await asyncio.get_running_loop().shutdown_default_executor()

    assert room.left_bytes == before


async def test_what_hardly_deflates_is_kept_up_to_a_size() -> None:
    noise = random.Random(1).randbytes(3_000_000)
    streamed, whole = AnswerCapture(Room(), None), AnswerCapture(Room(), None)
    streamed.begin(200, KIND, stream=True)
    for _ in range(4):
        streamed.add(noise)
    await whole.whole(200, KIND, noise * 4, 0)

    assert (streamed.lost, whole.lost) == (True, True)


def test_another_attempt_begins_it_anew() -> None:
    capture = AnswerCapture(Room(), None)
    capture.begin(200, KIND, stream=True)
    capture.add(b"of one that broke off")
    capture.begin(200, KIND, stream=True)
    capture.add(b"whole")

    assert read(capture.end()[0]) == (200, b"whole")


def test_nothing_is_there_before_it_began() -> None:
    assert not AnswerCapture(Room(), None).is_there


def test_a_window_begins_anew_every_so_often() -> None:
    """None takes longer to read than so many."""
    capture = AnswerCapture(Room(), Window(b"before", MOST_DEPTH))
    capture.begin(200, (), stream=True)
    record, after = capture.end()

    assert read(record) == (200, b"")
    assert (record.primed, after.depth) == (0, 0)


def test_neither_our_own_headers_nor_those_of_its_moment_are_kept() -> None:
    """Nor a cookie: it says who called."""
    dropped = ("X-Holdfast-Step", "Date", "Set-Cookie", "x-request-id", "Request-Id", "Via")
    more = ("x-ratelimit-remaining-tokens", "anthropic-ratelimit-tokens-limit", "retry-after")
    kept = (("Content-Type", "application/json"), ("openai-model", "m"))
    capture = AnswerCapture(Room(), None)
    capture.begin(200, (*kept, *[(name, "1") for name in (*dropped, *more)]), stream=False)
    record, _ = capture.end()

    assert RecordedAnswer(200, kept, b"") == RecordedAnswer(200, _headers(record), b"")


def _headers(record: PackedAnswer) -> tuple[tuple[str, str], ...]:
    literal = inflated(record.deflated)[: record.head]
    return msgspec.msgpack.decode(literal, type=tuple[tuple[str, str], ...])
