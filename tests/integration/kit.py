"""A whole sidecar on loopback, in front of the simulated provider or a raw scripted one."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from proxy.admin.shapes import Json
from proxy.app import App, Settings
from proxy.core.request import DialectName
from proxy.simulator import Simulator
from proxy.simulator.script import Actor
from tests.fakes_loop import LoopClock

TOKEN = "a-token-for-tests-only"
PATHS: Mapping[DialectName, str] = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
}
DIALECTS: tuple[DialectName, ...] = ("chat", "responses", "messages")
MODEL = "sim-model"
PRICES = f'prices: {{"{MODEL}": {{input: 1.0, output: 2.0}}}}\n'
"""1 micro-USD a token of input, 2 a token of output."""
ONCE = "breakers: {consecutive_failures: 10000, minimum_calls: 10000}\nretries: {max: 0}\n"
"""Each call is one attempt, however many have failed: for what is about one attempt."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as a client got it. `cut`: the connection ended before the answer did."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool = False

    @property
    def json(self) -> dict[str, Json]:
        decoded = json.loads(self.body)
        assert isinstance(decoded, dict)
        return decoded

    @property
    def error(self) -> dict[str, Json]:
        error = self.json["error"]
        assert isinstance(error, dict)
        return error

    @property
    def facts(self) -> dict[str, Json]:
        facts = self.error["holdfast"]
        assert isinstance(facts, dict)
        return facts


class Sidecar:
    """A running app and a client that talks to it."""

    def __init__(self, app: App, http: aiohttp.ClientSession, sim: Simulator | None) -> None:
        self.app = app
        self.http = http
        self._sim = sim
        self.url = f"http://127.0.0.1:{app.port}"
        self.admin_url = f"http://127.0.0.1:{app.admin_port}"

    @property
    def sim(self) -> Simulator:
        assert self._sim is not None
        return self._sim

    async def send(
        self,
        path: str,
        body: Json | bytes,
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
    ) -> Answer:
        """One request, its answer read to the end."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"authorization": "Bearer key-1", "content-type": "application/json"}
        sent["anthropic-version"] = "2023-06-01"
        sent.update(headers or {})
        async with self.http.request(method, self.url + path, data=data, headers=sent) as response:
            try:
                got, cut = await response.read(), False
            except aiohttp.ClientPayloadError:
                got, cut = b"", True
            return Answer(response.status, response.headers, got, cut)

    async def call(
        self,
        dialect: DialectName = "chat",
        *,
        session: str = "s1",
        resume: bool = False,
        stream: bool = False,
        headers: Mapping[str, str] | None = None,
        bound: int | None = 100,
        tools: tuple[str, ...] = (),
        **more: Json,
    ) -> Answer:
        """One governed call of a session that the path names; `more` are members of its body."""
        prefix = "r" if resume else "s"
        path = f"/{prefix}/{session}{PATHS[dialect]}" if session else PATHS[dialect]
        body = body_of(dialect, stream=stream, bound=bound, tools=tools)
        return await self.send(path, {**body, **more}, headers)

    async def admin(self, method: str, path: str, body: Json = None) -> dict[str, Json]:
        """One call of the admin API."""
        headers = {"authorization": f"Bearer {TOKEN}"}
        url = f"{self.admin_url}/api/v1{path}"
        data = None if body is None else json.dumps(body).encode()
        async with self.http.request(method, url, headers=headers, data=data) as response:
            decoded = await response.json()
            assert isinstance(decoded, dict)
            return decoded


def body_of(
    dialect: DialectName,
    *,
    stream: bool = False,
    text: str = "hi",
    model: str = MODEL,
    bound: int | None = 100,
    tools: tuple[str, ...] = (),
) -> dict[str, Json]:
    """A request of this dialect with one user message."""
    messages: Json = [{"role": "user", "content": text}]
    body: dict[str, Json] = {"model": model, "stream": stream}
    schema: Json = {"type": "object", "properties": {"q": {"type": "string"}}}
    match dialect:
        case "responses":
            body |= {"input": messages, "max_output_tokens": bound}
            offered: list[Json] = [
                {"type": "function", "name": t, "parameters": schema} for t in tools
            ]
        case "messages":
            body |= {"messages": messages, "max_tokens": bound}
            offered = [{"name": t, "input_schema": schema} for t in tools]
        case _:
            body |= {"messages": messages, "max_completion_tokens": bound}
            offered = [
                {"type": "function", "function": {"name": t, "parameters": schema}} for t in tools
            ]
    if offered:
        body["tools"] = offered
    return {k: v for k, v in body.items() if v is not None}


@asynccontextmanager
async def sidecar(
    folder: Path,
    policy: str = "",
    *,
    script: Actor | None = None,
    upstream: str | None = None,
    store: str = "memory://",
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[Sidecar]:
    """A sidecar under `policy` (YAML, laid over prices for the test model), and its provider:
    the simulated one, or whatever listens at `upstream`."""
    file = folder / "policy.yaml"
    text = policy if "prices:" in policy else PRICES + policy
    file.write_text(text)
    async with Simulator(script=script, seed=1) as sim:
        origin = upstream or sim.url
        variables = {
            "HOLDFAST_OPENAI_URL": f"{origin}/v1",
            "HOLDFAST_ANTHROPIC_URL": origin,
            "HOLDFAST_ADMIN_TOKEN": TOKEN,
            **(env or {}),
        }
        settings = Settings(
            policy_path=file, port=0, admin_port=0, store_url=store, drain_seconds=5
        )
        app = App(settings, variables, LoopClock())
        await app.start()
        try:
            async with aiohttp.ClientSession() as http:
                yield Sidecar(app, http, sim)
        finally:
            await app.close()


def frames(body: bytes) -> list[tuple[str, str]]:
    """The events of a stream, (event, data) each."""
    events = []
    for block in body.replace(b"\r\n", b"\n").decode().split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if lines:
            named = dict(line.split(": ", 1) for line in lines if ": " in line)
            events.append((named.get("event", ""), named.get("data", "")))
    return events
