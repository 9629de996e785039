"""A connection's deadlines, and when it may serve another request."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from typing import cast

import pytest

from proxy.errors import MalformedRequest, UpstreamUnavailable
from proxy.wire import Timeouts
from proxy.wire.answer import Answer
from proxy.wire.timing import Deadlines
from proxy.wire.upstream import Household, UpstreamConnection
from tests.fakes_wire import answer, chunk, chunked_head, turn

TIMES = Timeouts(connect=1, head=10, idle=100, total=1_000)
KEPT = 30.0


class Clock:
    """The loop's time, turned by hand."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


class FakeTransport:
    """One end of a pair of sockets, of which nothing is read or written."""

    def __init__(self) -> None:
        self.socket, self.far = socket.socketpair()
        self.written: list[bytes] = []
        self.unsent = 0
        self.reading = True
        self.aborted = False
        self.closing = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def writelines(self, parts: tuple[bytes, ...]) -> None:
        self.written.extend(parts)

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def get_extra_info(self, name: str) -> socket.socket | None:
        return self.socket if name == "socket" else None

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.aborted or self.closing

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        for end in (self.socket, self.far):
            end.close()


class Rig:
    """A connection on a fake transport, with a household of its own."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.kept: dict[UpstreamConnection, None] = {}
        self.household = Household(Deadlines(asyncio.get_running_loop()), KEPT)
        self.transport = FakeTransport()
        self.connection = UpstreamConnection(self.household, self.kept, "h")
        self.connection.connection_made(cast("asyncio.Transport", self.transport))
        self.connection.join()

    def begin(self) -> Answer:
        return self.connection.begin({}, TIMES, bodiless=False)

    def feed(self, raw: bytes) -> None:
        self.connection.data_received(raw)

    def left(self) -> float:
        """Seconds to the deadline."""
        return self.connection.due - self.clock.now

    def pass_time(self, seconds: float) -> None:
        """As the sweep would find it."""
        self.clock.now += seconds
        if self.connection.due <= self.clock.now:
            self.connection.expired(self.clock.now)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def rig(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    monkeypatch.setattr(asyncio.get_running_loop(), "time", clock)
    rig = Rig(clock)
    yield rig
    rig.household.deadlines.close()
    rig.transport.close()


def fault_of(incoming: Answer) -> UpstreamUnavailable:
    assert isinstance(incoming.fault, UpstreamUnavailable)
    return incoming.fault


async def test_the_deadline_is_that_of_what_is_waited_for(rig: Rig) -> None:
    """The head, then each piece, then the next request."""
    assert rig.connection.due == float("inf")
    rig.begin()
    assert rig.left() == TIMES.head
    rig.feed(b"HTTP/1.1 103 Early\r\n\r\n")
    rig.clock.now += 4
    assert rig.left() == TIMES.head - 4
    rig.feed(chunked_head())
    assert rig.left() == TIMES.idle
    rig.clock.now += 60
    rig.feed(chunk(b"a"))
    assert rig.left() == TIMES.idle
    rig.feed(chunk(b""))

    assert rig.left() == KEPT


async def test_no_deadline_is_beyond_the_total(rig: Rig) -> None:
    """A provider that drips for ever."""
    rig.begin()
    rig.feed(chunked_head())
    incoming = rig.connection._answer
    assert incoming is not None
    for _ in range(20):
        rig.pass_time(60)
        if incoming.over:
            break
        rig.feed(chunk(b"a"))

    assert rig.clock.now - 50 < TIMES.total + 60
    assert fault_of(incoming).kind == "timeout"
    assert "1000 seconds" in fault_of(incoming).message
    assert rig.transport.aborted


@pytest.mark.parametrize(
    ("came", "seconds", "text"),
    [
        (b"", 10, "no answer within 10 seconds"),
        (b"HTTP/1.1 2", 10, "no answer within 10 seconds"),
        (chunked_head(), 100, "nothing came for 100 seconds"),
        (chunked_head() + chunk(b"a") + b"5\r\n", 100, "nothing came for 100 seconds"),
    ],
)
async def test_what_is_late_is_cut(rig: Rig, came: bytes, seconds: float, text: str) -> None:
    """And its reader told what it was."""
    incoming = rig.begin()
    if came:
        rig.feed(came)
    rig.pass_time(seconds - 1)
    assert not incoming.over
    rig.pass_time(1)

    assert (fault_of(incoming).kind, fault_of(incoming).sent) == ("timeout", True)
    assert text in fault_of(incoming).message
    assert rig.transport.aborted


async def test_the_head_has_all_its_time_again_while_the_request_is_taken(rig: Rig) -> None:
    """A large body on a slow line; once nothing moves, it is late."""
    incoming = rig.begin()
    for unsent in (5_000, 3_000, 1_000):
        rig.transport.unsent = unsent
        rig.pass_time(10)
        assert not incoming.over
    rig.pass_time(10)

    assert fault_of(incoming).kind == "timeout"


async def test_a_slow_request_buys_the_next_one_no_time(rig: Rig) -> None:
    """On the same connection."""
    rig.begin()
    rig.transport.unsent = 5_000
    rig.pass_time(10)
    rig.transport.unsent = 0
    rig.feed(answer(b"a"))
    second = rig.begin()
    rig.pass_time(10)

    assert fault_of(second).kind == "timeout"


async def test_the_head_has_all_its_time_from_the_end_of_an_upload(rig: Rig) -> None:
    """While there is nothing to send, we wait for the client, and the provider for us."""
    incoming = rig.begin()
    upload: asyncio.Task[None] = asyncio.ensure_future(asyncio.Event().wait())  # type: ignore[arg-type]
    rig.connection.uploads(upload)
    for _ in range(5):
        rig.pass_time(10)
        assert not incoming.over
    rig.clock.now += 7
    rig.connection.uploaded()
    assert rig.left() == TIMES.head
    rig.pass_time(10)

    assert fault_of(incoming).kind == "timeout"
    upload.cancel()


async def test_a_provider_that_takes_nothing_of_an_upload_is_late(rig: Rig) -> None:
    """What waits to be sent waits for it."""
    incoming = rig.begin()
    upload: asyncio.Task[None] = asyncio.ensure_future(asyncio.Event().wait())  # type: ignore[arg-type]
    rig.connection.uploads(upload)
    rig.transport.unsent = 5_000
    rig.pass_time(10)
    rig.pass_time(10)
    await asyncio.wait([upload])

    assert fault_of(incoming).kind == "timeout"
    assert upload.cancelled()


async def test_while_we_do_not_read_the_provider_is_not_late(rig: Rig) -> None:
    """Only the total goes on."""
    incoming = rig.begin()
    rig.feed(chunked_head() + chunk(b"x" * 70_000))
    assert not rig.transport.reading
    rig.pass_time(500)
    assert not incoming.over
    reading = asyncio.ensure_future(anext(incoming.chunks()))
    assert len(await reading) == 70_000
    waiting = asyncio.ensure_future(incoming.read(100))
    await turn()
    assert rig.transport.reading
    assert rig.left() == TIMES.idle
    rig.pass_time(100)
    with pytest.raises(UpstreamUnavailable, match="nothing came"):
        await waiting


async def test_a_kept_connection_is_closed_at_its_time(rig: Rig) -> None:
    """Quietly."""
    rig.begin()
    rig.feed(answer(b"a"))
    assert list(rig.kept) == [rig.connection]
    rig.pass_time(KEPT - 1)
    assert not rig.transport.aborted
    rig.pass_time(1)

    assert rig.transport.aborted
    assert not rig.kept


UNFIT: dict[str, tuple[bytes, Callable[[Rig], object]]] = {
    "more followed": (answer(b"a") + b"x", lambda rig: None),
    "the provider closes": (answer(b"a", "200 OK", "Connection: close"), lambda rig: None),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", lambda rig: None),
    "some is unsent": (answer(b"a"), lambda rig: setattr(rig.transport, "unsent", 1)),
    "an upload goes on": (
        answer(b"a"),
        lambda rig: rig.connection.uploads(
            asyncio.ensure_future(asyncio.Event().wait())  # type: ignore[arg-type]
        ),
    ),
}


@pytest.mark.parametrize(("raw", "before"), UNFIT.values(), ids=UNFIT.keys())
async def test_a_connection_is_kept_only_where_all_is_certain(
    rig: Rig, raw: bytes, before: Callable[[Rig], object]
) -> None:
    """What is left on it would be part of the next call."""
    incoming = rig.begin()
    before(rig)
    rig.feed(raw)

    assert (incoming.whole, incoming.fault) == (True, None)
    assert rig.transport.aborted
    assert not rig.kept


async def test_a_call_that_is_ended_from_within_its_last_piece_is_cut(rig: Rig) -> None:
    """By the taker: the connection is lost by then, whole as the answer is."""
    incoming = rig.begin()
    rig.feed(chunked_head())

    def take(piece: bytes) -> bool:
        incoming.close()
        return True

    passing = asyncio.ensure_future(incoming.pass_on(take))
    await turn()
    rig.feed(chunk(b"a") + chunk(b""))

    assert await passing is False
    assert rig.transport.aborted
    assert not rig.kept


async def test_a_paused_connection_reads_again_when_it_is_kept(rig: Rig) -> None:
    """Else it would never hear that the provider has closed it."""
    incoming = rig.begin()
    rig.feed(chunked_head() + chunk(b"x" * 70_000))
    assert not rig.transport.reading
    rig.feed(chunk(b""))  # was on its way from the kernel
    assert rig.transport.reading
    assert list(rig.kept) == [rig.connection]

    assert len(await incoming.read(100_000)) == 70_000


async def test_anything_that_comes_unasked_ends_the_connection(rig: Rig) -> None:
    """Bytes, an end, or a reset."""
    rig.begin()
    rig.feed(answer(b"a"))
    rig.feed(b"H")

    assert rig.transport.aborted
    assert not rig.kept
    rig.connection.connection_lost(None)
    assert not rig.household.open
    assert len(rig.household.deadlines) == 0
    assert not rig.connection.is_open()


async def test_a_kept_connection_is_untouched_until_the_kernel_has_something(rig: Rig) -> None:
    """Which the loop has not read yet."""
    rig.begin()
    rig.feed(answer(b"a"))
    assert rig.connection.is_untouched()
    rig.transport.far.send(b"x")

    assert not rig.connection.is_untouched()
    assert rig.connection.is_open()


async def test_what_the_kernel_has_is_told_unread(rig: Rig) -> None:
    """And is still there to be read."""
    assert rig.connection.unread_bytes() == 0
    rig.transport.far.send(b"x" * 700)

    assert rig.connection.unread_bytes() == 700
    assert rig.connection.unread_bytes() == 700
    rig.transport.closing = True
    assert rig.connection.unread_bytes() == 0


async def test_a_closing_transport_is_not_used(rig: Rig) -> None:
    """A write to it has failed, and its end is not told yet."""
    rig.transport.closing = True

    assert not rig.connection.is_open()
    assert not rig.connection.is_untouched()
    assert not rig.connection.join()


@pytest.mark.parametrize(
    ("came", "exc", "kind"),
    [
        (b"", None, "reset"),
        (b"HTTP/1.1 200 OK\r\n", None, "reset"),
        (b"", OSError(), "reset"),
        (chunked_head(), None, "truncated"),
        (chunked_head(), ConnectionResetError(), "reset"),
        (b"HTTP/1.1 200 OK\r\n\r\nab", None, "truncated"),  # lost without an end: by uvloop's TLS
        (b"HTTP/1.1 200 OK\r\n\r\nab", ConnectionResetError(), "reset"),
    ],
)
async def test_a_lost_connection_is_never_a_clean_end(
    rig: Rig, came: bytes, exc: Exception | None, kind: str
) -> None:
    """A body until close ends with the provider's end alone."""
    incoming = rig.begin()
    if came:
        rig.feed(came)
    rig.connection.connection_lost(exc)

    assert (fault_of(incoming).kind, fault_of(incoming).sent) == (kind, True)


