"""The demo's scene of a side effect: what was done once is not done again."""

from proxy.admin.shapes import Json
from proxy.demo.agent import Agent, Tool
from proxy.demo.model import EMAIL_TASK
from proxy.demo.stage import Stage
from proxy.demo.telling import Promise, head, watch

_SESSION = "demo-email"


async def send_once(on: Stage) -> list[Promise]:
    """The model asks for the same email twice; the second is answered with the first's result."""
    head(on, 4, "A model is not sure that its email has gone out, and asks for it once more.")
    sent: list[Json] = []
    agent = Agent(on.http, on.base_url(_SESSION), EMAIL_TASK, {"send_email": _sending(sent)})
    before = on.sim.totals.requests
    calls = await watch(on, agent)
    provider_calls = on.sim.totals.requests - before
    on.say(
        f"\n  The model was called {provider_calls} times and asked for two emails. The second did "
        "not\n  reach the agent: the model was given the first one's result and concluded."
    )
    return [
        Promise(
            f"two emails were asked for alike, {len(sent)} was sent, and the run concluded",
            len(sent) == 1 and agent.concluded and provider_calls == len(calls) + 1,
        )
    ]


def _sending(sent: list[Json]) -> Tool:
    def send_email(given: dict[str, Json]) -> str:
        sent.append(given)
        return f"sent, number {len(sent)}"

    return send_email
