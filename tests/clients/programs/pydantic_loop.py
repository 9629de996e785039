# mypy: ignore-errors
"""A tool loop on pydantic-ai."""

from pydantic_ai import Agent, UsageLimits
from report import MODEL, MOST_STEPS, PROMPT, run_tool, tell

BOUND = UsageLimits(request_limit=MOST_STEPS)


def agent(provider):
    return Agent(f"{provider}:{MODEL}", tools=[run_tool])


async def whole(provider):
    return (await agent(provider).run(PROMPT, usage_limits=BOUND)).output


async def streamed(provider):
    async with agent(provider).run_stream(PROMPT, usage_limits=BOUND) as result:
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
