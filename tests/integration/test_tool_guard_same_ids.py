"""Providers that give the same call ids in every turn."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.integration.agent_kit import Agent
from tests.integration.kit import sidecar


def call(place: int, name: str, arguments: str) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": f"call_{place}", "type": "function", "function": function}


def answer(*calls: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": None if calls else "Done."}
    said = {**message, "tool_calls": list(calls)} if calls else message
    finish = "tool_calls" if calls else "stop"
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    choice = {"index": 0, "message": said, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion", "choices": [choice], "usage": usage}


@asynccontextmanager
async def provider(*answers: Any) -> AsyncIterator[tuple[str, list[Any]]]:
    """One that gives these answers, one after the other, and keeps what it was asked."""
    asked: list[Any] = []

    async def serve(request: web.Request) -> web.Response:
        asked.append(json.loads(await request.read()))
        return web.json_response(answers[len(asked) - 1])

    app = web.Application()
    app.router.add_post("/{path:.*}", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        yield f"http://{host}:{port}", asked
    finally:
        await runner.cleanup()


async def test_a_withheld_call_is_put_back_into_its_own_turn_alone(tmp_path: Path) -> None:
    mail = '{"to": "a"}'
    turns = (
        answer(call(0, "send_email", mail)),
        answer(call(0, "search", '{"q": 1}'), call(1, "send_email", mail)),
        answer(call(0, "search", '{"q": 2}')),
        answer(),
    )
    async with (
        provider(*turns) as (url, asked),
        sidecar(tmp_path, "tools: {side_effects: ['send_*']}\n", upstream=url) as car,
    ):
        agent = Agent(car, "chat", False)
        text = await agent.finish()
        calls = [
            [one["id"] for one in message["tool_calls"]]
            for message in asked[3]["messages"]
            if message.get("tool_calls")
        ]

        assert (text, len(agent.sent)) == ("Done.", 1)
        assert [len(body["messages"]) for body in asked] == [1, 3, 6, 7]
        assert calls == [["call_0"], ["call_0"], ["call_0"]]
