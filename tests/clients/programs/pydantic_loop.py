# mypy: ignore-errors
"""A tool loop on pydantic-ai."""

from pydantic import BaseModel
from pydantic_ai import Agent, UsageLimits
from report import MODEL, MOST_STEPS, PROMPT, run_tool, tell


class Fact(BaseModel):
    """What `structured` runs end with."""

    text: str


BOUND = UsageLimits(request_limit=MOST_STEPS)


def agent(provider):
    return Agent(f"{provider}:{MODEL}", tools=[run_tool])


async def whole(provider):
    return (await agent(provider).run(PROMPT, usage_limits=BOUND)).output


async def structured(provider):
    """Every answer has to be a call: of the tool, or of the one that carries the result."""
    result = await Agent(f"{provider}:{MODEL}", tools=[run_tool], output_type=Fact).run(
        PROMPT, usage_limits=BOUND
    )
    return result.output.text


async def streamed(provider):
    async with agent(provider).run_stream(PROMPT, usage_limits=BOUND) as result:
        return await result.get_output()


tell(
    {
        "chat": lambda: whole("openai-chat"),
        "chat-stream": lambda: streamed("openai-chat"),
        "responses": lambda: whole("openai-responses"),
        "responses-stream": lambda: streamed("openai-responses"),
        "structured-chat": lambda: structured("openai-chat"),
        "structured-messages": lambda: structured("anthropic"),
        "messages": lambda: whole("anthropic"),
        "messages-stream": lambda: streamed("anthropic"),
    }
)
