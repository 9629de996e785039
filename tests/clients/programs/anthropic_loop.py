# mypy: ignore-errors
"""A tool loop on anthropic-python."""

import json

from anthropic import Anthropic
from report import DESCRIPTION, MODEL, PROMPT, SCHEMA, TIMEOUT, TOOL, run_tool, tell

TOOLS = [{"name": TOOL, "description": DESCRIPTION, "input_schema": SCHEMA}]
client = Anthropic(timeout=TIMEOUT)


def loop(answer):
    messages = [{"role": "user", "content": PROMPT}]
    while True:
        content = answer(model=MODEL, messages=messages, tools=TOOLS, max_tokens=2000)
        calls = [block for block in content if block["type"] == "tool_use"]
        if not calls:
            return "".join(block["text"] for block in content if block["type"] == "text")
        results = [
            {"type": "tool_result", "tool_use_id": call["id"], "content": run_tool(**call["input"])}
            for call in calls
        ]
        messages.append({"role": "assistant", "content": content})
        messages.append({"role": "user", "content": results})


def whole(**request):
    return client.messages.create(**request).to_dict()["content"]


def raw_stream(**request):
    blocks, partial = [], ""
    for event in client.messages.create(stream=True, **request):
        if event.type == "content_block_start":
            blocks.append(event.content_block.to_dict())
            partial = ""
        elif event.type == "content_block_delta" and event.delta.type == "text_delta":
            blocks[-1]["text"] += event.delta.text
        elif event.type == "content_block_delta":
            partial += event.delta.partial_json
        elif event.type == "content_block_stop" and partial:
            blocks[-1]["input"] = json.loads(partial)
    return blocks


def helper(**request):
    with client.messages.stream(**request) as stream:
        return stream.get_final_message().to_dict()["content"]


tell(
    {
        "whole": lambda: loop(whole),
        "stream": lambda: loop(raw_stream),
        "helper": lambda: loop(helper),
    }
)
