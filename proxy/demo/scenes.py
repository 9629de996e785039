"""The demo's scenes. Each plays something real and returns what it promised and whether it held."""

import asyncio
import textwrap
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from proxy.admin.shapes import Json
from proxy.demo.agent import Agent, Call, ask, ask_streamed
from proxy.demo.model import RACE_TASK, REPORT_TOKENS, STREAM_TASK
from proxy.demo.stage import BUDGET_USD, Stage

_AGENT = "demo-agent"
_PAGES = (
    *("log-in", "printing", "delivery", "invoices", "passwords", "exports"),
    *("holidays", "spelling", "a refund"),
)
_RACERS = 30
_RACE_TOKENS = 830
_STREAM_TOKENS = 2_400
_MICRO = 1_000_000
_WIDTH = 88
_ROW = "  {:>4}  {:<40} {:<9} {:>8} {:>8}"


@dataclass(frozen=True, slots=True)
class Promise:
    """Something that a scene had to show."""

    what: str
    kept: bool


async def spend_until_stopped(on: Stage) -> list[Promise]:
    """An agent reads on and on and is stopped; a human extends; the same session concludes."""
    question = "Is there a refund among the open tickets?"
    agent = Agent(on.http, on.base_url(_AGENT), question, {"search_tickets": _search_tickets})
    _head(on, "1", f"An agent reads page after page. Its session may spend ${BUDGET_USD:.2f}.")
    first = await _watch(on, agent)
    stopped = first[-1]
    provider_calls = on.sim.totals.requests
    on.say("")
    _wrapped(on, f"HTTP {stopped.status} {stopped.code}: {stopped.message}")
    on.say(f"\n  The provider has billed {_usd(_billed(on))} for {provider_calls} calls.")

    _head(on, "2", "A human extends the budget; the same session goes on.")
    command = ("sessions", "extend", _AGENT, "--cost-usd", "0.05")
    on.say(f"  $ holdfast {' '.join(command)}")
    told = await on.holdfast(*command)
    on.say(textwrap.indent(_some(told, "state", "steps", "cost_usd"), "  ") + "\n")
    more = await _watch(on, agent)
    return [
        Promise(
            f"the spending agent was stopped at its budget ({stopped.code}, HTTP {stopped.status})",
            (stopped.status, stopped.code) == (422, "budget_exceeded") and len(first) > 1,
        ),
        Promise(
            f"the provider billed {_usd(first[-1].spent)} by then, within ${BUDGET_USD:.2f}",
            0 < first[-1].spent <= BUDGET_USD and provider_calls == len(first) - 1,
        ),
        Promise(
            f"after `extend` the same session went on from step {stopped.step} and concluded",
            agent.concluded and more[0].step == stopped.step + 1,
        ),
    ]


def _search_tickets(arguments: dict[str, Json]) -> str:
    """Every page is about something else; the one that is looked for comes late."""
    page = arguments["page"]
    assert isinstance(page, int)
    about = _PAGES[min(page, len(_PAGES)) - 1]
    return f"page {page}: ten open tickets, all about {about}"


async def cut_a_stream(on: Stage) -> list[Promise]:
    """A provider that ignores max_tokens is cut where the session's money ends."""
    _head(on, "3", "A provider ignores max_tokens and writes on; the stream is cut at the cap.")
    before = _billed(on)
    stream = await ask_streamed(on.http, on.base_url("demo-stream"), STREAM_TASK, _STREAM_TOKENS)
    await on.sim.wait_for(lambda sim: sim.journal[-1].finished is not None)
    entry, billed = on.sim.journal[-1], _billed(on) - before
    on.say(
        f"  asked for {_STREAM_TOKENS:,} tokens at most; the provider writes {REPORT_TOKENS:,}\n"
        f"  {stream.chunks} chunks passed ({len(stream.text):,} characters), then this error event:"
    )
    _wrapped(on, f"{stream.code}: {stream.message}")
    on.say(f"\n  The provider stopped at {entry.output_tokens:,} tokens and billed {_usd(billed)}.")
    return [
        Promise(
            "the stream ended with an error that SDKs raise, not as if it were finished",
            stream.code == "budget_exceeded" and not stream.finished,
        ),
        Promise(
            f"the provider was stopped and billed {_usd(billed)}, within ${BUDGET_USD:.2f}",
            billed <= BUDGET_USD and entry.client_disconnected_at is not None,
        ),
    ]


async def race(on: Stage) -> list[Promise]:
    """Many calls at once against one budget: first with nothing in between, then through here."""
    _head(on, "4", f"{_RACERS} calls at the same moment, one budget of ${BUDGET_USD:.2f}.")
    bare, _ = await _all_at_once(on, f"{on.sim.url}/v1")
    on.say(f"  with nothing in between   {_RACERS:>2} served,  0 refused   billed {_usd(bare)}")
    held, calls = await _all_at_once(on, on.base_url("demo-race"))
    served = sum(call.served for call in calls)
    refused = sum(call.code == "budget_exceeded" for call in calls)
    told = f"{served:>2} served, {refused:>2} refused   billed {_usd(held)}"
    on.say(f"  through Holdfast          {told}")
    on.say(
        "\n  Both figures are the provider's own journal. Checking a budget before a call and\n"
        f"  booking it after lets all {_RACERS} through: {bare / BUDGET_USD:.1f} times the budget."
    )
    return [
        Promise(
            f"{_RACERS} calls at once were billed {_usd(held)} in all, within ${BUDGET_USD:.2f}",
            0 < held <= BUDGET_USD and served > 0 and served + refused == _RACERS,
        )
    ]


SCENES: tuple[Callable[[Stage], Coroutine[None, None, list[Promise]]], ...] = (
    spend_until_stopped,
    cut_a_stream,
    race,
)


async def _watch(on: Stage, agent: Agent) -> list[Call]:
    """Runs the agent, a line a call."""
    on.say(_ROW.format("step", "the model asks for", "decision", "spent", "left"))
    calls = []
    async for call in agent.run():
        calls.append(call)
        asked = textwrap.shorten(call.asked, 40, placeholder=" ...") if call.served else "-"
        step = call.step if call.served else "-"
        on.say(_ROW.format(step, asked, call.decision, _usd(call.spent), _usd(call.left)))
    return calls


async def _all_at_once(on: Stage, base_url: str) -> tuple[float, list[Call]]:
    """What the provider billed for them, and how each was answered."""
    before = _billed(on)

    async def one(number: int) -> Call:
        task = f"{RACE_TASK} T-{number}"
        body: dict[str, Json] = {"messages": [{"role": "user", "content": task}]}
        call, _ = await ask(on.http, base_url, body, _RACE_TOKENS)
        return call

    calls = await asyncio.gather(*(one(number) for number in range(_RACERS)))
    return _billed(on) - before, calls


def _billed(on: Stage) -> float:
    return on.sim.totals.cost_micro_usd / _MICRO


def _usd(amount: float) -> str:
    return f"${amount:.4f}"


def _head(on: Stage, number: str, text: str) -> None:
    on.say(f"\n{number}. {text}\n")


def _wrapped(on: Stage, text: str) -> None:
    on.say(textwrap.fill(text, _WIDTH, initial_indent="      ", subsequent_indent="      "))


def _some(told: str, *names: str) -> str:
    """Those lines of a command's table, or all of it where it has none of them."""
    lines = [line for line in told.splitlines() if line.split(" ", 1)[0] in names]
    return "\n".join(lines) or told.rstrip()
