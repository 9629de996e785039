"""Every fault of the simulated provider, seen from a client on a raw socket or with aiohttp."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import (
    ClientConnectionError,
    ClientConnectionResetError,
    ClientPayloadError,
    ClientSession,
    web,
)

from proxy.simulator import Fault, FaultKind, Script, Simulator, Turn
from tests.fakes_simulator import SteppedClock

KEY = {"authorization": "Bearer sk-test", "anthropic-version": "2023-06-01"}
CHAT: dict[str, object] = {"model": "gpt-5", "messages": [{"role": "user", "content": "Hello"}]}
BODIES: dict[str, dict[str, object]] = {
    "/v1/chat/completions": CHAT,
    "/v1/responses": {"model": "gpt-5", "input": "Hello"},
    "/v1/messages": {**CHAT, "max_tokens": 50},
}
PATHS = list(BODIES)


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator(seed=1) as simulator:
        yield simulator


@pytest.fixture
async def client() -> AsyncIterator[ClientSession]:
    async with ClientSession(headers=KEY) as session:
        yield session


async def raw(sim: Simulator, path: str, fault: str) -> tuple[bytes, bool]:
    """All bytes of a streamed answer, and whether the connection was reset."""
    host, port = sim.url.removeprefix("http://").split(":")
    body = json.dumps({**BODIES[path], "stream": True}).encode()
    reader, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer k\r\nconnection: close\r\n"
        f"anthropic-version: 1\r\nx-sim-fault: {fault}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    received = b""
    try:
        while chunk := await reader.read(65536):
            received += chunk
    except ConnectionResetError:
        return received, True
    finally:
        writer.close()
    return received, False


@pytest.mark.parametrize("path", PATHS)
async def test_a_status_is_told_in_the_dialect(
    sim: Simulator, client: ClientSession, path: str
) -> None:
    """With what the client needs to know about retrying; nothing is billed."""
    fault = {"x-sim-fault": "status=429;retry_after=1.5;message=Slow down"}

    answer = await client.post(sim.url + path, json=BODIES[path], headers=fault)
    error = (await answer.json())["error"]

    assert (answer.status, error["message"]) == (429, "Slow down")
    assert error["type"] == ("rate_limit_error" if path.endswith("messages") else "requests")
    assert answer.headers["retry-after-ms"] == "1500"
    assert sim.totals.input_tokens == 0


async def test_a_status_can_be_html_empty_or_carry_headers(
    sim: Simulator, client: ClientSession
) -> None:
    """Load balancers answer for providers that are down."""
    sim.fail("status=502;body=html", times=1)
    sim.fail("status=503;body=empty", times=1)
    sim.fail(Fault(FaultKind.STATUS, 429, code="insufficient_quota", headers=(("a", "b"),)))
    answers = [await client.post(sim.url + PATHS[0], json=CHAT) for _ in range(3)]
    sim.heal()
    healed = await client.post(sim.url + PATHS[0], json=CHAT)

    assert (await answers[0].text()).startswith("<html>")
    assert (answers[1].status, await answers[1].read()) == (503, b"")
    assert answers[2].headers["a"] == "b"
    assert (await answers[2].json())["error"]["code"] == "insufficient_quota"
    assert healed.status == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["malformed_json", "empty", "wrong_types"])
async def test_a_200_can_be_no_answer(
    sim: Simulator, client: ClientSession, fault: str, stream: bool
) -> None:
    """SDKs take some of these for empty answers: the proxy must not."""
    answer = await client.post(
        sim.url + PATHS[0], json=CHAT | {"stream": stream}, headers={"x-sim-fault": fault}
    )
    text = await answer.text()

    assert answer.status == 200
    if fault == "wrong_types":
        assert json.loads(text)["choices"] == "none"
    else:
        with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
            json.loads(text)
    assert (sim.totals.output_tokens > 0) == (fault == "malformed_json")


@pytest.mark.parametrize("path", PATHS)
async def test_an_error_event_ends_the_stream_with_nothing_after_it(
    sim: Simulator, path: str
) -> None:
    """Groq and Anthropic put errors into streams that began with 200."""
    received, _ = await raw(sim, path, "error_event=3;message=Too busy")
    last = [line for line in received.split(b"\n") if line.startswith(b"data: ")][-1]

    assert b"Too busy" in last
    assert b"[DONE]" not in received
    assert received.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    ("path", "name"), list(zip(PATHS, ("error", "response.failed", "error"), strict=True))
)
async def test_an_error_event_has_another_form(sim: Simulator, path: str, name: str) -> None:
    """Groq names its error events, and OpenAI fails whole responses."""
    received, _ = await raw(sim, path, "failed_event=3;message=Too busy")
    event, _, data = received.decode().rpartition("event: ")[2].partition("\n")

    assert event == name
    assert "Too busy" in data
    assert received.endswith(b"0\r\n\r\n")
    if name == "response.failed":
        failed = json.loads(data.splitlines()[0].removeprefix("data: "))
        assert failed["response"]["status"] == "failed"
        assert received.count(failed["response"]["id"].encode()) == 3


@pytest.mark.parametrize("path", PATHS)
async def test_a_malformed_line_does_not_end_the_stream(sim: Simulator, path: str) -> None:
    """One bad line must not kill the request."""
    received, _ = await raw(sim, path, "malformed_sse=2")

    assert b'"chatcmpl-, "choices"' in received
    assert received.endswith(b"0\r\n\r\n")
    assert sim.journal[0].output_tokens > 5


@pytest.mark.parametrize(("how", "clean"), [("eof", True), ("close", False), ("reset", False)])
@pytest.mark.parametrize("path", PATHS)
async def test_a_stream_can_be_cut_three_ways(
    sim: Simulator, path: str, how: str, clean: bool
) -> None:
    """Cut after three events: a clean end of the body, an unfinished body, a reset."""
    received, reset = await raw(sim, path, f"cut_events=3;how={how}")

    assert received.endswith(b"0\r\n\r\n") == clean
    assert reset == (how == "reset")
    assert sim.journal[0].events_sent == 3


@pytest.mark.parametrize("how", ["eof", "close"])
async def test_a_body_can_be_cut_at_any_byte(sim: Simulator, how: str) -> None:
    """In the middle of an event, of a UTF-8 sequence, of a number."""
    for size in (0, 1, 57, 400):
        await raw(sim, PATHS[0], f"cut_bytes={size};how={how}")

    assert [entry.bytes_sent for entry in sim.journal] == [0, 1, 57, 400]


async def test_an_unstreamed_body_can_be_cut(sim: Simulator, client: ClientSession) -> None:
    """With its content-length broken, or cleanly and with half the JSON."""
    clean = {"x-sim-fault": "cut_bytes=50"}
    broken = {"x-sim-fault": "cut_bytes=50;how=close"}
    answer = await client.post(sim.url + PATHS[0], json=CHAT, headers=clean)

    assert len(await answer.read()) == 50
    with pytest.raises(ClientPayloadError):
        await (await client.post(sim.url + PATHS[0], json=CHAT, headers=broken)).read()


async def test_a_connection_can_be_reset_before_the_head(
    sim: Simulator, client: ClientSession
) -> None:
    """The one case in which a retry is always safe is the one that looks like this."""
    with pytest.raises(ClientConnectionError):
        await client.post(sim.url + PATHS[0], json=CHAT, headers={"x-sim-fault": "reset"})

    assert (sim.journal[0].status, sim.totals.input_tokens) == (0, 0)


async def test_a_client_that_left_just_before_its_answer_is_no_fault(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is noted in the journal, and nothing is logged."""

    async def left(*_: object) -> web.StreamResponse:
        raise ClientConnectionResetError("Cannot write to closing transport")

    monkeypatch.setattr(sim._service, "answer", left)
    received, _ = await raw(sim, PATHS[0], "status=500")

    assert received.startswith(b"HTTP/1.1 200")  # it was here after all
    assert sim.journal[0].client_disconnected_at is not None
    assert caplog.records == []


