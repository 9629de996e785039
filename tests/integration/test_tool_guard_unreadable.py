"""Parts of guarded calls that are not of the dialect's types, from a provider that writes them so:
SDKs take them all the same, so what cannot be judged must not pass."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from proxy.core.request import DialectName
from tests.integration.kit import sidecar

DENY = "tools: {deny: ['send_*']}\n"


@asynccontextmanager
async def provider(events: list[Any]) -> AsyncIterator[str]:
    """One that answers everything with these events."""

    async def answer(request: web.Request) -> web.Response:
        named = (
            f"event: {event['type']}\n" if isinstance(event, dict) and "type" in event else ""
            for event in events
        )
        written = (event if isinstance(event, str) else json.dumps(event) for event in events)
        body = "".join(f"{name}data: {data}\n\n" for name, data in zip(named, written, strict=True))
        return web.Response(text=body, content_type="text/event-stream")

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def chunk(delta: Any, finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "choices": [choice]}


def part(**said: Any) -> dict[str, Any]:
    function = {"name": "send_email", "arguments": '{"to": "a"}'}
    call = {"index": 0, "id": "call_1", "type": "function", "function": function}
    return chunk({"tool_calls": [{**call, **said}]})


def chat(*parts: Any, text: str = "") -> list[Any]:
    begun = chunk({"role": "assistant", "content": text})
    return [begun, *parts, chunk({}, "tool_calls"), "[DONE]"]


def messages(*blocks: Any, text: str = "") -> list[Any]:
    usage = {"input_tokens": 1, "output_tokens": 1}
    said = {"id": "m", "type": "message", "role": "assistant", "content": [], "usage": usage}
    return [
        {"type": "message_start", "message": said},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": text},
        },
        {"type": "content_block_stop", "index": 0},
        *blocks,
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": usage},
        {"type": "message_stop"},
    ]


def block(delta: Any = '{"to": "a"}', index: Any = 1, **said: Any) -> list[Any]:
    call = {"type": "tool_use", "id": "t1", "name": "send_email", "input": {}, **said}
    written = {"type": "input_json_delta", "partial_json": delta}
    return [
        {"type": "content_block_start", "index": index, "content_block": call},
        {"type": "content_block_delta", "index": index, "delta": written},
        {"type": "content_block_stop", "index": index},
    ]


def responses(told: Any, done: Any, whole: Any, text: str = "") -> list[Any]:
    said = {
        "id": "msg", "type": "message", "role": "assistant",
        "content": [{"type": "output_text", "text": text}],
    }  # fmt: skip
    response = {"id": "r1", "object": "response", "status": "completed"}
    items = [
        {"type": "response.output_item.added", "output_index": 1, "item": told},
        {"type": "response.output_item.done", "output_index": 1, "item": done},
    ]
    return [
        {"type": "response.created", "response": {**response, "status": "in_progress"}},
        {"type": "response.output_item.added", "output_index": 0, "item": {**said, "content": []}},
        {"type": "response.output_text.delta", "output_index": 0, "delta": text},
        {"type": "response.output_item.done", "output_index": 0, "item": said},
        *(items if told else ()),
        {"type": "response.completed", "response": {**response, "output": [said, whole]}},
    ]


ITEM: dict[str, Any] = {
    "type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "send_email",
    "arguments": '{"to": "a"}',
}  # fmt: skip
ODD = {**ITEM, "call_id": 7}
PIECES = (
    part(function={"name": "send", "arguments": ""}),
    chunk({"tool_calls": [{"index": 0, "function": {"name": "_email", "arguments": "{}"}}]}),
)
CASES: dict[str, tuple[DialectName, Any]] = {
    "an id that is a number": ("chat", lambda text: chat(part(id=7), text=text)),
    "an index that is a text": ("chat", lambda text: chat(part(index="0"), text=text)),
    "half a surrogate pair": (
        "chat",
        lambda text: chat(json.dumps(part(id="\ud83d")), text=text),
    ),
    "a name in pieces": ("chat", lambda text: chat(*PIECES, text=text)),
    "a block's id": ("messages", lambda text: messages(*block(id=7), text=text)),
    "a block's index": ("messages", lambda text: messages(*block(index="1"), text=text)),
    "a block's arguments": ("messages", lambda text: messages(*block({"to": "a"}), text=text)),
    "an item's id": ("responses", lambda text: responses(ODD, ODD, ODD, text)),
    "an item's id at its end": ("responses", lambda text: responses(ITEM, ODD, ITEM, text)),
    "an item of the last event": ("responses", lambda text: responses(None, None, ODD, text)),
}


@pytest.mark.parametrize("text", ["", "I send it."], ids=["nothing shown", "text shown"])
@pytest.mark.parametrize("case", CASES)
async def test_a_part_of_a_call_that_cannot_be_read_is_not_passed_on(
    tmp_path: Path, case: str, text: str
) -> None:
    dialect, made = CASES[case]
    async with (
        provider(made(text)) as url,
        sidecar(tmp_path, DENY.replace("deny", "side_effects"), upstream=url) as car,
    ):
        answer = await car.call(dialect, stream=True, tools=("send_email",))
        shown = await car.admin("GET", "/sessions/s1")

        assert b"send" not in answer.body.replace(b"I send it.", b"")
        assert b"_email" not in answer.body
        assert b"upstream_malformed" in answer.body[-400:]
        assert shown["held_usd"] == 0


async def test_what_is_no_call_passes_though_it_cannot_be_read(tmp_path: Path) -> None:
    """Half a surrogate pair in a text, as some providers cut their deltas."""
    half = json.dumps(chunk({"content": "\ud83d", "tool_calls": []}))
    events = [chunk({"role": "assistant", "content": "hi"}), half, "ping", chunk({}, "stop")]
    async with (
        provider([*events, "[DONE]"]) as url,
        sidecar(tmp_path, DENY, upstream=url) as car,
    ):
        answer = await car.call("chat", stream=True, tools=("send_email", "search"))

        assert b"\\ud83d" in answer.body
        assert b"data: ping" in answer.body
        assert answer.body.endswith(b"data: [DONE]\n\n")
