"""An agent of a few lines: asks its model, does as it is told, until it is done or stopped."""

import json
import os
import time
import urllib.error
import urllib.request

URL = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
KEY = os.environ.get("OPENAI_API_KEY", "held-by-holdfast")
PAUSE_SECONDS = float(os.environ.get("AGENT_PAUSE_SECONDS", 0))
SCHEMA = {"type": "object", "properties": {"what": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": SCHEMA}}


def ask(messages):
    body = {"model": os.environ["AGENT_MODEL"], "messages": messages, "tools": [TOOL]}
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    request = urllib.request.Request(URL, json.dumps(body).encode(), headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=600) as answer:
        return json.load(answer)["choices"][0]["message"]


def work():
    messages = [{"role": "user", "content": "Find out what is new."}]
    for turn in range(1, 1000):
        try:
            message = ask(messages)
        except urllib.error.HTTPError as error:
            print(f"turn {turn}: stopped:", json.load(error)["error"]["message"], flush=True)
            return
        messages.append(message)
        print(f"turn {turn}:", message.get("content") or "calls a tool", flush=True)
        calls = message.get("tool_calls") or []
        if not calls:
            return
        for call in calls:
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": "Nothing."})


work()
while PAUSE_SECONDS:
    time.sleep(PAUSE_SECONDS)
    work()
