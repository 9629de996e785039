# mypy: ignore-errors
"""What every Python client program here prints: a line of JSON about how each run ended."""

import asyncio
import inspect
import json
import os
import sys

PROMPT = "Find three facts about rivers."
MODEL = "sim-model"
DESCRIPTION = "Looks up one fact about a topic."
SCHEMA = {
    "type": "object",
    "properties": {"topic": {"type": "string"}},
    "required": ["topic"],
    "additionalProperties": False,
}
TIMEOUT = float(os.environ.get("CLIENT_TIMEOUT_SECONDS", "60"))
_FIELDS = ("status_code", "code", "type", "body", "request_id")
looked_up = []


def lookup(topic: str) -> str:
    """Looks up one fact about a topic."""
    looked_up.append(topic)
    return f"A fact about {topic}."


async def _outcome(run):
    try:
        said = run()
        return {"text": await said if inspect.isawaitable(said) else said}
    except Exception as error:
        kinds = [kind.__name__ for kind in type(error).__mro__]
        told = {"error": kinds[0], "kinds": kinds, "message": str(error)}
        return told | {field: getattr(error, field, None) for field in _FIELDS}


async def _tell(modes):
    for mode in sys.argv[1:]:
        looked_up.clear()
        told = {"mode": mode} | await _outcome(modes[mode]) | {"looked_up": looked_up}
        print(json.dumps(told, default=str), flush=True)


def tell(modes):
    """Runs the modes that the command line names, one after the other."""
    asyncio.run(_tell(modes))