async def test_a_stall_is_silent_until_the_client_leaves(
    sim: Simulator, client: ClientSession
) -> None:
    """Nothing is billed while nothing is said."""
    answer = await client.post(
        sim.url + PATHS[0], json=CHAT | {"stream": True}, headers={"x-sim-fault": "stall=3"}
    )
    await sim.wait_for(lambda s: s.journal[0].events_sent == 3)
    answer.close()
    await sim.wait_for(lambda s: s.journal[0].finished is not None)

    assert sim.journal[0].client_disconnected_at is not None
    assert sim.journal[0].output_tokens == 2


async def test_slowness_is_added_to_the_pace(client: ClientSession) -> None:
    """Head, first token, and a stall that ends."""
    clock = SteppedClock()
    faults = "slow_head=7, slow_first_token=5, stall=2;seconds=3"
    async with Simulator(clock=clock) as sim:
        asked = asyncio.ensure_future(
            client.post(
                sim.url + PATHS[0], json=CHAT | {"stream": True}, headers={"x-sim-fault": faults}
            )
        )
        await clock.let_pass(7)
        answer = await asked
        await clock.let_pass(5)
        await sim.wait_for(lambda s: s.journal[0].events_sent == 2)
        await clock.let_pass(3)

        assert (await answer.text()).endswith("data: [DONE]\n\n")


async def test_a_bound_can_be_ignored(sim: Simulator, client: ClientSession) -> None:
    """The overspend that nobody asked for still has to be booked."""
    answer = await client.post(
        sim.url + PATHS[0],
        json=CHAT | {"max_completion_tokens": 40},
        headers={"x-sim-fault": "ignore_bound"},
    )

    assert (await answer.json())["usage"]["completion_tokens"] == 50


async def test_a_turn_can_fail_a_number_of_times(client: ClientSession) -> None:
    """Retries of the same call get through in the end."""
    turn = Turn("fine", faults=(Fault(FaultKind.STATUS, 500, times=2),))
    async with Simulator(Script((turn,))) as sim:
        answers = [await client.post(sim.url + PATHS[0], json=CHAT) for _ in range(3)]

    assert [answer.status for answer in answers] == [500, 500, 200]


async def test_a_fault_that_does_not_exist_is_refused(
    sim: Simulator, client: ClientSession
) -> None:
    """A typo must not look like a healthy provider."""
    answer = await client.post(sim.url + PATHS[0], json=CHAT, headers={"x-sim-fault": "boom"})

    assert answer.status == 400
    assert "unknown fault 'boom' (allowed: status," in (await answer.json())["error"]["message"]


async def test_free_endpoints_fail_as_well(sim: Simulator, client: ClientSession) -> None:
    """A provider that is down is down everywhere."""
    sim.fail("status=503", path="*/models")

    assert (await client.get(sim.url + "/v1/models")).status == 503
    assert (await client.post(sim.url + PATHS[0], json=CHAT)).status == 200
