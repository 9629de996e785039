"""An answer as it is read: in order, to its end or its fault, with a bound on what waits."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine

import pytest

from proxy.errors import UpstreamUnavailable
from proxy.wire.answer import Answer
from tests.fakes_wire import answer, chunk, chunked_head, turn

LOST = UpstreamUnavailable("lost", kind="reset")


class FakeLink:
    """The connection, which notes what it is asked for."""

    def __init__(self) -> None:
        self.paused = False
        self.is_cut = False
        self.unread: list[bytes] = []

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def expect_more_within(self, seconds: float) -> None:
        self.idle_seconds = seconds

    def has_unread(self) -> bool:
        return bool(self.unread)

    def unread_bytes(self) -> int:
        return sum(map(len, self.unread))

    def cut(self) -> None:
        self.is_cut = True


class Taker:
    """Takes pieces, and says whether it wants more."""

    def __init__(self, *, more: bool = True) -> None:
        self.pieces: list[bytes] = []
        self._more = more

    def __call__(self, piece: bytes) -> bool:
        self.pieces.append(piece)
        return self._more


@pytest.fixture
async def link() -> FakeLink:
    return FakeLink()


@pytest.fixture
async def streamed(link: FakeLink) -> Answer:
    """An answer whose head has come, and whose body has not."""
    streamed = Answer(link, "h", {}, asyncio.get_running_loop())
    streamed.feed(chunked_head())
    return streamed


async def body_of(chunks: AsyncIterator[bytes]) -> tuple[bytes, BaseException | None]:
    came = b""
    try:
        async for part in chunks:
            came += part
    except UpstreamUnavailable as exc:
        return came, exc
    return came, None


async def test_the_head_is_waited_for_past_interim_ones(link: FakeLink) -> None:
    """And however it is cut."""
    incoming = Answer(link, "h", {}, asyncio.get_running_loop())
    waiting = asyncio.ensure_future(incoming.begun())
    for segment in (b"HTTP/1.1 103 E\r\n\r\n", b"HTTP/1.1 2", b"00 OK\r\n"):
        incoming.feed(segment)
        await turn()
        assert not waiting.done()
    incoming.feed(b"Content-Length: 5\r\n\r\n")
    await waiting

    assert (incoming.status, incoming.headers) == (200, (("Content-Length", "5"),))


async def test_a_fault_before_the_head_is_raised_where_it_is_waited_for(link: FakeLink) -> None:
    """Whether it came before or after."""
    for early in (True, False):
        incoming = Answer(link, "h", {}, asyncio.get_running_loop())
        if early:
            incoming.end(LOST)
        waiting = asyncio.ensure_future(incoming.begun())
        await turn()
        incoming.end(LOST)
        with pytest.raises(UpstreamUnavailable, match="lost"):
            await waiting


async def test_nobody_is_woken_for_a_piece_who_waits_for_the_end(streamed: Answer) -> None:
    """A hundred chunks of an answer that is read whole are one turn of its task."""
    reading = asyncio.ensure_future(streamed.read(10_000))
    await turn()
    waiter = streamed._waiter
    for number in range(100):
        streamed.feed(chunk(b"%02d" % number))
        await turn()
        assert streamed._waiter is waiter
    streamed.feed(chunk(b""))

    assert await reading == b"".join(b"%02d" % number for number in range(100))


async def test_pieces_of_one_segment_are_taken_together(streamed: Answer) -> None:
    """One write to the client, not ten."""
    taker = Taker()
    passing = asyncio.ensure_future(streamed.pass_on(taker))
    await turn()
    streamed.feed(chunk(b"a") + chunk(b"b"))
    streamed.feed(chunk(b"c"))
    streamed.feed(chunk(b"d") + chunk(b""))

    assert await passing is False
    assert taker.pieces == [b"ab", b"c", b"d"]
    assert streamed._take is None  # or it and who reads it would hold each other


async def test_what_a_taker_is_not_ready_for_waits_for_it(streamed: Answer) -> None:
    """It said False and is given nothing until it asks; then what came first comes first."""
    taker = Taker(more=False)
    passing = asyncio.ensure_future(streamed.pass_on(taker))
    await turn()
    for piece in (b"a", b"b", b"c"):
        streamed.feed(chunk(piece))
    assert await passing is True
    assert taker.pieces == [b"a"]
    assert await streamed.pass_on(taker) is True
    assert taker.pieces == [b"a", b"bc"]
    streamed.feed(chunk(b""))

    assert await streamed.pass_on(taker) is False


async def test_a_taker_that_says_no_to_the_last_piece_is_asked_to_come_again(
    streamed: Answer,
) -> None:
    """The end is told apart from a pause."""
    passing = asyncio.ensure_future(streamed.pass_on(Taker(more=False)))
    await turn()
    streamed.feed(chunk(b"a") + chunk(b""))

    assert await passing is True
    assert await streamed.pass_on(Taker(more=False)) is False


async def test_what_came_before_a_fault_is_given_before_it(link: FakeLink) -> None:
    """In the same segment or not; it was billed."""
    for bad, kind in ((b"zz\r\n", "malformed"), (b"", "reset")):
        broken = [Answer(link, "h", {}, asyncio.get_running_loop()) for _ in range(2)]
        for incoming in broken:
            incoming.feed(chunked_head())
            incoming.feed(chunk(b"first") + bad)
            incoming.end(LOST)
        came, fault = await body_of(broken[0].chunks())
        taker = Taker()
        with pytest.raises(UpstreamUnavailable) as raised:
            await broken[1].pass_on(taker)

        assert (came, taker.pieces) == (b"first", [b"first"])
        assert isinstance(fault, UpstreamUnavailable)
        assert fault.kind == raised.value.kind == kind


async def test_an_error_of_the_taker_is_raised_to_who_passes_on(streamed: Answer) -> None:
    """Once; the answer is over."""

    def fail(piece: bytes) -> bool:
        raise ZeroDivisionError

    passing = asyncio.ensure_future(streamed.pass_on(fail))
    await turn()
    streamed.feed(chunk(b"a"))
    with pytest.raises(ZeroDivisionError):
        await passing

    assert streamed.over
    assert not streamed.whole


async def test_more_than_a_bound_unread_pauses_the_provider(
    streamed: Answer, link: FakeLink
) -> None:
    """Until somebody waits again."""
    streamed.feed(chunk(b"x" * 65_536))
    assert not link.paused
    streamed.feed(chunk(b"y"))
    assert link.paused
    chunks = streamed.chunks()
    assert await anext(chunks) == b"x" * 65_536 + b"y"
    assert link.paused
    waiting = asyncio.ensure_future(anext(chunks))
    await turn()
    assert not link.paused
    streamed.feed(chunk(b"z"))
    assert await waiting == b"z"
    assert not link.paused
    streamed.feed(chunk(b"x" * 65_537))

    assert link.paused


async def test_a_read_may_hold_its_limit_and_is_cut_beyond_it(
    streamed: Answer, link: FakeLink
) -> None:
    """It does not pause before: it would wait for itself."""
    reading = asyncio.ensure_future(streamed.read(200_000))
    await turn()
    streamed.feed(chunk(b"x" * 200_000))
    await turn()
    assert not link.paused
    assert not streamed.over
    streamed.feed(chunk(b"y"))
    assert streamed.over
    with pytest.raises(UpstreamUnavailable, match="larger than 200000"):
        await reading


@pytest.mark.parametrize("whole", [True, False])
async def test_a_limit_that_was_passed_before_the_read_holds_too(
    link: FakeLink, whole: bool
) -> None:
    """And nothing is left of it."""
    incoming = Answer(link, "h", {}, asyncio.get_running_loop())
    incoming.feed(answer(b"x" * 2_000)[: None if whole else -1])
    with pytest.raises(UpstreamUnavailable) as fault:
        await incoming.read(1_000)

    assert fault.value.kind == "malformed"
    assert link.is_cut is not whole
    assert incoming.pieces == []


async def test_closing_cuts_what_is_not_whole_and_nothing_else(link: FakeLink) -> None:
    """A whole answer's connection has another call on it already."""
    for raw, cut in ((answer(b"ab"), False), (answer(b"ab")[:-1], True)):
        incoming = Answer(link, "h", {}, asyncio.get_running_loop())
        incoming.feed(raw)
        incoming.close()
        incoming.close()

        assert link.is_cut is cut
        assert await body_of(incoming.chunks()) == (b"", None)
        assert await incoming.read(10) == b""
        assert await incoming.pass_on(Taker()) is False


