"""How the demo's scenes tell their story: headings, tables, sentences that fit a terminal."""

import textwrap
from dataclasses import dataclass

from proxy.demo.agent import Agent, Call
from proxy.demo.stage import Stage

_MICRO = 1_000_000
_WIDTH = 88
_ROW = "  {:>4}  {:<45} {:<12} {:>8} {:>8}"
_ASKED_CHARACTERS = 45


@dataclass(frozen=True, slots=True)
class Promise:
    """Something that a scene had to show."""

    what: str
    kept: bool


def head(on: Stage, number: int, text: str) -> None:
    on.say(f"\n{number}. {text}\n")


def wrapped(on: Stage, text: str) -> None:
    """A paragraph of its own."""
    on.say("")
    on.say(textwrap.fill(text, _WIDTH, initial_indent="      ", subsequent_indent="      "))


async def watch(on: Stage, agent: Agent) -> list[Call]:
    """Runs the agent, a line a call."""
    on.say(_ROW.format("step", "the model asks for, or says", "decision", "spent", "left"))
    calls = []
    async for call in agent.run():
        calls.append(call)
        asked = textwrap.shorten(call.asked, _ASKED_CHARACTERS, placeholder=" ...")
        row = (call.step, asked) if call.served else ("-", "-")
        on.say(_ROW.format(*row, call.decision, usd(call.spent), usd(call.left)))
    return calls


async def command(on: Stage, *arguments: str, show: tuple[str, ...]) -> None:
    """What a human types, and those lines of what it prints (all, where it has none of them)."""
    shown = (f'"{argument}"' if " " in argument else argument for argument in arguments)
    on.say(f"  $ holdfast {' '.join(shown)}")
    told = await on.holdfast(*arguments)
    lines = [line for line in told.splitlines() if line.split(" ", 1)[0] in show]
    on.say(textwrap.indent("\n".join(lines) or told.rstrip(), "  ") + "\n")


def refusal(on: Stage, call: Call) -> None:
    """What the agent was told when it was refused."""
    wrapped(on, f"HTTP {call.status} {call.code}: {call.message}")


def billed(on: Stage) -> float:
    """USD, by the provider's own journal."""
    return on.sim.totals.cost_micro_usd / _MICRO


def usd(amount: float) -> str:
    return f"${amount:.4f}"
