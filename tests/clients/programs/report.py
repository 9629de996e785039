# mypy: ignore-errors
"""What every Python client program here prints: a line of JSON about how each run ended."""

import asyncio
import inspect
import json
import os
import signal
import sys

PROMPT = "Find three facts about rivers."
MODEL = "sim-model"
MOST_STEPS = 100  # frameworks have a bound of their own; here it must not be what ends a run
TIMEOUT = float(os.environ.get("CLIENT_TIMEOUT_SECONDS", "60"))
_FIELDS = ("status_code", "code", "type", "body", "request_id")
DIES = os.environ.get("CLIENT_DIES", "")  # "answer:2": just after its second answer; "tool:2"
looked_up = []
sent = []


def lookup(topic: str) -> str:
    """Looks up one fact about a topic."""
    _dies("answer", len(looked_up) + 1)
    looked_up.append(topic)
    _dies("tool", len(looked_up))
    return f"A fact about {topic}."


def send_email(to: str, subject: str) -> str:
    """Sends an email."""
    sent.append(f"{to}: {subject}")
    return f"Email {len(sent)} is on its way to {to}."


TOOLS = {"lookup": lookup, "send_email": send_email}
TOOL = os.environ.get("CLIENT_TOOL", "lookup")  # the one tool that this run has
run_tool = TOOLS[TOOL]
DESCRIPTION = run_tool.__doc__
_NAMES = list(inspect.signature(run_tool).parameters)
SCHEMA = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in _NAMES},
    "required": _NAMES,
    "additionalProperties": False,
}


def _dies(where, step):
    """As a container does: nothing is left to be cleaned up."""
    if f"{where}:{step}" == DIES:
        os.kill(os.getpid(), signal.SIGKILL)


async def _outcome(run):
    try:
        said = run()
        said = await said if inspect.isawaitable(said) else said
        _dies("answer", len(looked_up) + 1)
        return {"text": said}
    except Exception as error:
        kinds = [kind.__name__ for kind in type(error).__mro__]
        told = {"error": kinds[0], "kinds": kinds, "message": str(error)}
        return told | {field: getattr(error, field, None) for field in _FIELDS}


async def _tell(modes):
    for mode in sys.argv[1:]:
        looked_up.clear()
        sent.clear()
        told = {"mode": mode} | await _outcome(modes[mode])
        told |= {"looked_up": looked_up, "sent": sent}
        print(json.dumps(told, default=str), flush=True)


def tell(modes):
    """Runs the modes that the command line names, one after the other."""
    asyncio.run(_tell(modes))