@pytest.mark.parametrize("how", ["read", "chunks"])
async def test_cancelling_whoever_reads_cuts_the_call(
    streamed: Answer, link: FakeLink, how: str
) -> None:
    """A provider must not work for nobody."""
    waits: dict[str, Callable[[], Coroutine[None, None, object]]] = {
        "read": lambda: streamed.read(10),
        "chunks": lambda: body_of(streamed.chunks()),
    }
    waiting = asyncio.ensure_future(waits[how]())
    await turn()
    waiting.cancel()
    await asyncio.wait([waiting])

    assert waiting.cancelled()
    assert link.is_cut
    assert streamed.over


async def test_cancelling_whoever_is_passed_to_leaves_what_arrives(
    streamed: Answer, link: FakeLink
) -> None:
    """Who was passed to is passed nothing more; whoever closes it may take what has come first."""
    taker, rest = Taker(), Taker()
    waiting = asyncio.ensure_future(streamed.pass_on(taker))
    await turn()
    waiting.cancel()
    streamed.feed(chunk(b"a"))
    await asyncio.wait([waiting])
    streamed.feed(chunk(b"b"))
    await streamed.take_arrived(rest)

    assert waiting.cancelled()
    assert not link.is_cut
    assert (taker.pieces, rest.pieces) == ([b"a"], [b"b"])
    streamed.close()
    assert link.is_cut


