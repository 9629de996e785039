"""Answers of the simulated provider in another dialect, read as strictly as its own.

Whatever a stream breaks off with, its translation does not end well; and however the bytes come, it
is the same.
"""

import json
from collections.abc import AsyncIterator, Iterable

import aiohttp
import pytest

from proxy.admin.shapes import Json
from proxy.core.request import DialectName
from proxy.core.translation.registry import translation
from proxy.simulator import Script, Simulator, ToolCall, Turn
from tests.faults.providers import FIRST, TOOL
from tests.faults.reading import Got, Read, read
from tests.integration.kit import PATHS, body_of

PAIRS: tuple[tuple[DialectName, DialectName], ...] = (
    ("chat", "messages"),
    ("messages", "chat"),
    ("responses", "chat"),
    ("responses", "messages"),
)
WORDS = Script((FIRST.turn,))
FINISH = {"chat": b'"finish_reason":"tool_calls"', "messages": b'"stop_reason":"tool_use"'}
"""With this an answer is whole, whatever a provider says after it."""
BOUNDED = {"chat": "length", "messages": "max_tokens", "responses": "incomplete"}
STOPPED = {"chat": "stop", "messages": "end_turn", "responses": "completed"}
CREATED = 1_790_000_000
every_pair = pytest.mark.parametrize(
    ("client", "spoken"), PAIRS, ids=[f"{c} on {s}" for c, s in PAIRS]
)
streamed_or_not = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"authorization": "Bearer k", "anthropic-version": "2023-06-01"}
    async with aiohttp.ClientSession(headers=headers) as session:
        yield session


def request(client: DialectName, *, stream: bool) -> bytes:
    """What a client asks; a chat for its usage as well, as we do on the way."""
    body: dict[str, Json] = body_of(client, stream=stream, model=FIRST.name, tools=(TOOL,))
    if client == "chat" and stream:
        body["stream_options"] = {"include_usage": True}
    return json.dumps(body).encode()


async def answered(
    http: aiohttp.ClientSession,
    client: DialectName,
    spoken: DialectName,
    *,
    stream: bool,
    fault: str = "",
    script: Script = WORDS,
) -> Got:
    """What the simulated provider says to the translated request, in its own dialect."""
    between = translation(client, spoken)
    assert between is not None
    sent = json.loads(between.request(request(client, stream=stream), output_bound=500))
    if stream and spoken == "chat":
        sent["stream_options"] = {"include_usage": True}
    async with Simulator(script, seed=1) as sim:
        if fault:
            sim.fail(fault)
        async with http.post(sim.url + PATHS[spoken], json=sent) as got:
            return Got(got.status, got.content_type, await got.read())


def streamed(client: DialectName, spoken: DialectName, chunks: Iterable[bytes]) -> bytes:
    """The translation of a stream that comes in these chunks, and then ends."""
    between = translation(client, spoken)
    assert between is not None
    translated = between.stream(request(client, stream=True), created=CREATED)
    return b"".join(translated.feed(chunk) for chunk in chunks) + translated.close()


def read_stream(client: DialectName, body: bytes) -> Read:
    return read(client, True, Got(200, "text/event-stream", body))


@every_pair
@streamed_or_not
async def test_nothing_of_an_answer_is_lost(
    http: aiohttp.ClientSession, client: DialectName, spoken: DialectName, stream: bool
) -> None:
    """Text, call, reason and usage."""
    own = await answered(http, client, spoken, stream=stream)
    meant = read(spoken, stream, own)
    asked = request(client, stream=stream)
    between = translation(client, spoken)
    assert between is not None
    if stream:
        body, kind = streamed(client, spoken, [own.body]), "text/event-stream"
    else:
        body, kind = between.answer(own.body, asked=asked, created=CREATED), "application/json"
    found = read(client, stream, Got(200, kind, body))

    assert found.ending == "answer", found.message
    assert (found.said.text, found.said.calls) == (meant.said.text, meant.said.calls)
    assert found.said.finish == FIRST.said(client).finish
    assert found.said.input_tokens == meant.said.input_tokens > 0
    assert found.said.output_tokens == meant.said.output_tokens > 0


