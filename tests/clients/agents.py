"""How Codex CLI and Claude Code are started, and what a model says to them."""

import json

from proxy.admin.shapes import Json
from proxy.simulator import Match, Script, ToolCall, Turn
from tests.clients.kit import CLAUDE, CODEX, KEY, Finished, Stage

SAID = "Three things said."
TITLE = Turn(text='{"title": "Three things"}', match=Match(user="^<session>"))
"""Claude Code asks for a title in a call beside its first; it holds the user's words in a tag."""


def three_calls_of(tool: str, *arguments: dict[str, Json], text: str = SAID) -> Script:
    """A model that calls one tool with each of these arguments, one a step, then says `text`."""
    offered = Match(offers=tool)
    calls = [
        Turn(tool_calls=(ToolCall(tool, json.dumps(given)),), match=offered) for given in arguments
    ]
    return Script((TITLE, *calls, Turn(text=text, match=offered)))


async def run_codex(
    on: Stage, prompt: str = "Say three things.", *, model: str = "gpt-5.2"
) -> Finished:
    """Codex ignores OPENAI_BASE_URL: its configuration names the base URL.

    To a model of this name it offers plain functions; its own newest ones get one custom tool.
    """
    return await _codex(on, model, prompt)


async def resume_codex(on: Stage, prompt: str) -> Finished:
    """The user says something more in the last run."""
    return await _codex(on, "gpt-5.2", "resume", "--last", prompt)


async def _codex(on: Stage, model: str, *arguments: str) -> Finished:
    return await on.run(
        str(CODEX),
        "exec",
        "--skip-git-repo-check",
        "--model",
        model,
        "--config",
        f"openai_base_url={on.front.url}/v1",
        "--config",
        "analytics.enabled=false",  # nothing but the model is asked here
        *arguments,
        env={"CODEX_API_KEY": KEY},
    )


async def run_claude(on: Stage, prompt: str = "Say three things.") -> Finished:
    """Claude Code takes ANTHROPIC_BASE_URL, which every client here is given."""
    return await _claude(on, prompt)


async def continue_claude(on: Stage, prompt: str) -> Finished:
    """The user says something more in the last run."""
    return await _claude(on, prompt, "--continue")


async def _claude(on: Stage, prompt: str, *options: str) -> Finished:
    return await on.run(
        str(CLAUDE),
        "--print",
        *options,
        "--allowedTools",
        "Bash(echo:*)",
        "--",
        prompt,
        env={"DISABLE_TELEMETRY": "1", "DISABLE_ERROR_REPORTING": "1", "DISABLE_AUTOUPDATER": "1"},
    )


def shown(ended: Finished) -> str:
    """All that the user saw, without line breaks: a terminal wraps sentences."""
    return " ".join((ended.out + " " + ended.err).split())