async def _reads(incoming: Answer, link: FakeLink, turns: int) -> None:
    """What a loop does: a segment a turn, of a transport that reads."""
    for _ in range(turns):
        if link.unread and not link.paused:
            incoming.feed(link.unread.pop(0))
        await turn()


async def test_what_has_arrived_is_taken_whoever_has_not_read_it(
    streamed: Answer, link: FakeLink
) -> None:
    """What waits here, and what the kernel has; with nothing more, nobody waits for more. A taker
    that wants no more is given all the same: it was billed."""
    streamed.feed(chunk(b"a"))
    link.unread = [chunk(b"%d" % number) for number in range(10)]
    reading = asyncio.ensure_future(_reads(streamed, link, 50))
    taker = Taker(more=False)
    await streamed.take_arrived(taker)

    assert b"".join(taker.pieces) == b"a0123456789"
    assert not reading.done()
    await reading
    link.unread = [chunk(b"b")]
    await _reads(streamed, link, 1)
    assert b"".join(taker.pieces) == b"a0123456789"


async def test_what_waits_is_told_as_a_part_of_what_was_read(
    streamed: Answer, link: FakeLink
) -> None:
    """Unread: while somebody reads, a provider goes on, and its bill does."""
    read, waits = chunk(b"a" * 1_000), b"b" * 300
    before = len(chunked_head()) + len(read)
    reading = asyncio.ensure_future(streamed.pass_on(Taker(more=False)))
    await turn()
    streamed.feed(read)
    await reading
    assert streamed.unread_part() == 0.0

    streamed.feed(chunk(waits))
    link.unread = [b"c" * 200]

    assert streamed.unread_part() == 500 / (before + len(chunk(waits)) - 300)
    assert streamed.pieces == [waits]
    streamed.feed(chunk(b""))
    assert streamed.over
    assert streamed.unread_part() == 300 / (before + len(chunk(waits)) - 300 + len(chunk(b"")))


async def test_of_an_answer_that_nobody_has_read_there_is_no_part(link: FakeLink) -> None:
    """What one token of it takes is not known."""
    link.unread = [b"a"]
    streamed = Answer(link, "h", {}, asyncio.get_running_loop())

    assert streamed.unread_part() == 0.0


async def test_a_provider_that_never_stops_is_left_all_the_same(
    streamed: Answer, link: FakeLink
) -> None:
    """Or who pays for it would wait for it, and pay on."""
    link.unread = [chunk(b"x") for _ in range(200)]
    reading = asyncio.ensure_future(_reads(streamed, link, 200))
    taker = Taker()
    await streamed.take_arrived(taker)
    reading.cancel()

    assert 30 <= len(taker.pieces) <= 34


async def test_an_end_that_has_arrived_ends_the_taking(streamed: Answer, link: FakeLink) -> None:
    """And its connection is another call's by then."""
    link.unread = [chunk(b"a"), chunk(b""), b"nothing of it"]
    reading = asyncio.ensure_future(_reads(streamed, link, 2))
    taker = Taker()
    await streamed.take_arrived(taker)
    await reading

    assert taker.pieces == [b"a"]
    assert streamed.over
    assert not link.is_cut


async def test_what_is_left_of_a_whole_answer_leaves_its_connection_alone(
    streamed: Answer, link: FakeLink
) -> None:
    """It is another call's by then, and may be paused for that one's client."""
    streamed.feed(chunk(b"a") + chunk(b""))
    link.paused = True
    taker = Taker()
    await streamed.take_arrived(taker)

    assert taker.pieces == [b"a"]
    assert link.paused


async def test_what_waits_at_a_provider_that_was_paused_is_let_come(
    streamed: Answer, link: FakeLink
) -> None:
    """Its own buffers are full by then, and empty themselves as soon as somebody reads."""
    streamed.feed(chunk(b"x" * 70_000))
    assert link.paused
    loop = asyncio.get_running_loop()
    loop.call_later(0.03, streamed.feed, chunk(b"y"))
    taker = Taker()
    began = loop.time()
    await streamed.take_arrived(taker)

    assert taker.pieces == [b"x" * 70_000, b"y"]
    assert not link.paused
    assert loop.time() - began < 1.0
