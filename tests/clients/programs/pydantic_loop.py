# mypy: ignore-errors
"""A tool loop on pydantic-ai."""

from pydantic_ai import Agent
from report import MODEL, PROMPT, lookup, tell


def agent(provider):
    return Agent(f"{provider}:{MODEL}", tools=[lookup])


async def whole(provider):
    return (await agent(provider).run(PROMPT)).output


async def streamed(provider):
    async with agent(provider).run_stream(PROMPT) as result:
        return await result.get_output()


tell(
    {
        "chat": lambda: whole("openai-chat"),
        "chat-stream": lambda: streamed("openai-chat"),
        "responses": lambda: whole("openai-responses"),
        "responses-stream": lambda: streamed("openai-responses"),
        "messages": lambda: whole("anthropic"),
        "messages-stream": lambda: streamed("anthropic"),
    }
)
