"""A fallback that speaks another dialect, or does not take what another provider has made."""

import json
from pathlib import Path

import pytest

from proxy.admin.shapes import Json
from proxy.core.request import DialectName
from tests.fakes_wire import ScriptedUpstream, answer
from tests.integration.attempts_kit import asked, log_of, only
from tests.integration.kit import body_of, sidecar

POLICY = """
prices: {one: {input: 1, output: 2}, two: {input: 3, output: 5}}
upstreams:
  chats: {base_url: "${HOLDFAST_OPENAI_URL}", endpoints: [chat]%(chats)s}
  messages: {base_url: "${HOLDFAST_ANTHROPIC_URL}", dialect: anthropic%(messages)s}
routes:
  - {match: {model: "*", endpoint: messages}, to: [messages/one], fallback: [chats/two]}
  - {match: {model: "*"}, to: [chats/one], fallback: [messages/two]}
"""
OTHER_KEY = {"chats": "", "messages": ", api_key: key-two"}
crossing = pytest.mark.parametrize("dialect", ["chat", "messages"])
streamed_or_not = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@crossing
@streamed_or_not
async def test_another_dialects_answer_comes_in_the_clients_and_is_booked_exactly(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    keys = OTHER_KEY if dialect == "chat" else {"chats": ", api_key: key-two", "messages": ""}
    async with sidecar(tmp_path, POLICY % keys) as on:
        on.sim.fail("status=503", model="one")
        got = await on.call(dialect, model="one", stream=stream, tools=("lookup",))

        entry = on.sim.journal[-1]
        other = "/v1/messages" if dialect == "chat" else "/v1/chat/completions"
        assert (got.status, entry.path, entry.model) == (200, other, "two")
        assert asked(on) == ["one", "one", "one", "two"]
        own = b"chat.completion" if dialect == "chat" else b'"message'
        assert own in got.body
        _, settled = only(await log_of(on))
        assert settled.cost_micro_usd == 3 * entry.input_tokens + 5 * entry.output_tokens


@crossing
async def test_only_the_targets_own_key_goes_there_in_its_own_header(
    tmp_path: Path, dialect: DialectName
) -> None:
    keys = OTHER_KEY if dialect == "chat" else {"chats": ", api_key: key-two", "messages": ""}
    sent = {"authorization": "Bearer key-1", "openai-project": "p", "anthropic-beta": "b"}
    async with sidecar(tmp_path, POLICY % keys) as on:
        on.sim.fail("status=503", model="one")
        await on.call(dialect, model="one", headers=sent)

        last = dict(on.sim.journal[-1].headers)
        assert "key-1" not in str(last)
        assert not {"openai-project", "anthropic-beta"} & set(last)
        if dialect == "chat":
            assert (last["x-api-key"], last["anthropic-version"]) == ("key-two", "2023-06-01")
        else:
            assert last["authorization"] == "Bearer key-two"
            assert "anthropic-version" not in last


async def test_a_key_that_may_be_forwarded_goes_by_the_name_that_the_other_takes(
    tmp_path: Path,
) -> None:
    keys = {"chats": "", "messages": ", forward_credentials: true"}
    async with sidecar(tmp_path, POLICY % keys) as on:
        on.sim.fail("status=503", model="one")
        await on.call("chat", model="one")

        last = on.sim.journal[-1]
        assert last.header("x-api-key") == "key-1"
        assert last.header("authorization") is None


async def test_what_has_no_words_there_is_not_asked_and_says_so(tmp_path: Path) -> None:
    async with sidecar(tmp_path, POLICY % OTHER_KEY) as on:
        on.sim.fail("status=503", model="one")
        got = await on.call("chat", model="one", n=2)

        assert got.status == 503
        assert "messages/two failed: cannot be asked" in str(got.error["message"])
        assert asked(on) == ["one"] * 3
        failed, _ = only(await log_of(on))
        assert len(failed) == 2


SIGNED: Json = [
    {"role": "user", "content": "hi"},
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "forged"},
            {"type": "text", "text": "yes"},
        ],
    },
    {"role": "user", "content": "go on"},
]
REFUSED = b'{"type":"error","error":{"type":"invalid_request_error","message":"%b"}}'
BOUND = REFUSED % b"messages.1.content.0: Invalid `signature` in `thinking` block"
ANSWER = json.dumps(
    {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": "ok"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
).encode()


async def test_a_history_of_another_provider_is_unbound_and_sent_again_once(
    tmp_path: Path,
) -> None:
    told = [answer(BOUND, "400 Bad Request")]
    async with (
        ScriptedUpstream(told, [answer(ANSWER)]) as up,
        sidecar(tmp_path, upstream=up.url) as on,
    ):
        body: Json = {**body_of("messages"), "messages": SIGNED}
        got = await on.send("/s/s1/v1/messages", body)

        assert got.status == 200
        first, second = up.received
        assert b"forged" in first.body
        assert b"forged" not in second.body
        assert b"yes" in second.body
        failed, settled = only(await log_of(on))
        assert [(one.status, one.cost_micro_usd) for one in failed] == [(400, 0)]
        assert settled.outcome == "answered"


async def test_one_that_is_refused_again_is_told_so(tmp_path: Path) -> None:
    async with (
        ScriptedUpstream([answer(BOUND, "400 Bad Request")]) as up,
        sidecar(tmp_path, upstream=up.url) as on,
    ):
        body: Json = {**body_of("messages"), "messages": SIGNED}
        got = await on.send("/s/s1/v1/messages", body)

        assert (got.status, got.body) == (400, BOUND)
        assert len(up.received) == 2


async def test_what_we_have_added_is_left_out_where_it_is_refused(tmp_path: Path) -> None:
    """Some servers do not know stream_options."""
    refused = b'{"error":{"message":"Unknown parameter: stream_options","type":"x"}}'
    events = (
        b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
        b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
        b"data: [DONE]\n\n"
    )
    stream = answer(events, "200 OK", "content-type: text/event-stream")
    async with (
        ScriptedUpstream([answer(refused, "400 Bad Request")], [stream]) as up,
        sidecar(tmp_path, upstream=up.url) as on,
    ):
        got = await on.call("chat", stream=True)

        assert (got.status, got.body) == (200, events)
        first, second = up.received
        assert b"stream_options" in first.body
        assert b"stream_options" not in second.body


async def test_what_is_the_clients_own_fault_is_not_sent_again(tmp_path: Path) -> None:
    refused = b'{"error":{"message":"Unknown parameter: temprature","type":"x"}}'
    async with (
        ScriptedUpstream([answer(refused, "400 Bad Request")]) as up,
        sidecar(tmp_path, upstream=up.url) as on,
    ):
        got = await on.call("chat", stream=True)

        assert (got.status, got.body) == (400, refused)
        assert len(up.received) == 1
