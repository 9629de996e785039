"""A client or provider that is gone at any byte of a request or an answer, on a whole sidecar.

The wire alone is tested so in test_wire_attacks.py and test_wire_client_attacks.py; here it is what
was held and booked that may not depend on where it broke.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from proxy.core import events as ev
from proxy.core.request import DialectName
from tests.fakes_wire import Answer, End, RawClient, Script, ScriptedUpstream, chunk, turn
from tests.fuzz.answers import body_of
from tests.fuzz.books import wrong_in_log
from tests.fuzz.cases import Case, post
from tests.fuzz.client import wrong_with
from tests.fuzz.fidelity import wrong_with_stream
from tests.fuzz.seeds import INPUT_TOKENS, PATHS, honest_answer, honest_events, request_of
from tests.integration.kit import Sidecar, sidecar

POLICY: Final = """
prices: {"*": {input: 1.0, output: 2.0}}
breakers: {consecutive_failures: 10000, minimum_calls: 10000}
retries: {join_seconds: 0, max: 0}
"""
KINDS: Final[dict[str, tuple[DialectName, bool]]] = {
    "chat": ("chat", True),
    "responses": ("responses", True),
    "messages": ("messages", True),
    "unstreamed": ("chat", False),
}
every_kind = pytest.mark.parametrize(("dialect", "stream"), KINDS.values(), ids=KINDS.keys())
every_way = pytest.mark.parametrize("how", [End.CLOSE, End.RESET])


def asked(dialect: DialectName, stream: bool, session: str) -> bytes:
    """A call whose usage is not taken out again."""
    request = request_of(dialect, stream=stream)
    if stream and dialect == "chat":
        request["stream_options"] = {"include_usage": True}
    return post(1, f"/s/{session}{PATHS[dialect]}", json.dumps(request).encode())


def said(dialect: DialectName, stream: bool) -> bytes:
    """An answer as it comes, each event in a chunk of its own."""
    head = b"HTTP/1.1 200 OK\r\nx-up: 1\r\ncontent-type: %b\r\n"
    if not stream:
        body = honest_answer(dialect)
        length = b"content-length: %d\r\n\r\n" % len(body)
        return head % b"application/json" + length + body
    chunks = b"".join(map(chunk, (*honest_events(dialect), b"")))
    return head % b"text/event-stream" + b"transfer-encoding: chunked\r\n\r\n" + chunks


def cuts_of(dialect: DialectName, raw: bytes) -> range:
    """Every byte; in the longer answers, whose framing is the same, one in seven."""
    return range(0, len(raw), 1 if dialect == "chat" else 7)


@asynccontextmanager
async def before(folder: Path, *scripts: Script) -> AsyncIterator[tuple[ScriptedUpstream, Sidecar]]:
    """A sidecar and its provider; at the end nothing is left of any call."""
    async with ScriptedUpstream(*scripts) as up, sidecar(folder, POLICY, upstream=up.url) as on:
        tasks = len(asyncio.all_tasks())
        yield up, on
        await up.stop()
        async with asyncio.timeout(5):
            while on.app.ledger.running or len(asyncio.all_tasks()) > tasks:
                await turn()
        assert await on.app.store.open_holds() == []


async def logs(on: Sidecar) -> list[list[ev.AnyEvent]]:
    """Of all sessions; each call in them has its one end."""
    while on.app.ledger.running:
        await turn()
    rows, _ = await on.app.store.list_sessions(limit=10_000)
    found = [[one.event for one in await on.app.store.read(row.key)] for row in rows]
    assert [wrong for log in found for wrong in wrong_in_log(log)] == []
    return found


def booked(log: list[ev.AnyEvent]) -> int:
    """What the settlements of a session come to."""
    return sum(event.cost_micro_usd for event in log if isinstance(event, ev.StepSettled))


@every_way
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_request_cut_at_any_byte_costs_nothing(
    tmp_path: Path, stream: bool, how: End
) -> None:
    """No session is opened for it, nothing is held, and the provider does not hear of it."""
    raw = asked("chat", stream, "s1")
    async with before(tmp_path) as (up, on):
        for at in range(len(raw)):
            async with await RawClient.connect(on.app.port) as client:
                await client.send(raw[:at])
                if at % 2:
                    await turn()
                client.close(how)
        for _ in range(50):
            await turn()

        assert await logs(on) == []
        assert up.seen_bytes == b""


@every_way
@every_kind
async def test_a_client_that_leaves_at_any_byte_of_an_answer_has_paid_for_it(
    tmp_path: Path, dialect: DialectName, stream: bool, how: End
) -> None:
    """As far as it had come, or whole where nobody knows; the provider is left at once."""
    raw = said(dialect, stream)
    cuts = cuts_of(dialect, raw)
    scripts: list[Script] = [[raw[:at], End.HOLD] for at in cuts]
    async with before(tmp_path, *scripts) as (up, on):
        for number, at in enumerate(cuts, 1):
            async with await RawClient.connect(on.app.port) as client:
                await client.send(asked(dialect, stream, f"s{at}"))
                await up.wait_for_requests(number)
                if number % 2:
                    await turn()
                client.close(how)
                await up.wait_for_disconnects(number)

        told = await logs(on)
        assert len(told) == len(cuts)
        assert min(map(booked, told)) >= INPUT_TOKENS


@every_way
@every_kind
async def test_a_provider_that_leaves_at_any_byte_of_an_answer_never_ends_it(
    tmp_path: Path, dialect: DialectName, stream: bool, how: End
) -> None:
    """Nothing that looks whole, no event that had come is lost, and all of it is booked."""
    raw = said(dialect, stream)
    cuts = cuts_of(dialect, raw)
    scripts: list[Script] = [[raw[:at], how] for at in cuts]
    async with before(tmp_path, *scripts) as (_, on):
        for at in cuts:
            async with await RawClient.connect(on.app.port) as client:
                await client.send(asked(dialect, stream, f"s{at}"))
                answer = await client.read_answer()
            assert wrong(answer, dialect, raw[:at], how) is None, raw[:at]

        told = await logs(on)
        assert len(told) == len(cuts)
        assert min(map(booked, told)) >= INPUT_TOKENS


def wrong(answer: Answer, dialect: DialectName, sent: bytes, how: End) -> str | None:
    """None for a refusal in the dialect, or for what was said with an end that is none."""
    if answer.status == 200 and answer.header("content-type") == "text/event-stream":
        return wrong_with_stream(body_of(sent), answer.body, all_came=how is End.CLOSE)
    return wrong_with(Case(1, b"POST", dialect=dialect, plan=(), ends=False), answer)
