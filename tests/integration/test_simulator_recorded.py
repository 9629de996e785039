"""The simulator's streams beside recorded ones: the same events with the same fields.

Recordings: public test cassettes (MIT, Apache-2.0), by HOLDFAST_DATA or beside the repository.
"""

import gzip
import json
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import ClientSession

from proxy.simulator import Script, Simulator, ToolCall, Turn

ROOT = Path(os.environ.get("HOLDFAST_DATA", Path(__file__).parents[2] / "../shared/data"))
CASSETTES = ROOT / "cassettes" / "cassettes_small.jsonl.gz"
KEY = {"authorization": "Bearer k", "anthropic-version": "2023-06-01"}
OPTIONAL = {"obfuscation"}
Shape = frozenset[str]
Event = dict[str, object]
MESSAGES = [{"role": "user", "content": "Hello"}]
ASKED: dict[str, dict[str, object]] = {
    "/v1/chat/completions": {"messages": MESSAGES, "stream_options": {"include_usage": True}},
    "/v1/responses": {"input": "Hello", "reasoning": {"effort": "low", "summary": "auto"}},
    "/v1/messages": {
        "messages": MESSAGES,
        "max_tokens": 2000,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    },
}
UNRECORDED = {  # Anthropic's streams with tools or thinking: from its documentation
    "content_block_start.content_block.tool_use",
    "content_block_start.content_block.thinking",
    "content_block_delta.delta.input_json_delta",
    "content_block_delta.delta.thinking_delta",
    "content_block_delta.delta.signature_delta",
}
HOSTS = {"/v1/messages": "api.anthropic.com"}


def shapes(text: str) -> Iterator[tuple[str, Shape]]:
    """Kind and fields of each event, and of what is inside it."""
    for line in text.splitlines():
        if not line.startswith("data:") or "[DONE]" in line:
            continue
        event: Event = json.loads(line[5:])
        kind = str(event.get("type") or ("usage" if event.get("usage") else "chunk"))
        yield kind, frozenset(event) - OPTIONAL
        for name in ("response", "message", "item", "part", "delta", "content_block", "usage"):
            inner = event.get(name)
            if isinstance(inner, dict):
                yield f"{kind}.{name}.{inner.get('type', '')}", frozenset(inner)
        for choice in event.get("choices") or ():  # type: ignore[attr-defined]  # JSON
            yield f"{kind}.choice", frozenset(choice)
            yield f"{kind}.delta", frozenset(choice["delta"])


def recorded(path: str) -> dict[str, set[Shape]]:
    """What the real provider has been seen to send."""
    seen: dict[str, set[Shape]] = defaultdict(set)
    host = HOSTS.get(path, "api.openai.com")
    with gzip.open(CASSETTES, "rt", encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            url, answer = record["request"]["url"].split("?")[0], record["response"]
            if url != f"https://{host}{path}" or not isinstance(answer["body"], str):
                continue
            if answer["body"].startswith(("data:", "event:")):
                for kind, shape in shapes(answer["body"]):
                    seen[kind].add(shape)
    return seen


@pytest.mark.data
@pytest.mark.skipif(not CASSETTES.exists(), reason=f"no recordings at {CASSETTES}")
@pytest.mark.parametrize("path", list(ASKED))
async def test_streams_have_the_recorded_events_and_fields(path: str) -> None:
    """A proxy that was only tested on invented shapes meets the real ones in production."""
    real = recorded(path)
    turns = (
        Turn("Hello there.", reasoning="Greet back."),
        Turn(tool_calls=(ToolCall("look", {"at": "sky"}),)),
    )
    made: set[tuple[str, Shape]] = set()
    for turn in turns:
        async with Simulator(Script((turn,))) as sim, ClientSession(headers=KEY) as client:
            body = {"model": "m", "stream": True, **ASKED[path]}
            made |= set(shapes(await (await client.post(sim.url + path, json=body)).text()))

    strange = {kind for kind, _ in made if kind not in real} - UNRECORDED
    differing = {
        kind: (sorted(shape), [sorted(shape ^ other) for other in real[kind]])
        for kind, shape in made
        if kind in real and shape not in real[kind]
    }
    assert (strange, differing) == (set(), {})
