"""A small agent as people write them: a loop over chat completions, told a base URL and no more."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

import aiohttp

from proxy.admin.shapes import Json
from proxy.demo.model import NAME

_INSTRUCTIONS = (
    "You answer questions of the support team about tickets. Use the tools; never guess. Tickets "
    "have a status (open, waiting, closed), an owner and a customer. Say what you did. "
) * 8
_STEP_TOKENS = 800

Tool = Callable[[dict[str, Json]], str]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the agent as it saw it. Money in USD. asked: the tool call, or the text."""

    status: int
    asked: str
    decision: str
    step: int
    spent: float
    left: float
    code: str = ""
    message: str = ""

    @property
    def served(self) -> bool:
        return self.status == 200


class Agent:
    """Holds a conversation and works until the model concludes or the provider refuses.

    tools: by name, each given its arguments; what they return may change while the agent runs.
    ran: the names of those that were run, in order.
    """

    def __init__(
        self,
        http: aiohttp.ClientSession,
        base_url: str,
        question: str,
        tools: Mapping[str, Tool],
    ) -> None:
        self._http, self._base_url, self._tools = http, base_url, tools
        self._messages: list[Json] = [
            {"role": "system", "content": _INSTRUCTIONS},
            {"role": "user", "content": question},
        ]
        self.ran: list[str] = []
        self.concluded = False

    @property
    def history(self) -> str:
        """All that it has heard and said, as text."""
        return json.dumps(self._messages, ensure_ascii=False)

    async def run(self) -> AsyncIterator[Call]:
        """Calls the model until it concludes or is refused; after a refusal it may run again."""
        while not self.concluded:
            offered: list[Json] = [_offered(name) for name in self._tools]
            body: dict[str, Json] = {"messages": self._messages, "tools": offered}
            call, answer = await ask(self._http, self._base_url, body, _STEP_TOKENS)
            if call.served:
                self._take(answer)
            yield call
            if not call.served:
                return

    def _take(self, answer: dict[str, Json]) -> None:
        message = _message(answer)
        self._messages.append(message)
        wanted = message.get("tool_calls")
        self.concluded = not wanted
        for tool_call in wanted if isinstance(wanted, list) else ():
            assert isinstance(tool_call, dict)
            function = tool_call["function"]
            assert isinstance(function, dict)
            content = self._run(str(function["name"]), str(function["arguments"]))
            self._messages.append(
                {"role": "tool", "tool_call_id": tool_call["id"], "content": content}
            )

    def _run(self, name: str, arguments: str) -> str:
        self.ran.append(name)
        return self._tools[name](json.loads(arguments))


def _offered(name: str) -> Json:
    parameters: Json = {"type": "object", "additionalProperties": True}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


async def ask(
    http: aiohttp.ClientSession, base_url: str, body: dict[str, Json], max_tokens: int
) -> tuple[Call, dict[str, Json]]:
    """One unstreamed chat completion."""
    sent = {"model": NAME, "max_tokens": max_tokens, **body}
    async with http.post(f"{base_url}/chat/completions", json=sent) as response:
        answer: dict[str, Json] = await response.json()
        headers = response.headers
        error = answer.get("error") if response.status != 200 else None
        told = error if isinstance(error, dict) else {}
        call = Call(
            status=response.status,
            asked="" if told else _asked(_message(answer)),
            decision=headers.get("x-holdfast-decision", "refused" if told else ""),
            step=int(headers.get("x-holdfast-step", "0")),
            spent=float(headers.get("x-holdfast-spent-usd", "0")),
            left=float(headers.get("x-holdfast-remaining-usd", "0")),
            code=str(told.get("code", "")),
            message=str(told.get("message", "")),
        )
        return call, answer


@dataclass(frozen=True, slots=True)
class Stream:
    """A streamed answer as an SDK sees it. code, message: of the error event that ended it."""

    status: int
    chunks: int
    text: str
    finished: bool
    code: str = ""
    message: str = ""


async def ask_streamed(
    http: aiohttp.ClientSession, base_url: str, question: str, max_tokens: int, budget_usd: float
) -> Stream:
    """One streamed chat completion, read to its end, of a run that brings its own budget."""
    body = {
        "model": NAME,
        "stream": True,
        "max_tokens": max_tokens,
        "messages": [{"role": "user", "content": question}],
    }
    texts: list[str] = []
    finished, code, message = False, "", ""
    headers = {"x-holdfast-budget-usd": str(budget_usd)}
    async with http.post(f"{base_url}/chat/completions", json=body, headers=headers) as response:
        async for line in response.content:
            data = line.decode().strip().removeprefix("data: ")
            if data == "[DONE]":
                finished = True
            elif data.startswith("{"):
                event = json.loads(data)
                error = event.get("error", {})
                code, message = error.get("code", code), error.get("message", message)
                texts += [
                    choice["delta"].get("content") or "" for choice in event.get("choices", ())
                ]
        return Stream(response.status, len(texts), "".join(texts), finished, code, message)


def _message(answer: dict[str, Json]) -> dict[str, Json]:
    choices = answer["choices"]
    assert isinstance(choices, list)
    assert isinstance(choices[0], dict)
    message = choices[0]["message"]
    assert isinstance(message, dict)
    return message


def _asked(message: dict[str, Json]) -> str:
    wanted = message.get("tool_calls")
    if not isinstance(wanted, list):
        return str(message.get("content"))
    functions = [call["function"] for call in wanted if isinstance(call, dict)]
    return ", ".join(_call(f) for f in functions if isinstance(f, dict))


def _call(function: dict[str, Json]) -> str:
    given = json.loads(str(function["arguments"]))
    return f"{function['name']}({', '.join(f'{key}={value}' for key, value in given.items())})"
