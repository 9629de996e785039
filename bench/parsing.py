"""What it costs to read a request and to say whose it is: `python -m bench.parsing`.

CPU µs of one call, the best of the rounds, by dialect and size. How a body comes:

    first   nothing like it was seen before
    fresh   a conversation that is new, of a client that is known
    again   the same bytes
    grown   a conversation that was answered before, one tool call longer

`parse` is the dialect's alone. `all` is that and the rest of the way: the head, the caller, the
session found, request and answer remembered; what is asked for and its price are not in it.
"""

import argparse
import asyncio
import gc
import json
from collections.abc import Mapping, Sequence
from time import process_time
from typing import cast

from bench.bodies import SLOT, Body, conversation, question
from bench.places import BENCH
from proxy.callers import Callers
from proxy.config.load import load_policy
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.registry import DIALECTS
from proxy.core.endpoints import classify
from proxy.core.memo import MEMO_BYTES, Memo
from proxy.core.paths import split_path
from proxy.core.policy import Policy
from proxy.core.request import DialectName
from proxy.core.usage import Answer, ToolCall
from proxy.identity import SessionIndex
from proxy.intake import Call, Intake
from proxy.prices.book import PriceBook
from proxy.usual import UsualOutput
from proxy.wire import Head
from tests.fakes import FakeClock
from tests.fakes_identity import FakeLinkStore

_PATHS: dict[DialectName, str] = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
}
_SIZES = {"400 B": (0, 400), "58 KB": (60_000, 60), "400 KB": (423_000, 16)}
"""Bytes of the conversation (none: one question), and how many are read in a round."""
_MESSAGES = 60
_LINKS = 200_000
_ANSWER = Answer("word " * 64)


class _Priceless(Intake):
    """An intake that asks for nothing."""

    def _price(self, *_: object) -> None:
        return None

    def _ask(self, *_: object) -> None:  # type: ignore[override]
        return None


class _Fixed:
    def __init__(self, policy: Policy) -> None:
        self.current = policy


class Proxy:
    """The part of it that is measured."""

    def __init__(self, dialect: DialectName, *, named: bool) -> None:
        self._dialect = dialect
        self._named = named
        self.memo = Memo(MEMO_BYTES, 7)
        self.index = SessionIndex(FakeLinkStore(), _LINKS, FakeClock(), memo=self.memo)
        policy = load_policy(BENCH / "policy.yaml", {}).policy
        self._intake = _Priceless(
            _Fixed(policy),
            self.index,
            cast(PriceBook, None),
            UsualOutput(),
            Callers(b"key"),
            FakeClock(),
        )

    def parse(self, body: bytes) -> None:
        DIALECTS[self._dialect].parse(body, Bounds(), self.memo)

    async def govern(self, number: int, body: bytes, answer: Answer = _ANSWER) -> None:
        """Everything, from the head to the answer."""
        call = await self._intake.understand(*self._arguments(number, body))
        assert isinstance(call, Call)
        tenant = call.key.tenant
        self.index.remember_request(tenant, call.identified, call.request)
        self.index.remember_answer(tenant, call.identified, call.request, answer)

    def _arguments(self, number: int, body: bytes) -> tuple:  # type: ignore[type-arg]
        target = _PATHS[self._dialect]
        headers = [
            ("host", "127.0.0.1:8080"),
            ("user-agent", "OpenAI/Python 3.54.0"),
            ("authorization", "Bearer sk-bench"),
            ("content-length", str(len(body))),
        ]
        if self._named:
            headers.append(("x-holdfast-session", f"s{number}"))
        parts = split_path(target)
        endpoint = classify("POST", parts.rest)
        return Head("POST", target, tuple(headers)), parts, endpoint.dialect, body, "c"


def spoken(dialect: DialectName, chat: Body) -> Body:
    """A chat body as another dialect would have it."""
    messages = cast(Sequence[Body], chat["messages"])
    tools = [cast(Body, tool["function"]) for tool in cast(Sequence[Body], chat.get("tools", ()))]
    most = {"max_output_tokens" if dialect == "responses" else "max_tokens": 4096}
    if dialect == "chat":
        return chat
    if dialect == "responses":
        items = [item for message in messages[1:] for item in _items(message)]
        offered = [{"type": "function", **tool} for tool in tools]
        instructions = messages[0]["content"]
        body = {"model": "mock", "instructions": instructions, "input": items, **most}
        return {**body, "tools": offered, "store": False} if tools else body
    offered = [{**tool, "input_schema": tool["parameters"], "parameters": None} for tool in tools]
    system = [{"type": "text", "text": messages[0]["content"]}]
    turns = [_turn(message) for message in messages[1:]]
    body = {"model": "mock", **most, "system": system, "messages": turns}
    return {**body, "tools": offered} if tools else body


