"""The simulated provider over loopback: whole answers, streams, state, bills, and its pace."""

import asyncio
import json
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from aiohttp import ClientResponse, ClientSession

from proxy.simulator import Price, Script, Simulator, ToolCall, Turn
from proxy.simulator.script import UsageOverride
from tests.fakes_simulator import SteppedClock

KEY = {"authorization": "Bearer sk-test", "anthropic-version": "2023-06-01"}
HELLO = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Hello"}]}
CLAUDE = {**HELLO, "model": "claude-sonnet-4-5", "max_tokens": 500}
CALL_TURN = Turn(text="Let me look.", tool_calls=(ToolCall("look", {"at": "sky"}),))


@pytest.fixture
async def client() -> AsyncIterator[ClientSession]:
    async with ClientSession(headers=KEY) as session:
        yield session


async def events(response: ClientResponse) -> list[tuple[str, dict[str, object]]]:
    """The events of a stream, `[DONE]` and pings without data left out."""
    found = []
    for block in (await response.text()).split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        if "data" in fields and fields["data"] != "[DONE]":
            found.append((fields.get("event", ""), json.loads(fields["data"])))
    return found


async def post(session: ClientSession, sim: Simulator, path: str, body: object) -> ClientResponse:
    response = await session.post(sim.url + path, json=body)
    assert response.status == 200, await response.text()
    return response


async def advance_until(
    sim: Simulator, clock: SteppedClock, seconds: float, *, status: int = 0, events: int = 0
) -> None:
    """Moves time on once the server sleeps, and waits for what must then be there."""
    await clock.let_pass(seconds)
    await sim.wait_for(
        lambda s: s.journal[0].status >= status and s.journal[0].events_sent >= events
    )


async def test_a_chat_stream_says_what_the_whole_answer_says(client: ClientSession) -> None:
    """Usage comes once, at the end, to those who asked; `usage: null` on all chunks before."""
    options = {"stream": True, "stream_options": {"include_usage": True}}
    async with Simulator(Script((CALL_TURN,))) as sim:
        whole = await (await post(client, sim, "/v1/chat/completions", HELLO)).json()
        stream = await post(client, sim, "/v1/chat/completions", HELLO | options)
        text = await stream.text()
        chunks = [data for _, data in await events(stream)]

    assert text.endswith("data: [DONE]\n\n")
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1]["usage"] == whole["usage"]
    assert chunks[-1]["choices"] == []
    assert whole["choices"][0]["finish_reason"] == "tool_calls"
    deltas = [c["choices"][0]["delta"] for c in chunks[:-1]]  # type: ignore[index]  # JSON
    assert "".join(d.get("content") or "" for d in deltas) == "Let me look."
    arguments = [call for d in deltas for call in d.get("tool_calls", [])]
    assert "".join(a["function"]["arguments"] for a in arguments) == '{"at":"sky"}'


async def test_usage_is_not_streamed_to_those_who_did_not_ask(client: ClientSession) -> None:
    """OpenAI sends none then: whoever needs it has to ask."""
    async with Simulator() as sim:
        stream = await post(client, sim, "/v1/chat/completions", HELLO | {"stream": True})
        chunks = await events(stream)

    assert all("usage" not in chunk for _, chunk in chunks)


async def test_a_response_stream_has_openais_sequence(client: ClientSession) -> None:
    """Every event numbered, every item added, filled and done, and the end holds it all."""
    async with Simulator(Script((CALL_TURN,))) as sim:
        body = {"model": "gpt-5", "input": "Hello", "stream": True}
        found = await events(await post(client, sim, "/v1/responses", body))

    names = [name.removeprefix("response.") for name, _ in found]
    assert [n for i, n in enumerate(names) if i == 0 or names[i - 1] != n] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    assert [data["sequence_number"] for _, data in found] == list(range(len(found)))
    assert all(name == data["type"] for name, data in found)


