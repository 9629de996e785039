# mypy: ignore-errors
"""Reads streams that are given on standard input with the SDKs' own helpers, and says what came.

A line of input is a stream: {"dialect", "stream"}. A line of output is what the SDK made of it.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from anthropic import Anthropic
from openai import OpenAI

cases = [json.loads(line) for line in sys.stdin]


class Provider(BaseHTTPRequestHandler):
    """Answers every request with the stream that it names."""

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        self.wfile.write(cases[int(self.headers["x-case"])]["stream"].encode())

    def log_message(self, *_):
        pass


def chat(headers):
    asked = {"model": "m", "messages": [{"role": "user", "content": "a"}]}
    with openai.chat.completions.stream(**asked, extra_headers=headers) as stream:
        whole = stream.get_final_completion()
    (choice,) = whole.choices
    said = choice.message
    calls = [
        [call.id, call.function.name, call.function.arguments] for call in said.tool_calls or ()
    ]
    usage = whole.usage and [whole.usage.prompt_tokens, whole.usage.completion_tokens]
    return [whole.id, said.content or "", calls, choice.finish_reason, usage]


def chat_by_hand(headers):
    """As most agents read it: all calls by index."""
    asked = {"model": "m", "messages": [{"role": "user", "content": "a"}]}
    whole = ["", "", [], None, None]
    with openai.chat.completions.create(**asked, stream=True, extra_headers=headers) as stream:
        for chunk in stream:
            assert whole[0] in ("", chunk.id)
            whole[0] = chunk.id
            whole[4] = (
                [chunk.usage.prompt_tokens, chunk.usage.completion_tokens]
                if chunk.usage
                else whole[4]
            )
            for choice in chunk.choices:
                whole[1] += choice.delta.content or ""
                whole[3] = choice.finish_reason or whole[3]
                for part in choice.delta.tool_calls or ():
                    if part.index == len(whole[2]):
                        whole[2].append(["", "", ""])
                    call = whole[2][part.index]
                    call[0] = call[0] or part.id
                    call[1] = call[1] or part.function.name
                    call[2] += part.function.arguments or ""
    return whole


def messages(headers):
    asked = {"model": "m", "messages": [{"role": "user", "content": "a"}], "max_tokens": 9}
    with anthropic.messages.stream(**asked, extra_headers=headers) as stream:
        stopped = [event.content_block for event in stream if event.type == "content_block_stop"]
        whole = stream.get_final_message()
    assert stopped == whole.content
    text = "".join(block.text for block in whole.content if block.type == "text")
    uses = [block for block in whole.content if block.type == "tool_use"]
    calls = [[block.id, block.name, json.dumps(block.input)] for block in uses]
    usage = [whole.usage.input_tokens, whole.usage.output_tokens]
    return [whole.id, text, calls, whole.stop_reason, usage]


def responses(headers):
    asked = {"model": "m", "input": "a"}
    done = []
    with openai.responses.stream(**asked, extra_headers=headers) as stream:
        for event in stream:
            if event.type == "response.output_item.done":
                assert event.output_index == len(done)
                done.append(event.item.id)
        whole = stream.get_final_response()
    assert [item.id for item in whole.output] == done
    made = [item for item in whole.output if item.type == "function_call"]
    calls = [[item.call_id, item.name, item.arguments] for item in made]
    usage = [whole.usage.input_tokens, whole.usage.output_tokens]
    return [whole.id, whole.output_text, calls, whole.status, usage]


READERS = {
    "chat": (chat, chat_by_hand),
    "messages": (messages,),
    "responses": (responses,),
}

provider = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
threading.Thread(target=provider.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{provider.server_port}"
openai = OpenAI(base_url=f"{url}/v1", api_key="sk-a-test-key", max_retries=0)
anthropic = Anthropic(base_url=url, api_key="sk-a-test-key", max_retries=0)

for at, case in enumerate(cases):
    for read in READERS[case["dialect"]]:
        print(json.dumps(read({"x-case": str(at)})), flush=True)