def _items(message: Body) -> list[Body]:
    if message["role"] == "tool":
        output = {"call_id": message["tool_call_id"], "output": message["content"]}
        return [{"type": "function_call_output", **output}]
    calls = cast(Sequence[Body], message.get("tool_calls", ()))
    if calls:
        return [
            {"type": "function_call", "call_id": call["id"], **cast(Body, call["function"])}
            for call in calls
        ]
    content = [{"type": "input_text", "text": message["content"]}]
    return [{"type": "message", "role": message["role"], "content": content}]


def _turn(message: Body) -> Body:
    blocks: list[Body] = []
    if message["role"] == "tool":
        result = {"tool_use_id": message["tool_call_id"], "content": message["content"]}
        return {"role": "user", "content": [{"type": "tool_result", **result}]}
    for call in cast(Sequence[Body], message.get("tool_calls", ())):
        function = cast(Body, call["function"])
        given = json.loads(cast(str, function["arguments"]))
        blocks.append(
            {"type": "tool_use", "id": call["id"], "name": function["name"], "input": given}
        )
    return {"role": message["role"], "content": blocks or message["content"]}


class Load:
    """Bodies of one dialect and size, each round's of conversations of their own."""

    def __init__(self, dialect: DialectName, size: str) -> None:
        size_bytes, self.count = _SIZES[size]
        bodies = conversation(_MESSAGES, size_bytes)[-2:] if size_bytes else (question(),)
        self._told = bodies[-1]
        self._bodies = [json.dumps(spoken(dialect, body)).encode() for body in bodies]
        self._number = 0

    def answer(self, number: int) -> Answer:
        """What the last of a conversation's requests goes on from."""
        told = cast(Sequence[Mapping[str, Sequence[Body]]], self._told["messages"])
        call = told[-2]["tool_calls"][0]
        function = cast(Mapping[str, str], call["function"])
        call_id = cast(str, call["id"]).replace(SLOT, f"{number:012x}")
        return Answer(tool_calls=(ToolCall(call_id, function["name"], function["arguments"]),))

    def next(self) -> list[tuple[int, list[bytes]]]:
        """The requests of so many conversations, the earlier first."""
        self._number += self.count
        return [
            (number, [body.replace(SLOT.encode(), b"%012x" % number) for body in self._bodies])
            for number in range(self._number, self._number + self.count)
        ]


def parsed(proxy: Proxy, bodies: Sequence[bytes]) -> float:
    """CPU µs of one call."""
    began = process_time()
    for body in bodies:
        proxy.parse(body)
    return (process_time() - began) / len(bodies) * 1e6


async def governed(proxy: Proxy, numbered: Sequence[tuple[int, bytes]]) -> float:
    """CPU µs of one call, on whatever thread."""
    began = process_time()
    for number, body in numbered:
        await proxy.govern(number, body)
    return (process_time() - began) / len(numbered) * 1e6


async def measure(dialect: DialectName, size: str, rounds: int) -> dict[str, float]:
    """The best of the rounds, by what was done."""
    load = Load(dialect, size)
    best: dict[str, float] = {}

    def note(name: str, cpu: float) -> None:
        best[name] = min(best.get(name, cpu), cpu)

    proxy, fresh = Proxy(dialect, named=False), Proxy(dialect, named=False)
    named = Proxy(dialect, named=True)
    for _ in range(rounds):
        runs = load.next()
        last = [(number, bodies[-1]) for number, bodies in runs]
        raw = [body for _, body in last]
        note("parse first", parsed(Proxy(dialect, named=False), raw))
        note("parse fresh", parsed(fresh, raw))
        note("all fresh", await governed(fresh, last))
        grown = "grown" if len(runs[0][1]) > 1 else "fresh"
        for known in (proxy, named):
            for number, bodies in runs:
                for body in bodies[:-1]:
                    await known.govern(number, body, load.answer(number))
        note(f"parse {grown}", parsed(proxy, raw))
        note(f"all {grown}", await governed(proxy, last))
        note(f"named {grown}", await governed(named, last))
        note("parse again", parsed(proxy, raw))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dialects", nargs="+", default=list(_PATHS), choices=list(_PATHS))
    parser.add_argument("--sizes", nargs="+", default=list(_SIZES), choices=list(_SIZES))
    parser.add_argument("--rounds", type=int, default=12)
    arguments = parser.parse_args()
    gc.freeze()
    for size in arguments.sizes:
        for dialect in arguments.dialects:
            best = asyncio.run(measure(dialect, size, arguments.rounds))
            told = ", ".join(f"{name} {cpu:.1f}" for name, cpu in sorted(best.items()))
            print(f"{size:6} {dialect:9} {told}", flush=True)


if __name__ == "__main__":
    main()
