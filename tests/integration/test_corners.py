"""Corners of a call that were attacked with success once: cut, killed, unsettled, unfinished."""

import asyncio
import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxy.core import events as ev
from proxy.core.request import DialectName
from proxy.errors import StoreUnavailable
from proxy.simulator import Script, Turn
from proxy.stores import Append, Appended, Balance, Store
from tests.fakes_wire import End, ScriptedUpstream, Step, chunk, chunked_head
from tests.integration.kit import DIALECTS, Sidecar, sidecar
from tests.integration.test_control import ENDLESS, streaming
from tests.integration.test_streams import settled

SSE = "content-type: text/event-stream"


def event(data: object, name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()


CHAT = (
    event({"id": "c", "choices": [{"index": 0, "delta": {"content": "hello"}}]}),
    event({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
    event({"id": "c", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 5}}),
    b"data: [DONE]\n\n",
)
BEGUN = {"id": "m", "content": [], "usage": {"input_tokens": 5, "output_tokens": 1}}
WORDS = {"type": "text_delta", "text": "word " * 800}
UNSAID = (
    event({"type": "message_start", "message": BEGUN}, "message_start"),
    event({"type": "content_block_delta", "index": 0, "delta": WORDS}, "content_block_delta"),
    event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, "message_delta"),
    event({"type": "message_stop"}, "message_stop"),
)


class Settling:
    """The app's store, whose settlements wait, or fail, as a test says."""

    def __init__(self, on: Sidecar, *, fails: bool = False) -> None:
        self._store: Store = on.app.store
        self._fails = fails
        self.reached = asyncio.Event()
        self.gate = asyncio.Event()
        # It forwards what it does not hold back, which a type checker cannot see.
        on.app.ledger._folds._store = self  # type: ignore[assignment]

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def append(self, append: Append) -> Appended:
        if any(isinstance(e, ev.StepSettled) for e in append.events):
            self.reached.set()
            if self._fails:
                raise StoreUnavailable("gone")
            await self.gate.wait()
        return await self._store.append(append)


@contextmanager
def deaf_server() -> Iterator[str]:
    """The URL of a server whose queue is full: connecting to it takes for ever."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        for client in waiting:
            client.close()


async def idle(on: Sidecar) -> None:
    while on.app.ledger.running:
        await asyncio.wait([asyncio.ensure_future(on.app.ledger.drained())], timeout=0.01)


@pytest.mark.parametrize("how", ["client", "kill", "deadline"])
async def test_a_call_cut_while_it_connects_costs_nothing(tmp_path: Path, how: str) -> None:
    """Not a byte has left."""
    policy = "timeouts: {connect: 4}" + ("\ndeadline_seconds: 0.3" if how == "deadline" else "")
    with deaf_server() as url:
        async with sidecar(tmp_path, policy, upstream=url) as on:
            call = asyncio.ensure_future(on.call())
            while not (call.done() or on.app.ledger.running):
                await asyncio.wait([call], timeout=0.01)
            await on.app.ledger.drained()
            await asyncio.wait([call], timeout=0.05)
            if how == "kill":
                await on.admin("POST", "/sessions/s1/kill")
            elif how == "client":
                call.cancel()
            await asyncio.wait([call])
            await idle(on)

            shown = await on.admin("GET", "/sessions/s1")
            assert (shown["cost_usd"], shown["steps"], shown["held_usd"]) == (0, 0, 0)


async def test_a_provider_that_keeps_the_line_open_does_not_keep_the_client(
    tmp_path: Path,
) -> None:
    script: list[bytes | asyncio.Event | End]
    script = [chunked_head(SSE), *map(chunk, CHAT), End.HOLD]
    async with (
        ScriptedUpstream(script) as up,
        sidecar(tmp_path, upstream=up.url) as on,
        asyncio.timeout(5),
    ):
        got = await on.call(stream=True)

        assert not got.cut
        assert got.body.endswith(b"data: [DONE]\n\n")


async def test_a_kill_after_the_providers_end_takes_nothing_from_the_client(
    tmp_path: Path,
) -> None:
    """It has the whole answer; only the line was still open."""
    script: list[bytes | asyncio.Event | End]
    script = [chunked_head(SSE), *map(chunk, CHAT), End.HOLD]
    async with ScriptedUpstream(script) as up, sidecar(tmp_path, upstream=up.url) as on:
        call = asyncio.ensure_future(on.call(stream=True))
        while not (call.done() or await on.app.store.find_tenants("s1")):
            await asyncio.wait([call], timeout=0.01)
        await idle(on)
        await on.admin("POST", "/sessions/s1/kill")
        got = await call

        assert not got.cut
        assert got.body.endswith(b"data: [DONE]\n\n")


async def test_a_figure_of_the_beginning_is_not_taken_for_the_end(tmp_path: Path) -> None:
    """Else an answer of 800 words is booked as one token."""
    script = [chunked_head(SSE), *map(chunk, UNSAID), chunk(b"")]
    async with ScriptedUpstream(script) as up, sidecar(tmp_path, upstream=up.url) as on:
        assert (await on.call("messages", stream=True, bound=2000)).status == 200

        usage = (await settled(on)).usage
        assert usage is not None
        assert usage.output_tokens >= 800


@pytest.mark.parametrize("parallel", [False, True], ids=["in turn", "at once"])
async def test_what_the_provider_remembers_is_held_for(tmp_path: Path, parallel: bool) -> None:
    """Each continuation is billed for the whole memory, which no request shows."""
    policy = "limits: {cost_usd: 0.03}\naccounting: {min_output_tokens: 10}"
    script = Script((Turn(text_tokens=5, latency_seconds=0.05 if parallel else 0.0),))
    async with sidecar(tmp_path, policy, script=script) as on:
        first = await on.call("responses", input="word " * 10_000, store=True)
        again = [
            on.call("responses", input=f"on {n}", previous_response_id=first.json["id"])
            for n in range(8)
        ]
        if parallel:
            await asyncio.gather(*again)
        else:
            for call in again:
                await call

        billed = sum(e.input_tokens + 2 * e.output_tokens for e in on.sim.journal)
        assert first.status == 200
        assert 10_000 < billed <= 30_000


async def test_kill_cuts_though_the_store_is_gone(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/ledger.db"
    async with sidecar(tmp_path, script=ENDLESS, store=store) as on:
        stream = await streaming(on, "chat")
        for suffix in ("", "-wal", "-shm"):
            os.unlink(f"{tmp_path}/ledger.db{suffix}")
        told = await on.admin("POST", "/sessions/s1/kill")

        async with asyncio.timeout(3):
            rest = await stream.content.read()
        assert b"session_killed" in rest
        assert "store_unavailable" in str(told["error"])


async def test_nothing_that_came_while_more_was_asked_for_passes_a_cut(tmp_path: Path) -> None:
    """A provider that is faster than the store would give away all that came meanwhile."""
    asked, begun = asyncio.Event(), asyncio.Event()
    over = event({"id": "c", "choices": [{"index": 0, "delta": {"content": "over " * 4000}}]})
    rest = b"".join(chunk(CHAT[0]) for _ in range(50))
    script: list[Step] = [
        chunked_head(SSE),
        chunk(CHAT[0]),
        begun,
        chunk(over),
        asked,
        rest,
        End.HOLD,
    ]
    budget = "budgets: [{scope: tenant, cost_usd: 0.001, window: 1d}]\n"
    async with (
        ScriptedUpstream(script) as provider,
        sidecar(tmp_path, budget, upstream=provider.url) as on,
    ):
        balances = on.app.store.balances

        async def slow(accounts: Iterable[str]) -> Mapping[str, Balance]:
            if begun.is_set():
                asked.set()
                await on.app.clock.sleep(0.1)
            return await balances(accounts)

        on.app.store.balances = slow  # type: ignore[method-assign]
        response = await streaming(on, "chat")
        begun.set()
        body = await response.read()

        assert asked.is_set()
        assert b"over over" in body
        assert b"budget_exceeded" in body
        assert b"hello" not in body


async def test_a_kill_during_the_settlement_of_a_stream_is_told(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as on:
        store = Settling(on)
        call = asyncio.ensure_future(on.call(stream=True))
        await store.reached.wait()
        kill = asyncio.ensure_future(on.admin("POST", "/sessions/s1/kill"))
        await asyncio.wait([call, kill], timeout=0.1)
        store.gate.set()
        got = await call
        await kill

        assert not got.cut
        assert b"session_killed" in got.body


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_stream_whose_settlement_fails_ends_with_an_error(
    tmp_path: Path, dialect: DialectName
) -> None:
    """Whoever has seen the end must find it in the ledger."""
    async with sidecar(tmp_path) as on:
        Settling(on, fails=True)
        got = await on.call(dialect, stream=True)

        assert (got.status, got.cut) == (200, False)
        assert b"store_unavailable" in got.body


async def test_a_cut_is_told_though_it_cannot_be_settled(tmp_path: Path) -> None:
    async with sidecar(tmp_path, script=ENDLESS) as on:
        stream = await streaming(on, "chat")
        Settling(on, fails=True)
        await on.admin("POST", "/sessions/s1/kill")

        assert b"session_killed" in await stream.content.read()


async def test_a_kill_while_a_failed_call_is_settled_leaves_it_an_answer(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as on:
        on.sim.fail("reset")
        store = Settling(on)
        call = asyncio.ensure_future(on.call())
        await store.reached.wait()
        kill = asyncio.ensure_future(on.admin("POST", "/sessions/s1/kill"))
        await asyncio.wait([call, kill], timeout=0.1)
        store.gate.set()
        await kill

        assert (await call).status in (422, 503)


async def test_a_kill_is_told_with_the_status_of_the_client(tmp_path: Path) -> None:
    """Codex sends a 422 again five times."""
    async with sidecar(tmp_path) as on:
        on.sim.fail("slow_head=60")
        codex = {"user-agent": "codex_exec/0.169.0 (Linux)"}
        call = asyncio.ensure_future(on.call("responses", headers=codex))
        await on.sim.wait_for(lambda sim: len(sim.journal) == 1)
        await on.admin("POST", "/sessions/s1/kill")

        got = await call
        assert (got.status, got.error["code"]) == (400, "session_killed")
