"""A body in parts goes out as it was announced, or not to its end."""

from collections.abc import AsyncIterator

import pytest

from proxy.errors import MalformedRequest
from proxy.wire.upload import upload


class FakeSink:
    """Notes what it is given; `room` pieces fit, then the connection is lost."""

    def __init__(self, room: int = 100) -> None:
        self.sent = b""
        self.ends: list[BaseException | None] = []
        self._room = room

    def write(self, head: bytes, body: bytes = b"") -> None:
        self.sent += head + body

    async def drained(self) -> None:
        self._room -= 1
        if self._room < 0:
            raise ConnectionError

    def uploaded(self, fault: BaseException | None = None) -> None:
        self.ends.append(fault)


async def parts(*chunks: bytes | Exception) -> AsyncIterator[bytes]:
    for part in chunks:
        if isinstance(part, Exception):
            raise part
        yield part


async def test_a_body_without_a_length_goes_in_chunks() -> None:
    """An empty part would be its end."""
    sink = FakeSink()
    await upload(parts(b"ab", b"", b"c" * 20), None, sink)

    assert sink.sent == b"2\r\nab\r\n14\r\n" + b"c" * 20 + b"\r\n0\r\n\r\n"
    assert sink.ends == [None]


async def test_a_body_with_a_length_goes_as_it_is() -> None:
    """To the byte."""
    sink = FakeSink()
    await upload(parts(b"ab", b"", b"cd"), 4, sink)

    assert (sink.sent, sink.ends) == (b"abcd", [None])


@pytest.mark.parametrize("chunks", [(b"abc",), (b"abc", b"de"), (b"abcde",)])
async def test_a_body_of_another_length_breaks_the_call(chunks: tuple[bytes, ...]) -> None:
    """What is too much is not sent."""
    sink = FakeSink()
    await upload(parts(*chunks), 4, sink)

    assert sink.sent in (b"abc", b"")
    assert isinstance(sink.ends[0], MalformedRequest)


async def test_a_body_that_breaks_off_breaks_the_call_for_its_reason() -> None:
    """The client stalled: its status is not the provider's."""
    stalled = MalformedRequest("stalled", status=408)
    for length in (None, 4):
        sink = FakeSink()
        await upload(parts(b"ab", stalled), length, sink)

        assert sink.ends == [stalled]
        assert b"0\r\n" not in sink.sent


async def test_a_bug_in_a_body_ends_the_call_and_is_reported() -> None:
    """Whoever waits for the answer would wait for its time-out."""
    sink = FakeSink()
    with pytest.raises(ZeroDivisionError):
        await upload(parts(ZeroDivisionError()), None, sink)

    assert isinstance(sink.ends[0], MalformedRequest)


async def test_a_lost_connection_ends_the_upload_without_another_fault() -> None:
    """What the provider said before it hung up is read elsewhere."""
    sink = FakeSink(room=1)
    await upload(parts(b"a", b"b", b"c"), None, sink)

    assert sink.sent == b"1\r\na\r\n1\r\nb\r\n"
    assert sink.ends == []
