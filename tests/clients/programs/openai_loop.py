# mypy: ignore-errors
"""A tool loop on openai-python."""

import json

from openai import OpenAI
from report import DESCRIPTION, MODEL, PROMPT, SCHEMA, TIMEOUT, TOOL, run_tool, tell

FUNCTION = {"name": TOOL, "description": DESCRIPTION, "parameters": SCHEMA}
client = OpenAI(timeout=TIMEOUT)


def chat(answer):
    messages = [{"role": "user", "content": PROMPT}]
    while True:
        tools = [{"type": "function", "function": FUNCTION | {"strict": True}}]
        said = answer(model=MODEL, messages=messages, tools=tools)
        if not said.get("tool_calls"):
            return said["content"]
        messages.append(said)
        for call in said["tool_calls"]:
            result = run_tool(**json.loads(call["function"]["arguments"]))
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})


def whole_chat(**request):
    said = client.chat.completions.create(**request).choices[0].message
    return said.model_dump(exclude_none=True)


def raw_chat_stream(**request):
    text, calls = "", {}
    for chunk in client.chat.completions.create(stream=True, **request):
        delta = chunk.choices[0].delta
        text += delta.content or ""
        for part in delta.tool_calls or []:
            function = {"name": part.function.name, "arguments": ""}
            call = calls.setdefault(
                part.index, {"id": part.id, "type": "function", "function": function}
            )
            call["function"]["arguments"] += part.function.arguments or ""
    said = {"role": "assistant", "content": text}
    return said | {"tool_calls": list(calls.values())} if calls else said


def chat_helper(**request):
    with client.chat.completions.stream(**request) as stream:
        said = stream.get_final_completion().choices[0].message
    said = said.model_dump(exclude_none=True, exclude={"parsed"})
    for call in said.get("tool_calls", []):
        call["function"].pop("parsed_arguments", None)
    return said


def responses(answer, *, stored=False):
    history, new = [], [{"role": "user", "content": PROMPT}]
    previous = {}
    while True:
        tools = [{"type": "function", "strict": True, **FUNCTION}]
        history += new
        given = new if stored else history
        said = answer(model=MODEL, input=given, tools=tools, **previous)
        calls = [item for item in said.output if item.type == "function_call"]
        if not calls:
            return said.output_text
        if stored:
            previous = {"previous_response_id": said.id}
        history += [sendable(item) for item in said.output]
        new = [
            {
                "type": "function_call_output",
                "call_id": call.call_id,
                "output": run_tool(**json.loads(call.arguments)),
            }
            for call in calls
        ]


def sendable(item):
    return item.model_dump(exclude_none=True, exclude={"parsed_arguments"}, warnings=False)


def raw_responses_stream(**request):
    said = None
    for event in client.responses.create(stream=True, **request):
        if event.type == "response.completed":
            said = event.response
    return said


def responses_helper(**request):
    with client.responses.stream(**request) as stream:
        return stream.get_final_response()


tell(
    {
        "chat": lambda: chat(whole_chat),
        "chat-stream": lambda: chat(raw_chat_stream),
        "chat-helper": lambda: chat(chat_helper),
        "responses": lambda: responses(client.responses.create),
        "responses-stored": lambda: responses(client.responses.create, stored=True),
        "responses-stream": lambda: responses(raw_responses_stream),
        "responses-helper": lambda: responses(responses_helper),
    }
)