async def test_a_message_stream_has_anthropics_sequence(client: ClientSession) -> None:
    """Blocks are numbered, a ping follows the first start, the last usage is the bill."""
    async with Simulator(Script((CALL_TURN,))) as sim:
        stream = await post(client, sim, "/v1/messages?beta=true", CLAUDE | {"stream": True})
        found = await events(stream)
        billed = sim.totals

    names = [name for name, _ in found]
    assert [n for i, n in enumerate(names) if i == 0 or names[i - 1] != n] == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    usage = found[-2][1]["usage"]
    assert isinstance(usage, dict)
    assert (usage["input_tokens"], usage["output_tokens"]) == (
        billed.input_tokens,
        billed.output_tokens,
    )
    assert stream.headers["request-id"].startswith("req_011C")
    assert "anthropic-ratelimit-tokens-remaining" in stream.headers


@pytest.mark.parametrize("stream", [False, True])
async def test_reasoning_is_shown_where_the_provider_shows_it(
    client: ClientSession, stream: bool
) -> None:
    """Hidden in chat, a summary in responses if asked for, a signed block in messages."""
    thought = Script((Turn("Yes.", reasoning="Is it so? It is."),))
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 100}, "stream": stream}
    summary = {"model": "o3", "input": "x", "reasoning": {"summary": "auto"}, "stream": stream}
    async with Simulator(thought) as sim:
        chat = await post(client, sim, "/v1/chat/completions", HELLO | {"stream": stream})
        responses = await post(client, sim, "/v1/responses", summary)
        messages = await post(client, sim, "/v1/messages", CLAUDE | thinking)
        plain = await post(client, sim, "/v1/messages", CLAUDE | {"stream": stream})

        assert "so" not in (await chat.text()).split()
        assert "summary_text" in await responses.text()
        assert "signature" in await messages.text()
        assert "thinking" not in await plain.text()
        output = [entry.output_tokens for entry in sim.journal]
        assert output[0] == output[1] == output[2] > output[3]


async def test_bounds_are_kept_and_named_in_each_dialect(client: ClientSession) -> None:
    """length, incomplete, max_tokens."""
    spend = {"model": "sim-spend"}
    async with Simulator() as sim:
        chat = await post(client, sim, "/v1/chat/completions", HELLO | spend | {"max_tokens": 20})
        bound = {"input": "x", "max_output_tokens": 20}
        responses = await post(client, sim, "/v1/responses", spend | bound)
        messages = await post(client, sim, "/v1/messages", CLAUDE | spend | {"max_tokens": 20})
        old = {"prompt": "x", "max_tokens": 20}
        completions = await post(client, sim, "/v1/completions", spend | old)

        assert (await chat.json())["choices"][0]["finish_reason"] == "length"
        response = await responses.json()
        assert response["status"] == "incomplete"
        assert response["incomplete_details"] == {"reason": "max_output_tokens"}
        assert (await messages.json())["stop_reason"] == "max_tokens"
        assert (await completions.json())["choices"][0]["finish_reason"] == "length"
        assert [entry.output_tokens for entry in sim.journal] == [20] * 4


async def test_responses_are_remembered_unless_the_client_asks_not_to(
    client: ClientSession,
) -> None:
    """previous_response_id, retrieval, deletion and store=false."""
    first = {"model": "gpt-5", "input": "Look", "tools": [{"type": "function", "name": "look"}]}
    async with Simulator() as sim:
        asked = await (await post(client, sim, "/v1/responses", first)).json()
        call_id = asked["output"][0]["call_id"]
        result = {"type": "function_call_output", "call_id": call_id, "output": "sky"}
        follow = {"model": "gpt-5", "input": [result], "previous_response_id": asked["id"]}
        second = await post(client, sim, "/v1/responses", follow | {"stream": True})
        await second.read()
        kept = await client.get(f"{sim.url}/v1/responses/{asked['id']}")
        gone = await client.delete(f"{sim.url}/v1/responses/{asked['id']}")
        refused = await client.post(sim.url + "/v1/responses", json=follow)
        loose = await post(client, sim, "/v1/responses", first | {"store": False})
        missing = await client.get(f"{sim.url}/v1/responses/{(await loose.json())['id']}")

        assert sim.journal[1].step == 1
        assert await kept.json() == asked
        assert (gone.status, refused.status, missing.status) == (200, 400, 404)
        assert (await refused.json())["error"]["code"] == "previous_response_not_found"


