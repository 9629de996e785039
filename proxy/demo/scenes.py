"""The scenes of the demo. Each plays something real and returns what it promised."""

import asyncio
from collections.abc import Callable, Coroutine

from proxy.admin.shapes import Json
from proxy.demo.agent import Agent, Call, ask, ask_streamed
from proxy.demo.effects import send_once
from proxy.demo.loops import conclude_without_tools, stop_a_loop
from proxy.demo.model import RACE_TASK, REPORT_TOKENS, STREAM_TASK
from proxy.demo.stage import BUDGET_USD, Stage
from proxy.demo.telling import Promise, billed, command, head, refusal, usd, watch, wrapped

_AGENT = "demo-agent"
_PAGES = (
    *("log-in", "printing", "delivery", "invoices", "passwords", "exports"),
    *("holidays", "spelling", "a refund"),
)
_RACERS = 30
_RACE_TOKENS = 830
_STREAM_TOKENS = 480
_STREAM_BUDGET_USD = 0.01


async def spend_until_stopped(on: Stage) -> list[Promise]:
    """An agent reads on and on and is stopped; a human extends; the same session concludes."""
    question = "Is there a refund among the open tickets?"
    agent = Agent(on.http, on.base_url(_AGENT), question, {"search_tickets": _search_tickets})
    head(on, 5, f"An agent reads page after page. Its session may spend ${BUDGET_USD:.2f}.")
    calls_before, cost_before = on.sim.totals.requests, billed(on)
    first = await watch(on, agent)
    stopped = first[-1]
    refusal(on, stopped)
    provider_calls, cost = on.sim.totals.requests - calls_before, billed(on) - cost_before
    on.say(f"\n  The provider has billed {usd(cost)} for {provider_calls} calls.")

    head(on, 6, "A human extends the budget; the same session goes on.")
    extend = ("sessions", "extend", _AGENT, "--cost-usd", "0.05")
    await command(on, *extend, show=("state", "steps", "cost_usd"))
    more = await watch(on, agent)
    return [
        Promise(
            f"the spending agent was stopped at its budget ({stopped.code}, HTTP {stopped.status})",
            (stopped.status, stopped.code) == (422, "budget_exceeded") and len(first) > 1,
        ),
        Promise(
            f"the provider billed {usd(cost)} by then, within ${BUDGET_USD:.2f}",
            0 < cost <= BUDGET_USD and provider_calls == len(first) - 1,
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
    head(on, 7, "A run brings its own budget of $0.01. Its provider ignores max_tokens.")
    before = billed(on)
    url = on.base_url("demo-stream")
    stream = await ask_streamed(on.http, url, STREAM_TASK, _STREAM_TOKENS, _STREAM_BUDGET_USD)
    await on.sim.wait_for(lambda sim: sim.journal[-1].finished is not None)
    entry, cost = on.sim.journal[-1], billed(on) - before
    on.say(
        f"  asked for {_STREAM_TOKENS:,} tokens at most; the provider writes {REPORT_TOKENS:,}\n"
        f"  {stream.chunks} chunks passed ({len(stream.text):,} characters), then this error event:"
    )
    wrapped(on, f"{stream.code}: {stream.message}")
    on.say(f"\n  The provider stopped at {entry.output_tokens:,} tokens and billed {usd(cost)}.")
    return [
        Promise(
            "the stream ended with an error that SDKs raise, not as if it were finished",
            stream.code == "budget_exceeded" and not stream.finished,
        ),
        Promise(
            f"the provider was stopped and billed {usd(cost)}, within ${_STREAM_BUDGET_USD:.2f}",
            cost <= _STREAM_BUDGET_USD and entry.client_disconnected_at is not None,
        ),
    ]


async def race(on: Stage) -> list[Promise]:
    """Many calls at once against one budget: first with nothing in between, then through here."""
    head(on, 8, f"{_RACERS} calls at the same moment, one budget of ${BUDGET_USD:.2f}.")
    bare, _ = await _all_at_once(on, f"{on.sim.url}/v1")
    on.say(f"  with nothing in between   {_RACERS:>2} served,  0 refused   billed {usd(bare)}")
    held, calls = await _all_at_once(on, on.base_url("demo-race"))
    served = sum(call.served for call in calls)
    refused = sum(call.code == "budget_exceeded" for call in calls)
    told = f"{served:>2} served, {refused:>2} refused   billed {usd(held)}"
    on.say(f"  through Holdfast          {told}")
    on.say(
        "\n  Both figures are the provider's own journal. Checking a budget before a call and\n"
        f"  booking it after lets all {_RACERS} through: {bare / BUDGET_USD:.1f} times the budget."
    )
    return [
        Promise(
            f"{_RACERS} calls at once were billed {usd(held)} in all, within ${BUDGET_USD:.2f}",
            0 < held <= BUDGET_USD and served > 0 and served + refused == _RACERS,
        )
    ]


SCENES: tuple[Callable[[Stage], Coroutine[None, None, list[Promise]]], ...] = (
    conclude_without_tools,
    stop_a_loop,
    send_once,
    spend_until_stopped,
    cut_a_stream,
    race,
)


async def _all_at_once(on: Stage, base_url: str) -> tuple[float, list[Call]]:
    """What the provider billed for them, and how each was answered."""
    before = billed(on)

    async def one(number: int) -> Call:
        task = f"{RACE_TASK} T-{number}"
        body: dict[str, Json] = {"messages": [{"role": "user", "content": task}]}
        call, _ = await ask(on.http, base_url, body, _RACE_TOKENS)
        return call

    calls = await asyncio.gather(*(one(number) for number in range(_RACERS)))
    return billed(on) - before, calls
