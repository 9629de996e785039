"""The demo's scenes of loops: a model that listens in the end, and one that never does."""

from proxy.admin.shapes import Json
from proxy.demo.agent import Agent
from proxy.demo.model import FILE_TASK, OTHER_FILE, SALES_TASK
from proxy.demo.stage import Stage
from proxy.demo.telling import Promise, command, head, refusal, watch, wrapped
from proxy.simulator.conversation import listing, mapping, string

_LISTENS, _LOOPS = "demo-circle", "demo-loop"
_STOP = 5


async def conclude_without_tools(on: Stage) -> list[Promise]:
    """search, parse, error, search: noticed, told, made to conclude. Nobody has to do a thing."""
    head(on, 1, "An agent goes round in circles: search, parse, error, search.")
    tools = {"search": _search, "parse": _parse}
    agent = Agent(on.http, on.base_url(_LISTENS), SALES_TASK, tools)
    calls = await watch(on, agent)
    note = _told(on)
    plain = note.replace("→", "->")  # for any terminal
    wrapped(on, f"Told to the model on the last step, and not to the agent: {plain}")
    climbed = [call.decision for call in calls]
    return [
        Promise(
            "the circle was noticed, the model told, its tools withheld, and the run concluded",
            agent.concluded and climbed[-1] == "final_answer" and "steer" in climbed,
        ),
        Promise(
            "what the model was told is not in the agent's history",
            bool(note) and note not in agent.history,
        ),
    ]


async def stop_a_loop(on: Stage) -> list[Promise]:
    """A model that ignores all that is stopped; a human guides; the same session concludes."""
    head(on, 2, "An agent reads a file that is not there. Its model listens to nothing.")
    agent = Agent(on.http, on.base_url(_LOOPS), FILE_TASK, {"read_file": _read_file})
    before = on.sim.totals.requests
    first = await watch(on, agent)
    stopped, provider_calls = first[-1], on.sim.totals.requests - before
    refusal(on, stopped)

    head(on, 3, "A human knows better; the same session goes on.")
    advice = f"The report is in {OTHER_FILE}."
    await command(on, "sessions", "guide", _LOOPS, advice, show=("state", "steps"))
    more = await watch(on, agent)
    return [
        Promise(
            f"the loop was stopped at its call number {_STOP} ({stopped.code}, HTTP "
            f"{stopped.status})",
            stopped.code == "loop_detected" and provider_calls == len(first) - 1 == _STOP,
        ),
        Promise(
            f"after `guide` the same session went on from step {stopped.step} and concluded",
            agent.concluded and more[0].step == stopped.step + 1,
        ),
    ]


def _read_file(given: dict[str, Json]) -> str:
    return "total;1,204 EUR" if given["path"] == OTHER_FILE else "error: no such file"


def _search(given: dict[str, Json]) -> str:
    return "1 file: sales-march.csv"


def _parse(given: dict[str, Json]) -> str:
    return f"error: {given['file']} is not a table"


def _told(on: Stage) -> str:
    """The last message of the last request that reached the provider."""
    messages = listing(on.sim.journal[-1].json.get("messages"))
    return string(mapping(messages[-1]).get("content"))