async def test_the_other_endpoints_answer(client: ClientSession) -> None:
    """Embeddings, completions, models, counting, conversations, and the probe of Claude Code."""
    async with Simulator() as sim:
        wanted = {"model": "e", "input": ["a", "b"], "dimensions": 8, "encoding_format": "base64"}
        vectors = await (await post(client, sim, "/v1/embeddings", wanted)).json()
        old = {"model": "i", "prompt": ["a", "b"], "stream": True}
        usage = {"stream_options": {"include_usage": True}}
        streamed = await events(await post(client, sim, "/v1/completions", old | usage))
        counted = await (await post(client, sim, "/v1/messages/count_tokens", CLAUDE)).json()
        message = await (await post(client, sim, "/v1/messages", CLAUDE)).json()
        opened = await (await post(client, sim, "/v1/conversations", {})).json()
        models = await (await client.get(sim.url + "/v1/models")).json()
        model = await (await client.get(sim.url + "/s/x/v1/models/org/any")).json()
        probe = await client.head(sim.url + "/")
        upgrade = await client.get(sim.url + "/v1/responses", headers={"upgrade": "websocket"})

    assert [len(entry["embedding"]) for entry in vectors["data"]] == [44, 44]
    assert vectors["usage"]["prompt_tokens"] == 8
    assert streamed[-1][1]["usage"]["completion_tokens"] > 0  # type: ignore[index]  # JSON
    assert counted["input_tokens"] == message["usage"]["input_tokens"]
    assert opened["id"].startswith("conv_")
    assert models["data"][0]["type"] == "model"
    assert model["id"] == "org/any"
    assert (probe.status, upgrade.status) == (200, 426)


async def test_bad_requests_are_told_in_the_dialect_and_cost_nothing() -> None:
    """401 without a credential, 404 for a path, 400 for a body."""
    async with Simulator() as sim, ClientSession() as bare:
        no_key = await bare.post(sim.url + "/v1/chat/completions", json=HELLO)
        wrong = await bare.post(sim.url + "/v1/messages", headers={"x-api-key": "invalid"})
        path = await bare.post(sim.url + "/v1/nothing", headers=KEY)
        openai_path = await bare.get(sim.url + "/v1/x", headers={"authorization": "Bearer k"})
        body = await bare.post(sim.url + "/v1/chat/completions", data=b"{", headers=KEY)
        deep = await bare.post(sim.url + "/v1/messages", data=b"[" * 100_000, headers=KEY)
        version = await bare.post(sim.url + "/v1/messages", json=CLAUDE, headers={"x-api-key": "k"})
        statuses = [r.status for r in (no_key, wrong, path, openai_path, body, deep, version)]

        assert statuses == [401, 401, 404, 404, 400, 400, 400]
        assert "didn't provide an API key" in (await no_key.json())["error"]["message"]
        assert (await wrong.json())["error"]["type"] == "authentication_error"
        assert (await path.json())["type"] == "error"
        assert (await openai_path.json())["error"]["message"] == "Invalid URL (GET /v1/x)"
        assert "could not parse the JSON" in (await body.json())["error"]["message"]
        assert (await deep.json())["error"]["type"] == "invalid_request_error"
        assert "anthropic-version" in (await version.json())["error"]["message"]
        assert (sim.totals.input_tokens, sim.totals.output_tokens) == (0, 0)


