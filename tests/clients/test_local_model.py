"""The last fallback of every client is a local model: a real llama.cpp server, that speaks chat.

Its model knows one sentence; its API, its streams and its usage are real: nobody here wrote them.
"""

import json
from pathlib import Path

import pytest

from tests.clients.falling import Fallbacks, routes
from tests.clients.kit import Stage, node, python
from tests.clients.local import local_model
from tests.clients.tap import Answered, tapped
from tests.integration.kit import PRICES, Sidecar, sidecar

pytestmark = [pytest.mark.sdk, pytest.mark.timeout(120)]

MODES = {
    python("openai_loop"): "chat chat-stream chat-helper responses responses-stream"
    " responses-helper",
    node("openai_loop"): "chat chat-stream chat-helper responses responses-stream responses-helper",
    python("anthropic_loop"): "whole stream helper",
    node("anthropic_loop"): "whole stream helper",
}
SENTENCE = "A river flows to the sea."
NOWHERE = "http://127.0.0.1:9"


def said(answer: Answered) -> str:
    """What the local model said, as it was told by its server, streamed or not."""
    if not answer.body.startswith(b"data:"):
        return str(json.loads(answer.body)["choices"][0]["message"]["content"])
    lines = answer.body.decode().split("\n\n")
    chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


@pytest.mark.parametrize(
    "command",
    [pytest.param((*p, *modes.split()), id=Path(p[1]).name) for p, modes in MODES.items()],
)
async def test_every_client_is_answered_by_the_local_model(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    """Two providers are dead before it. It is asked in its own dialect, costs nothing, and its
    answer arrives whole in the client's."""
    modes = command[2:]
    home = tmp_path / "home"
    home.mkdir()
    async with local_model() as origin, tapped(origin) as back:
        upstreams = {
            "second": f"{{base_url: {NOWHERE}/v1, api_key: k2}}",
            "local": f"{{base_url: {back.url}/v1, price: free, endpoints: [chat]}}",
        }
        chain = "second/some-model, local/tiny"
        policy = PRICES + routes(NOWHERE, Fallbacks(upstreams, chain, chain))
        async with sidecar(tmp_path, policy, upstream=NOWHERE) as side, tapped(side.url) as front:
            on = Stage(Sidecar(side.app, side.http, None), front, back, home)
            ended = await on.run(*command)
            sessions = await on.sessions()

    assert [report["mode"] for report in ended.reports] == list(modes), ended.err
    assert [report.get("text") for report in ended.reports] == [said(a) for a in back.answers]
    assert {said(answer).strip() for answer in back.answers} == {SENTENCE}
    assert len(front.calls()) == len(back.calls("/v1/chat/completions")) == len(modes)
    assert {a.header("x-holdfast-upstream") for a in front.answers} == {"local"}
    assert {seen.json["model"] for seen in back.calls()} == {"tiny"}
    assert [(s["steps"], s["cost_usd"], s["held_usd"]) for s in sessions] == [(1, 0.0, 0.0)] * len(
        modes
    )
    assert not [n for seen in back.calls() for n, v in seen.headers if "sk-a-test-key" in v]