async def test_the_providers_end_ends_a_body_until_close(rig: Rig) -> None:
    """And its connection."""
    incoming = rig.begin()
    rig.feed(b"HTTP/1.1 200 OK\r\n\r\nab")
    rig.connection.eof_received()

    assert await incoming.read(10) == b"ab"
    assert rig.transport.aborted


async def test_a_large_body_is_not_copied_behind_its_head(rig: Rig) -> None:
    """Both leave in one go."""
    rig.begin()
    body = b"x" * 100_000
    rig.connection.write(b"head", b"body")
    rig.connection.write(b"head", body)

    assert rig.transport.written == [b"headbody", b"head", body]
    assert rig.transport.written[-1] is body


async def test_an_upload_waits_while_the_provider_does_not_read(rig: Rig) -> None:
    """And ends with the connection."""
    rig.begin()
    rig.connection.pause_writing()
    waiting = asyncio.ensure_future(rig.connection.drained())
    await turn()
    assert not waiting.done()
    rig.connection.resume_writing()
    await waiting
    rig.connection.pause_writing()
    waiting = asyncio.ensure_future(rig.connection.drained())
    await turn()
    rig.connection.connection_lost(None)
    with pytest.raises(ConnectionError):
        await waiting
    with pytest.raises(ConnectionError):
        await rig.connection.drained()
    rig.connection.write(b"late")

    assert rig.transport.written == []


async def test_a_fault_of_the_upload_is_the_fault_of_the_call(rig: Rig) -> None:
    """The client's, not the provider's; without a call it is nobody's."""
    stalled = MalformedRequest("stalled")
    incoming = rig.begin()
    rig.connection.uploaded(stalled)

    assert incoming.fault is stalled
    rig.connection.uploaded(MalformedRequest("again"))
    assert incoming.fault is stalled


async def test_a_connection_that_said_something_before_it_was_made_is_not_used() -> None:
    """TLS through a tunnel: the provider's bytes may come before the transport is known."""
    household = Household(Deadlines(asyncio.get_running_loop()), KEPT)
    early = UpstreamConnection(household, {}, "h")
    early.data_received(b"HTTP/1.1 200 OK\r\n")
    transport = FakeTransport()
    early.connection_made(cast("asyncio.Transport", transport))

    assert transport.aborted
    assert not early.join()
    transport.close()