async def test_the_pace_is_the_scripts(client: ClientSession) -> None:
    """Head, first token and chunks each wait for their own time, on a clock that tests drive."""
    clock = SteppedClock()
    turn = Turn("a b c", latency_seconds=5, first_token_seconds=3, chunk_gap_seconds=1)
    async with Simulator(Script((turn,)), clock=clock) as sim:

        async def see(what: str) -> None:
            await response.content.readuntil(what.encode())

        task = client.post(sim.url + "/v1/chat/completions", json=HELLO | {"stream": True})
        asked = asyncio.ensure_future(task)
        await sim.wait_for(lambda s: len(s.journal) == 1)
        assert sim.journal[0].status == 0
        await advance_until(sim, clock, 5, status=200)
        response = await asked
        assert sim.journal[0].events_sent == 1
        await advance_until(sim, clock, 3, events=2)
        await see('"a"')
        await advance_until(sim, clock, 1, events=3)
        await see('" b"')
        assert sim.journal[0].output_tokens == 2
        await advance_until(sim, clock, 1, events=6)


async def test_a_stream_that_the_client_cuts_is_billed_as_far_as_it_came(
    client: ClientSession,
) -> None:
    """Nobody gets tokens for nothing by leaving early."""
    clock = SteppedClock()
    turn = Turn(text_tokens=1000, chunk_gap_seconds=1)
    prices = {"*": Price(Decimal(1), Decimal(10))}
    async with Simulator(Script((turn,)), clock=clock, prices=prices) as sim:
        response = await post(client, sim, "/v1/chat/completions", HELLO | {"stream": True})
        await advance_until(sim, clock, 1, events=3)
        response.close()
        await sim.wait_for(lambda s: s.journal[0].finished is not None)

        entry, totals = sim.journal[0], sim.totals
        assert entry.client_disconnected_at is not None
        assert (totals.disconnected, totals.output_tokens) == (1, 2)
        assert totals.cost_micro_usd == totals.input_tokens + 20


async def test_leaving_an_unstreamed_answer_costs_the_part_that_was_made(
    client: ClientSession,
) -> None:
    """The model works during the latency; the provider notices who has gone."""
    clock = SteppedClock()
    async with Simulator(Script((Turn(text_tokens=100, latency_seconds=10),)), clock=clock) as sim:
        asked = asyncio.ensure_future(client.post(sim.url + "/v1/chat/completions", json=HELLO))
        await clock.asleep()
        clock.advance(5)
        asked.cancel()
        await sim.wait_for(lambda s: s.journal[0].finished is not None)

        assert sim.totals.output_tokens == 50


async def test_a_cached_prefix_is_reported_only_when_asked_for(client: ClientSession) -> None:
    """Off by default; on, only what was really seen before counts."""
    long = {"messages": [{"role": "user", "content": "word " * 2000}]}
    marked = {"system": [{"type": "text", "text": "x " * 2000, "cache_control": {"type": "e"}}]}
    async with Simulator(cache=True) as sim, Simulator() as plain:
        path = "/v1/chat/completions"
        told = [(await (await post(client, sim, path, HELLO | long)).json()) for _ in range(2)]
        never = [(await (await post(client, plain, path, HELLO | long)).json()) for _ in range(2)]
        claude = [
            (await (await post(client, sim, "/v1/messages", CLAUDE | marked)).json())
            for _ in range(2)
        ]

    cached = [answer["usage"]["prompt_tokens_details"]["cached_tokens"] for answer in told + never]
    assert cached == [0, told[0]["usage"]["prompt_tokens"], 0, 0]
    assert claude[0]["usage"]["cache_creation_input_tokens"] > 2000
    assert claude[1]["usage"]["cache_read_input_tokens"] > 2000
    assert claude[1]["usage"]["input_tokens"] == 0