@every_pair
async def test_a_stream_is_the_same_however_it_comes(
    http: aiohttp.ClientSession, client: DialectName, spoken: DialectName
) -> None:
    own = (await answered(http, client, spoken, stream=True)).body
    whole = streamed(client, spoken, [own])

    assert streamed(client, spoken, (own[i : i + 1] for i in range(len(own)))) == whole


@every_pair
async def test_a_stream_that_breaks_off_has_no_end(
    http: aiohttp.ClientSession, client: DialectName, spoken: DialectName
) -> None:
    """At any byte before its finish reason; and what came is a beginning of what was meant."""
    own = (await answered(http, client, spoken, stream=True)).body
    finish = own.index(FINISH[spoken])
    meant = read_stream(client, streamed(client, spoken, [own])).said

    for at in range(finish):
        found = read_stream(client, streamed(client, spoken, [own[:at]]))
        assert found.ending == "broken", own[:at][-80:]
        assert meant.text.startswith(found.said.text)


@every_pair
@pytest.mark.parametrize("fault", ["error_event=0", "error_event=6", "failed_event=6"])
async def test_an_error_inside_a_stream_ends_it_as_the_client_knows_it(
    http: aiohttp.ClientSession, client: DialectName, spoken: DialectName, fault: str
) -> None:
    told = f"{fault};message=Too busy today"
    own = await answered(http, client, spoken, stream=True, fault=told)
    found = read_stream(client, streamed(client, spoken, [own.body]))

    assert found.ending == "stream error", found.message
    assert "Too busy today" in found.message


@every_pair
async def test_an_unreadable_line_is_passed_over(
    http: aiohttp.ClientSession, client: DialectName, spoken: DialectName
) -> None:
    own = await answered(http, client, spoken, stream=True, fault="malformed_sse=3")
    found = read_stream(client, streamed(client, spoken, [own.body]))

    assert found.ending == "answer", found.message
    assert found.said.text == FIRST.turn.text


@every_pair
@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 529])
async def test_an_error_is_told_in_the_clients_dialect(
    http: aiohttp.ClientSession, client: DialectName, spoken: DialectName, status: int
) -> None:
    fault = f"status={status};message=Not with me"
    own = await answered(http, client, spoken, stream=False, fault=fault)
    between = translation(client, spoken)
    assert between is not None
    body = between.error(own.status, own.body)
    found = read(client, False, Got(status, "application/json", body))

    assert found.ending == "error", found.message
    assert found.message == "Not with me"


@every_pair
@pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b"", b"\xff", b"[]", b"{}", b"null"])
def test_what_is_no_error_becomes_one(
    client: DialectName, spoken: DialectName, body: bytes
) -> None:
    between = translation(client, spoken)
    assert between is not None
    found = read(client, False, Got(502, "application/json", between.error(502, body)))

    assert found.ending == "error", found.message
    assert "html" not in found.message.lower()


@every_pair
@streamed_or_not
async def test_two_calls_at_once_and_a_cut_answer(
    http: aiohttp.ClientSession, client: DialectName, spoken: DialectName, stream: bool
) -> None:
    """Calls keep their order, and an answer that ran into its bound says so."""
    calls = tuple(ToolCall(TOOL, json.dumps({"q": word})) for word in ("one", "two"))
    for turn, finish in (
        (Turn("", tool_calls=calls), FIRST.said(client).finish),
        (Turn("Half a", finish="length"), BOUNDED[client]),
        (Turn("All of it."), STOPPED[client]),
    ):
        script = Script((turn,))
        own = await answered(http, client, spoken, stream=stream, script=script)
        between = translation(client, spoken)
        assert between is not None
        if stream:
            body, kind = streamed(client, spoken, [own.body]), "text/event-stream"
        else:
            asked = request(client, stream=False)
            body, kind = between.answer(own.body, asked=asked, created=CREATED), "application/json"
        found = read(client, stream, Got(200, kind, body))

        assert found.ending == "answer", found.message
        assert found.said.text == turn.text
        assert [arguments for _, arguments in found.said.calls] == [
            str(call.arguments) for call in turn.tool_calls
        ]
        assert found.said.finish == finish
