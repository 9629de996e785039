"""How streams end: whole, cut by us, cut by the provider, empty, unreadable; and what is booked."""

import asyncio
import json
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from proxy.core import events as ev
from proxy.core.request import DialectName
from proxy.core.session import SessionKey
from proxy.simulator import Script, Turn
from proxy.simulator.conversation import Conversation
from tests.integration.kit import DIALECTS, Answer, Sidecar, frames, sidecar

every_dialect = pytest.mark.parametrize("dialect", DIALECTS)
streamed_or_not = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
LONG = Script((Turn(text_tokens=400),))


def error_of(answer: Answer, dialect: DialectName) -> dict[str, object]:
    """The error that a stream ended with; nothing may come after it."""
    event, data = frames(answer.body)[-1]
    told = json.loads(data)
    assert event == "error"
    assert told["type"] == "error"
    if dialect == "responses":
        before, failed = frames(answer.body)[-2]
        assert before == "response.failed"
        assert json.loads(failed)["response"]["status"] == "failed"
    error = told["error"]
    assert isinstance(error, dict)
    return error


async def settled(on: Sidecar, session: str = "s1") -> ev.StepSettled:
    """The one settlement of a session, once it is there; its hold must be gone."""
    key = SessionKey((await on.app.store.find_tenants(session))[0], session)
    while on.app.ledger.running:
        await asyncio.wait([asyncio.ensure_future(on.app.ledger.drained())])
    stored = [s.event for s in await on.app.store.read(key)]
    found = [e for e in stored if isinstance(e, ev.StepSettled)]
    assert len(found) == 1
    assert await on.app.store.open_holds() == []
    return found[0]


@every_dialect
async def test_a_whole_stream_is_booked_as_the_provider_bills_it(
    tmp_path: Path, dialect: DialectName
) -> None:
    async with sidecar(tmp_path, script=LONG) as on:
        answer = await on.call(dialect, stream=True, bound=1000)

        billed = on.sim.journal[0]
        booked = await settled(on)
        assert answer.status == 200
        assert booked.outcome == "answered"
        assert booked.cost_micro_usd == billed.input_tokens + 2 * billed.output_tokens


async def test_usage_that_we_asked_for_is_taken_out_again(tmp_path: Path) -> None:
    """User code reads choices[0] of every chunk."""
    async with sidecar(tmp_path) as on:
        answer = await on.call("chat", stream=True)

        sent = json.loads(on.sim.journal[0].body)
        assert sent["stream_options"] == {"include_usage": True}
        assert b'"usage"' not in answer.body
        assert answer.body.endswith(b"data: [DONE]\n\n")


