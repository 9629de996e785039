"""Answers of another dialect, seen by whoever reads an answer: nothing of it is left."""

import json
from collections.abc import Callable

import pytest

from proxy.core.translation.responses_via_chat.translation import RESPONSES_VIA_CHAT
from proxy.errors import UpstreamUnavailable
from proxy.translated import translated
from proxy.wire import Incoming
from tests.fakes_answers import PlayedAnswer

ASKED = b'{"model":"m","input":"hi","stream":true}'
EVENTS = "text/event-stream; charset=utf-8"
TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"So"},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
ANSWER = b'{"choices":[{"message":{"content":"So"},"finish_reason":"stop"}]}'


def told(played: PlayedAnswer) -> Incoming:
    return translated(played, RESPONSES_VIA_CHAT, ASKED, 7)


def kinds(stream: bytes) -> list[str]:
    names = [line[7:] for line in stream.decode().split("\n") if line.startswith("event: ")]
    return [name.removeprefix("response.") for name in names]


def never(piece: bytes) -> bool:
    pytest.fail(f"{piece!r} after the end")


def collecting(taken: list[bytes]) -> Callable[[bytes], bool]:
    def take(piece: bytes) -> bool:
        taken.append(piece)
        return True

    return take


async def all_of(incoming: Incoming) -> bytes:
    return b"".join([piece async for piece in incoming.chunks()])


@pytest.mark.parametrize("end", [DONE, b""])
async def test_a_stream_comes_in_the_clients_dialect(end: bytes) -> None:
    """Piece by piece, its end too where the provider only closes; however it is read."""
    pieces = (TEXT[:20], TEXT[20:], end)

    whole = await all_of(told(PlayedAnswer(200, EVENTS, *pieces)))
    read = await told(PlayedAnswer(200, EVENTS, *pieces)).read(1000)
    taken: list[bytes] = []
    passing = told(PlayedAnswer(200, EVENTS, *pieces))
    more = await passing.pass_on(collecting(taken))

    assert kinds(whole)[0] == "created"
    assert kinds(whole)[-1] == "completed"
    assert whole == read == b"".join(taken)
    assert not more
    assert all(taken)
    assert not await passing.pass_on(never)


async def test_who_takes_it_may_wait_after_each_piece() -> None:
    """Also after what only comes of the end."""
    passing = told(PlayedAnswer(200, EVENTS, TEXT, b": alive\n\n"))
    taken: list[bytes] = []

    def take(piece: bytes) -> bool:
        taken.append(piece)
        return False

    came = [await passing.pass_on(take) for _ in range(4)]

    assert came == [True, True, True, False]
    assert kinds(taken[0])[-1] == "output_text.delta"
    assert taken[1] == b": keep-alive\n\n"
    assert kinds(taken[2])[-1] == "completed"


async def test_a_stream_that_breaks_off_has_no_end() -> None:
    assert "completed" not in kinds(await all_of(told(PlayedAnswer(200, EVENTS, TEXT[:-20]))))


@pytest.mark.parametrize("kind", ["application/json", "text/event-streams", ""])
async def test_a_whole_answer_is_one_in_the_clients_dialect(kind: str) -> None:
    half = len(ANSWER) // 2
    taken: list[bytes] = []

    def played() -> Incoming:
        return told(PlayedAnswer(200, kind, ANSWER[:half], ANSWER[half:]))

    passing = played()
    read = await played().read(1000)

    assert json.loads(read)["object"] == "response"
    assert await all_of(played()) == read
    assert not await passing.pass_on(collecting(taken))
    assert taken == [read]
    assert not await passing.pass_on(never)


@pytest.mark.parametrize("kind", ["application/json", EVENTS, "text/html"])
async def test_an_error_is_one_in_the_clients_dialect(kind: str) -> None:
    incoming = told(PlayedAnswer(429, kind, b'{"detail": "Slow down"}'))

    assert incoming.status == 429
    assert json.loads(await incoming.read(1000))["error"]["message"] == "Slow down"


async def test_headers_of_the_body_that_is_no_more_are_gone() -> None:
    stream = told(PlayedAnswer(200, EVENTS))
    whole = told(PlayedAnswer(200, "application/json", encoding="identity"))

    assert stream.headers == (("x-id", "1"), ("content-type", "text/event-stream"))
    assert whole.headers == (("x-id", "1"), ("content-type", "application/json"))


@pytest.mark.parametrize("kind", [EVENTS, "application/json"])
async def test_it_is_ended_and_let_go_like_the_answer_itself(kind: str) -> None:
    played = PlayedAnswer(200, kind)
    incoming = told(played)

    incoming.release()
    assert (played.released, played.closed) == (True, False)
    incoming.close()
    assert played.closed


async def test_a_compressed_answer_is_none() -> None:
    """It was asked for as it is."""
    played = PlayedAnswer(200, EVENTS, encoding="gzip")

    with pytest.raises(UpstreamUnavailable) as raised:
        told(played)

    assert raised.value.code == "upstream_malformed"
    assert played.closed
