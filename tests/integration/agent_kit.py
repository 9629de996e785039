"""A small agent of each dialect, streamed or not: what an SDK makes of an answer, checked strictly.

It runs its tools, counts what it ran, and resends its history with every call, as agents do.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from proxy.core.request import DialectName
from tests.integration.kit import Answer, Sidecar, frames

Turn = list[dict[str, Any]]
"""What an agent appends to its history for one answer."""


class Cut(Exception):
    """The answer was none: a refusal, or a stream that ended with an error."""

    def __init__(self, answer: Answer, error: dict[str, Any]) -> None:
        super().__init__(error.get("message"))
        self.answer = answer
        self.code = error.get("code")


@dataclass
class Called:
    """One tool call as the agent was handed it."""

    call_id: str
    name: str
    arguments: dict[str, Any]


@dataclass
class Agent:
    """tool: what its tools answer. ran: every call that it was handed, in order. resume: it asks by
    its path to be answered from the record."""

    car: Sidecar
    dialect: DialectName
    stream: bool
    session: str = "s1"
    tools: tuple[str, ...] = ("send_email", "search")
    tool: Callable[[Called], str] = lambda call: f"result of {call.name}"
    ran: list[Called] = field(default_factory=list)
    history: Turn = field(default_factory=lambda: [{"role": "user", "content": "hi"}])
    last: Answer | None = None
    headers: dict[str, str] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    bound: int = 1_000
    resume: bool = False

    async def ask(self) -> tuple[Turn, list[Called], str]:
        """One call with all the history. Raises Cut."""
        listed = "input" if self.dialect == "responses" else "messages"
        said: dict[str, Any] = {listed: self.history, **self.extra}
        self.last = answer = await self.car.call(
            self.dialect, session=self.session, resume=self.resume, stream=self.stream,
            tools=self.tools, headers=self.headers, bound=self.bound, **said,
        )  # fmt: skip
        if answer.status != 200:
            raise Cut(answer, answer.error)
        kind = answer.headers["content-type"].split(";")[0]
        assert kind == ("text/event-stream" if self.stream else "application/json")
        body = _READ[self.dialect](answer) if self.stream else answer.json
        return _TURNS[self.dialect](body)

    async def step(self) -> str | None:
        """One call, and the tools it asks for; its text once it asks for none."""
        turn, calls, text = await self.ask()
        self.history += turn
        if not calls:
            return text
        results = [(call, self.run(call)) for call in calls]
        self.history += _RESULTS[self.dialect](results)
        return None

    def run(self, call: Called) -> str:
        self.ran.append(call)
        return self.tool(call)

    async def finish(self, most: int = 10) -> str:
        """Steps until the model asks for nothing more."""
        for _ in range(most):
            if (text := await self.step()) is not None:
                return text
        raise AssertionError("the agent did not come to an end")

    @property
    def sent(self) -> list[dict[str, Any]]:
        """The arguments of each mail that it sent."""
        return [call.arguments for call in self.ran if call.name == "send_email"]


def _chat_turn(body: dict[str, Any]) -> tuple[Turn, list[Called], str]:
    (choice,) = body["choices"]
    message = choice["message"]
    calls = [
        Called(c["id"], c["function"]["name"], json.loads(c["function"]["arguments"] or "{}"))
        for c in message.get("tool_calls") or ()
    ]
    assert choice["finish_reason"] == ("tool_calls" if calls else "stop")
    return [message], calls, message.get("content") or ""


def _messages_turn(body: dict[str, Any]) -> tuple[Turn, list[Called], str]:
    blocks = body["content"]
    calls = [Called(b["id"], b["name"], b["input"]) for b in blocks if b["type"] == "tool_use"]
    text = "".join(b["text"] for b in blocks if b["type"] == "text")
    assert body["stop_reason"] == ("tool_use" if calls else "end_turn")
    return [{"role": "assistant", "content": blocks}], calls, text


def _responses_turn(body: dict[str, Any]) -> tuple[Turn, list[Called], str]:
    items = body["output"]
    calls = [
        Called(i["call_id"], i["name"], json.loads(i["arguments"]))
        for i in items
        if i["type"] == "function_call"
    ]
    texts = [p["text"] for i in items if i["type"] == "message" for p in i["content"]]
    assert body["status"] == "completed"
    return items, calls, "".join(texts)


def _chat_stream(answer: Answer) -> dict[str, Any]:
    events = [data for _, data in frames(answer.body)]
    last = events.pop()
    if last != "[DONE]":
        raise Cut(answer, json.loads(last)["error"])
    chunks = [json.loads(data) for data in events]
    assert len({chunk["id"] for chunk in chunks}) == 1
    deltas = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
    assert sum("role" in one["delta"] for one in deltas) == 1
    (finish,) = [one["finish_reason"] for one in deltas if one.get("finish_reason")]
    text = "".join(one["delta"].get("content") or "" for one in deltas)
    calls: dict[int, dict[str, Any]] = {}
    for one in deltas:
        for delta in one["delta"].get("tool_calls") or ():
            known = calls.setdefault(delta["index"], {"type": "function", "function": {}})
            known["id"] = known.get("id") or delta["id"]
            function = known["function"]
            function["name"] = function.get("name") or delta["function"]["name"]
            more = delta["function"].get("arguments") or ""
            function["arguments"] = function.get("arguments", "") + more
    assert sorted(calls) == list(range(len(calls)))
    message: dict[str, Any] = {"role": "assistant", "content": text or None}
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    return {"choices": [{"message": message, "finish_reason": finish}]}


def _messages_stream(answer: Answer) -> dict[str, Any]:
    events = [json.loads(data) for _, data in frames(answer.body)]
    if events[-1]["type"] == "error":
        raise Cut(answer, events[-1]["error"])
    kinds = [event["type"] for event in events]
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
    assert kinds.count("message_start") == kinds.count("message_stop") == 1
    assert kinds.count("message_delta") == 1
    (stop,) = [e["delta"]["stop_reason"] for e in events if e["type"] == "message_delta"]
    blocks: list[dict[str, Any]] = []
    for event in events:
        if event["type"] == "content_block_start":
            assert event["index"] == len(blocks)
            blocks.append({**event["content_block"], "written": ""})
        elif event["type"] == "content_block_delta":
            assert event["index"] == len(blocks) - 1
            delta = event["delta"]
            blocks[-1]["written"] += delta.get("text") or delta.get("partial_json") or ""
    return {"content": [_block(**block) for block in blocks], "stop_reason": stop}


def _block(written: str, **block: Any) -> dict[str, Any]:
    said = {"text": written} if block["type"] == "text" else {"input": json.loads(written or "{}")}
    return {**block, **said}


def _responses_stream(answer: Answer) -> dict[str, Any]:
    events = [json.loads(data) for _, data in frames(answer.body)]
    if events[-1]["type"] == "error":
        raise Cut(answer, events[-1]["error"])
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    kinds = [event["type"] for event in events]
    assert kinds.count("response.created") == kinds.count("response.completed") == 1
    body: dict[str, Any] = events[-1]["response"]
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert done == body["output"]
    assert {event["response"]["id"] for event in events if "response" in event} >= {body["id"]}
    return body


def _chat_results(results: list[tuple[Called, str]]) -> Turn:
    return [{"role": "tool", "tool_call_id": c.call_id, "content": said} for c, said in results]


def _messages_results(results: list[tuple[Called, str]]) -> Turn:
    blocks = [
        {"type": "tool_result", "tool_use_id": c.call_id, "content": said} for c, said in results
    ]
    return [{"role": "user", "content": blocks}]


def _responses_results(results: list[tuple[Called, str]]) -> Turn:
    return [
        {"type": "function_call_output", "call_id": c.call_id, "output": said}
        for c, said in results
    ]


_TURNS = {"chat": _chat_turn, "messages": _messages_turn, "responses": _responses_turn}
_READ = {"chat": _chat_stream, "messages": _messages_stream, "responses": _responses_stream}
_RESULTS = {
    "chat": _chat_results,
    "messages": _messages_results,
    "responses": _responses_results,
}