async def test_usage_that_the_client_asked_for_stays(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as on:
        answer = await on.call("chat", stream=True, stream_options={"include_usage": True})

        assert answer.body.count(b'"usage":null') > 1
        assert b'"choices":[],"usage":{' in answer.body.replace(b" ", b"")


@every_dialect
@pytest.mark.parametrize("how", ["eof", "close", "reset"])
async def test_a_stream_that_the_provider_cuts_never_ends_cleanly(
    tmp_path: Path, dialect: DialectName, how: str
) -> None:
    """SDKs take a clean end for a finished answer, and run tools with half their arguments."""
    async with sidecar(tmp_path, script=LONG) as on:
        on.sim.fail(f"cut_events=9;how={how}")
        answer = await on.call(dialect, stream=True)

        assert answer.status == 200
        assert not answer.cut
        error = error_of(answer, dialect)
        assert error["code"] == "upstream_truncated"
        assert "[DONE]" not in answer.body.decode()
        booked = await settled(on)
        assert booked.outcome == "truncated"
        assert booked.cost_micro_usd > 0


@every_dialect
async def test_an_empty_stream_is_a_502(tmp_path: Path, dialect: DialectName) -> None:
    """Clients take it for an empty answer and carry on."""
    async with sidecar(tmp_path) as on:
        on.sim.fail("empty")
        answer = await on.call(dialect, stream=True)

        assert (answer.status, answer.error["code"]) == (502, "upstream_malformed")
        assert answer.headers["x-should-retry"] == "false"


@every_dialect
@pytest.mark.parametrize("fault", ["empty", "malformed_json", "wrong_types"])
async def test_an_unreadable_answer_is_a_502_and_books_the_hold(
    tmp_path: Path, dialect: DialectName, fault: str
) -> None:
    """The provider may have billed all that was asked for."""
    async with sidecar(tmp_path) as on:
        on.sim.fail(fault)
        answer = await on.call(dialect)

        assert (answer.status, answer.error["code"]) == (502, "upstream_malformed")
        booked = await settled(on)
        assert booked.cost_micro_usd >= 200


@every_dialect
async def test_one_unreadable_line_is_let_pass(tmp_path: Path, dialect: DialectName) -> None:
    """It is the provider's, and the stream goes on."""
    async with sidecar(tmp_path) as on:
        on.sim.fail("malformed_sse=5")
        answer = await on.call(dialect, stream=True)

        assert answer.status == 200
        assert (await settled(on)).outcome == "answered"
        assert b"event: error" not in answer.body


@every_dialect
async def test_the_providers_own_error_event_passes_and_nothing_follows(
    tmp_path: Path, dialect: DialectName
) -> None:
    """It is the end already; a second one would confuse."""
    async with sidecar(tmp_path, script=LONG) as on:
        on.sim.fail("error_event=6")
        answer = await on.call(dialect, stream=True)

        assert answer.status == 200
        assert answer.body.count(b"event: error" if dialect != "chat" else b'"error":{') == 1
        assert (await settled(on)).outcome == "truncated"


@every_dialect
@streamed_or_not
@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503, 529])
async def test_the_providers_refusal_passes_as_it_is_and_costs_nothing(
    tmp_path: Path, dialect: DialectName, stream: bool, status: int
) -> None:
    async with sidecar(tmp_path) as on:
        on.sim.fail(f"status={status}")
        answer = await on.call(dialect, stream=stream)

        assert answer.status == status
        assert "holdfast" not in answer.body.decode()
        booked = await settled(on)
        assert (booked.outcome, booked.cost_micro_usd) == ("failed", 0)


