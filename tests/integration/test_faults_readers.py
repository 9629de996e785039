"""The strict readers of the fault matrix: they must see what clients do not."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from proxy.core.request import DialectName
from tests.faults.providers import FIRST, TOOL, borders, provider
from tests.faults.reading import Got, Read, read
from tests.integration.kit import DIALECTS, PATHS, body_of

every_dialect = pytest.mark.parametrize("dialect", DIALECTS)
streamed_or_not = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
NOTHING = (b"ping", b'"partial_json":""', b'"role":"assistant","content":""')
"""Events that say nothing: with or without them an answer is the same."""
EVENTS = "text/event-stream"


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"authorization": "Bearer k", "anthropic-version": "2023-06-01"}
    async with aiohttp.ClientSession(headers=headers) as session:
        yield session


async def answer(http: aiohttp.ClientSession, dialect: DialectName, *, stream: bool) -> Got:
    """What a healthy provider says."""
    body = body_of(dialect, stream=stream, model=FIRST.name, tools=(TOOL,))
    async with (
        provider("first", FIRST, None) as one,
        http.post(one.url + PATHS[dialect], json=body) as got,
    ):
        return Got(got.status, got.content_type, await got.read())


def read_stream(dialect: DialectName, body: bytes, *, cut: bool = False) -> Read:
    return read(dialect, True, Got(200, EVENTS, body, cut))


@every_dialect
@streamed_or_not
async def test_a_healthy_answer_is_read_whole(
    http: aiohttp.ClientSession, dialect: DialectName, stream: bool
) -> None:
    found = read(dialect, stream, await answer(http, dialect, stream=stream))
    meant = FIRST.said(dialect)

    assert found.ending == "answer", found.message
    assert (found.said.text, found.said.calls) == (meant.text, meant.calls)
    assert found.said.finish == meant.finish


@every_dialect
async def test_a_stream_that_ends_anywhere_else_is_broken(
    http: aiohttp.ClientSession, dialect: DialectName
) -> None:
    """Cut at any byte, or whole on a connection that was cut."""
    body = (await answer(http, dialect, stream=True)).body

    assert {read_stream(dialect, body[:at]).ending for at in range(len(body))} == {"broken"}
    assert read_stream(dialect, body, cut=True).ending == "broken"


@every_dialect
async def test_no_event_may_be_missing_or_come_twice_or_follow_the_end(
    http: aiohttp.ClientSession, dialect: DialectName
) -> None:
    body = (await answer(http, dialect, stream=True)).body
    events = [event + b"\n\n" for event in body.split(b"\n\n")[:-1]]
    meant = FIRST.said(dialect)

    for at, event in enumerate(events):
        without = read_stream(dialect, b"".join(events[:at] + events[at + 1 :]))
        twice = read_stream(dialect, b"".join([*events[: at + 1], event, *events[at + 1 :]]))
        if any(nothing in event for nothing in NOTHING):
            continue
        for found in (without, twice):
            said = (found.said.text, found.said.calls)
            assert found.ending == "broken" or said != (meant.text, meant.calls), event
    assert read_stream(dialect, body + events[0]).ending == "broken"


@every_dialect
@streamed_or_not
async def test_another_dialect_is_broken(
    http: aiohttp.ClientSession, dialect: DialectName, stream: bool
) -> None:
    for other in DIALECTS:
        if other != dialect:
            told = await answer(http, other, stream=stream)

            assert read(dialect, stream, told).ending == "broken"


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        ("chat", b'{"type":"error","error":{"type":"a","message":"b"}}'),
        ("responses", b'{"type":"error","error":{"type":"a","message":"b"}}'),
        ("messages", b'{"error":{"type":"a","message":"b"}}'),
        ("chat", b"<html></html>"),
        ("chat", b""),
    ],
)
def test_an_error_of_another_dialect_is_broken(dialect: DialectName, body: bytes) -> None:
    assert read(dialect, False, Got(503, "application/json", body)).ending == "broken"


@every_dialect
async def test_the_cuts_are_at_every_border(dialect: DialectName) -> None:
    assert await borders(dialect) > 10