async def test_usage_can_be_left_out_or_claimed(client: ClientSession) -> None:
    """Providers without usage exist; the journal still knows the truth."""
    turns = (
        Turn("a b", usage=UsageOverride(omit=True)),
        Turn("a b", usage=UsageOverride(input_tokens=7), step=0),
    )
    async with Simulator(Script(turns[:1])) as silent, Simulator(Script(turns[1:])) as lying:
        none = await (await post(client, silent, "/v1/chat/completions", HELLO)).json()
        message = await (await post(client, silent, "/v1/messages", CLAUDE)).json()
        claimed = await (await post(client, lying, "/v1/chat/completions", HELLO)).json()

        assert "usage" not in none
        assert "usage" not in message
        assert silent.totals.output_tokens == 4
        assert claimed["usage"]["prompt_tokens"] == 7


async def test_journal_totals_and_faults_are_served_over_http(client: ClientSession) -> None:
    """For tests and drills in other processes and languages."""
    async with Simulator(seed=1) as sim:
        added = await client.post(
            sim.url + "/__sim/faults", json={"fault": "status=500", "times": 1}
        )
        failed = await client.post(sim.url + "/v1/chat/completions", json=HELLO)
        await post(client, sim, "/v1/chat/completions", HELLO)
        journal = await (await client.get(sim.url + "/__sim/journal?limit=1")).json()
        totals = await (await client.get(sim.url + "/__sim/totals")).json()
        rules = await (await client.get(sim.url + "/__sim/faults")).json()
        await client.delete(sim.url + "/__sim/journal")

        assert (added.status, failed.status) == (200, 500)
        assert journal["requests"][0]["body"] == HELLO
        assert journal["requests"][0]["number"] == 2
        assert totals["requests"] == 2
        assert rules == {"rules": []}
        assert sim.journal == ()


async def test_reasoning_that_is_visible_or_encrypted_is_sent(client: ClientSession) -> None:
    """DeepSeek shows its reasoning in chat; OpenAI returns it encrypted to stateless clients."""
    script = Script((Turn("Yes.", reasoning="Is it so?"),))
    deep = HELLO | {"model": "deepseek-reasoner"}
    sealed = {"model": "o3", "input": "x", "include": ["reasoning.encrypted_content"]}
    async with Simulator(script) as sim:
        whole = await (await post(client, sim, "/v1/chat/completions", deep)).json()
        stream = await post(client, sim, "/v1/chat/completions", deep | {"stream": True})
        response = await (await post(client, sim, "/v1/responses", sealed)).json()

    assert whole["choices"][0]["message"]["reasoning_content"] == "Is it so?"
    assert '"reasoning_content":"Is"' in await stream.text()
    assert response["output"][0]["encrypted_content"].startswith("gAAAAAB")


async def test_obfuscation_is_sent_to_those_who_ask(client: ClientSession) -> None:
    """OpenAI pads its chunks; the padding is bytes that a proxy must pass."""
    asked = {"stream": True, "stream_options": {"include_obfuscation": True}}
    async with Simulator() as sim:
        stream = await post(client, sim, "/v1/chat/completions", HELLO | asked)

        assert all("obfuscation" in chunk for _, chunk in await events(stream))


async def test_a_tool_call_that_the_bound_cuts_has_no_input(client: ClientSession) -> None:
    """Its arguments are half a JSON text: chat passes them on, messages cannot."""
    turn = Turn(tool_calls=(ToolCall("look", {"where": "far away behind the moon"}),))
    async with Simulator(Script((turn,))) as sim:
        chat = await post(client, sim, "/v1/chat/completions", HELLO | {"max_completion_tokens": 9})
        message = await post(client, sim, "/v1/messages", CLAUDE | {"max_tokens": 9})
        call = (await chat.json())["choices"][0]["message"]["tool_calls"][0]

        with pytest.raises(ValueError, match="Unterminated"):
            json.loads(call["function"]["arguments"])
        assert (await message.json())["content"][0]["input"] == {}