@every_dialect
@streamed_or_not
async def test_a_provider_that_resets_before_its_answer(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    async with sidecar(tmp_path) as on:
        on.sim.fail("reset")
        answer = await on.call(dialect, stream=stream)

        assert (answer.status, answer.error["code"]) == (503, "upstream_unavailable")
        assert answer.headers["x-should-retry"] == "false"
        assert (await settled(on)).outcome == "truncated"


@every_dialect
async def test_a_provider_that_cannot_be_reached_costs_nothing_and_no_step(
    tmp_path: Path, dialect: DialectName
) -> None:
    async with sidecar(tmp_path, upstream="http://127.0.0.1:9") as on:
        answer = await on.call(dialect)
        shown = await on.admin("GET", "/sessions/s1")

        assert (answer.status, answer.error["code"]) == (503, "upstream_unavailable")
        assert (shown["steps"], shown["cost_usd"], shown["held_usd"]) == (0, 0, 0)


@every_dialect
@streamed_or_not
async def test_a_call_that_takes_too_long_is_a_504(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    async with sidecar(tmp_path, "deadline_seconds: 0.2") as on:
        on.sim.fail("slow_head=30")
        answer = await on.call(dialect, stream=stream)

        assert (answer.status, answer.error["code"]) == (504, "deadline_exceeded")
        assert (await settled(on)).outcome == "cut"


@every_dialect
async def test_a_stream_that_stalls_is_ended_with_an_error(
    tmp_path: Path, dialect: DialectName
) -> None:
    async with sidecar(tmp_path, "timeouts: {idle: 0.2}", script=LONG) as on:
        on.sim.fail("stall=6")
        answer = await on.call(dialect, stream=True)

        assert answer.status == 200
        assert error_of(answer, dialect)["code"] == "upstream_truncated"


@every_dialect
async def test_a_stream_past_its_hold_is_cut_at_the_cap(
    tmp_path: Path, dialect: DialectName
) -> None:
    """A provider that ignores its bound is stopped, and the client is told why."""
    policy = "limits: {cost_usd: 0.0005}\naccounting: {min_output_tokens: 10}"
    script = Script((Turn(text_tokens=4000, chunk_gap_seconds=0.001),))
    async with sidecar(tmp_path, policy, script=script) as on:
        on.sim.fail("ignore_bound")
        answer = await on.call(dialect, stream=True)

        error = error_of(answer, dialect)
        assert error["code"] == "budget_exceeded"
        message = error["message"]
        assert isinstance(message, str)
        assert "holdfast sessions extend s1" in message
        booked = await settled(on)
        assert booked.outcome == "cut"
        await on.sim.wait_for(lambda sim: sim.journal[0].client_disconnected_at is not None)
        assert on.sim.journal[0].output_tokens < 1000


@every_dialect
async def test_a_longer_answer_than_was_held_goes_on_while_there_is_money(
    tmp_path: Path, dialect: DialectName
) -> None:
    """The hold grows; the cap is the budget, not the bound."""
    async with sidecar(tmp_path, script=Script((Turn(text_tokens=3000),))) as on:
        on.sim.fail("ignore_bound")
        answer = await on.call(dialect, stream=True, bound=50)

        assert b"event: error" not in answer.body
        booked = await settled(on)
        assert booked.outcome == "answered"
        assert booked.usage is not None
        assert booked.usage.output_tokens >= 3000


@every_dialect
@streamed_or_not
async def test_a_client_that_leaves_cancels_the_call_at_the_provider(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    async with sidecar(tmp_path, script=Script((Turn(text_tokens=500),))) as on:
        on.sim.fail("stall=6" if stream else "slow_head=60")
        call = asyncio.ensure_future(on.call(dialect, stream=stream))
        await on.sim.wait_for(lambda sim: len(sim.journal) == 1)
        if stream:
            await on.sim.wait_for(lambda sim: sim.journal[0].events_sent >= 5)
        left = asyncio.get_running_loop().time()
        call.cancel()
        await asyncio.wait([call])

        await on.sim.wait_for(lambda sim: sim.journal[0].client_disconnected_at is not None)
        assert asyncio.get_running_loop().time() - left < 2.0
        booked = await settled(on)
        assert booked.outcome == "client_left"
        assert booked.cost_micro_usd > 0


@every_dialect
@pytest.mark.parametrize("size", range(2500, 2520))
async def test_half_an_event_is_not_sent_before_an_error(
    tmp_path: Path, dialect: DialectName, size: int
) -> None:
    """Clients read the half line first, and fail on it without a word of the error."""
    async with sidecar(tmp_path, script=LONG) as on:
        on.sim.fail(f"cut_bytes={size};how=close")
        answer = await on.call(dialect, stream=True)

        assert error_of(answer, dialect)["code"] == "upstream_truncated"
        for _, data in frames(answer.body):
            json.loads(data)


@every_dialect
async def test_an_answer_that_keeps_its_bound_is_never_cut(
    tmp_path: Path, dialect: DialectName
) -> None:
    """The bound was lowered to the last micro-USD, and we count more tokens than the provider."""
    policy = "limits: {cost_usd: 0.001}\naccounting: {min_output_tokens: 10}"
    script = Script((Turn(text="answer" + " letter" * 2000),))
    async with sidecar(tmp_path, policy, script=script) as on:
        answer = await on.call(dialect, stream=True, bound=2000)

        assert answer.headers["x-holdfast-decision"] == "clamp"
        assert b"event: error" not in answer.body
        assert (await settled(on)).outcome == "answered"


class AtOnce:
    """Short answers, by which an agent's usual length is learnt, and then long ones at once."""

    def __init__(self) -> None:
        self._turns = 0

    def turn(self, conversation: Conversation) -> Turn:
        self._turns += 1
        if self._turns <= 30:
            return Turn(text_tokens=50)
        return Turn(text_tokens=20_000, chunk_tokens=10)


@every_dialect
async def test_streams_cut_by_a_budget_take_no_more_of_it_than_was_read(
    tmp_path: Path, dialect: DialectName
) -> None:
    """Though the provider had sent four times as much, which waits unread in buffers. What passes
    it is the piece of each that was read last, which is large where all is sent at once."""
    async with sidecar(tmp_path, "limits: {cost_usd: 0.06}", script=AtOnce()) as on:
        for _ in range(30):
            await on.call(dialect, stream=True, bound=20_000)
        calls = [on.call(dialect, stream=True, bound=25_000) for _ in range(6)]
        answers = await asyncio.gather(*calls)
        cut = sum(b'"budget_exceeded"' in answer.body for answer in answers)
        session = await on.admin("GET", "/sessions/s1")

        assert cut > 1
        assert session["held_usd"] == 0
        cost_usd = session["cost_usd"]
        assert isinstance(cost_usd, float)
        assert 0.05 < cost_usd <= 0.075


class Foxes(AtOnce):
    """The same in words that are a token for us, too."""

    def turn(self, conversation: Conversation) -> Turn:
        turn = super().turn(conversation)
        return turn if turn.text_tokens == 50 else Turn(text=" fox" * 20_000, chunk_tokens=10)


@every_dialect
@pytest.mark.parametrize("policy", ["", "tools: {side_effects: [send_*]}\n"], ids=["", "guarded"])
async def test_what_came_unread_of_a_stream_that_its_budget_cut_is_counted_as_overspend(
    tmp_path: Path, dialect: DialectName, policy: str
) -> None:
    """The provider bills it, and no budget has room for it. What it had not sent yet, nobody but it
    knows of."""
    policy += "limits: {cost_usd: 0.06}"
    tools = ("send_mail",) if "tools" in policy else ()
    async with sidecar(tmp_path, policy, script=Foxes()) as on:
        call = partial(on.call, dialect, stream=True, tools=tools)
        for _ in range(30):
            await call(bound=20_000)
        calls = [call(bound=25_000) for _ in range(6)]
        answers = await asyncio.gather(*calls)
        await on.sim.wait_for(lambda sim: all(entry.finished for entry in sim.journal))
        journal, log = on.sim.journal, await events_of(on)
        told = overspend_micro_usd(on)

    assert sum(b'"budget_exceeded"' in answer.body for answer in answers) > 1
    billed = sum(entry.input_tokens + 2 * entry.output_tokens for entry in journal)
    settled = [event for event in log if isinstance(event, ev.StepSettled)]
    booked = sum(event.cost_micro_usd for event in settled)
    inputs = sum(event.usage.input_tokens for event in settled if event.usage is not None)
    estimate = inputs - sum(entry.input_tokens for entry in journal)
    unread = told - past_their_holds(log)
    assert 0 < unread <= billed - booked + max(0, estimate)


async def events_of(on: Sidecar, session: str = "s1") -> list[ev.AnyEvent]:
    key = SessionKey((await on.app.store.find_tenants(session))[0], session)
    return [stored.event for stored in await on.app.store.read(key)]


def overspend_micro_usd(on: Sidecar) -> int:
    lines = on.app.metrics.render().decode().splitlines()
    told = [line for line in lines if line.startswith("holdfast_overspend_usd_total{")]
    return round(sum(float(line.rpartition(" ")[2]) for line in told) * 1e6)


def past_their_holds(log: list[ev.AnyEvent]) -> int:
    """Of what is booked."""
    held: Counter[str] = Counter()
    past = 0
    for event in log:
        if isinstance(event, ev.StepReserved | ev.HoldExtended):
            held[event.call_id] += event.hold_cost_micro_usd
        elif isinstance(event, ev.StepSettled):
            past += max(0, event.cost_micro_usd - held[event.call_id])
    return past


@every_dialect
@pytest.mark.parametrize("bound", [100, 1000], ids=["kept by the client", "lowered by us"])
async def test_a_provider_that_ignores_its_bound_is_cut_within_the_budget(
    tmp_path: Path, dialect: DialectName, bound: int
) -> None:
    """At most a chunk goes past it, by the provider's bill and by our own book."""
    policy = "limits: {cost_usd: 0.001}\naccounting: {min_output_tokens: 10}"
    text = "answer" + " letter" * 4000  # counted too high by three quarters
    script = Script((Turn(text=text, chunk_gap_seconds=0.001),))
    async with sidecar(tmp_path, policy, script=script) as on:
        on.sim.fail("ignore_bound")
        answer = await on.call(dialect, stream=True, bound=bound)

        assert error_of(answer, dialect)["code"] == "budget_exceeded"
        await on.sim.wait_for(lambda sim: sim.journal[0].client_disconnected_at is not None)
        entry = on.sim.journal[0]
        assert 300 < entry.input_tokens + 2 * entry.output_tokens < 1010
        assert (await settled(on)).cost_micro_usd < 1010


@every_dialect
async def test_a_stream_cut_short_is_booked_by_what_passed(
    tmp_path: Path, dialect: DialectName
) -> None:
    """Anthropic says one output token at the beginning, and no more until the end."""
    async with sidecar(tmp_path, script=LONG) as on:
        on.sim.fail("cut_events=60;how=close")
        await on.call(dialect, stream=True, bound=1000)

        booked = await settled(on)
        assert booked.usage is not None
        assert booked.usage.output_tokens >= 40
        assert booked.cost_micro_usd >= 2 * booked.usage.output_tokens
