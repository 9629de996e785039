# mypy: ignore-errors
"""A tool loop on the OpenAI Agents SDK."""

from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from report import MODEL, MOST_STEPS, PROMPT, run_tool, tell

set_tracing_disabled(True)  # its traces go to OpenAI, whatever the base URL


def agent(model):
    chosen = model(MODEL, AsyncOpenAI())
    return Agent(name="reader", tools=[function_tool(run_tool)], model=chosen)


async def whole(model):
    return (await Runner.run(agent(model), PROMPT, max_turns=MOST_STEPS)).final_output


async def streamed(model):
    result = Runner.run_streamed(agent(model), PROMPT, max_turns=MOST_STEPS)
    async for _ in result.stream_events():
        pass
    return result.final_output


tell(
    {
        "responses": lambda: whole(OpenAIResponsesModel),
        "responses-stream": lambda: streamed(OpenAIResponsesModel),
        "chat": lambda: whole(OpenAIChatCompletionsModel),
        "chat-stream": lambda: streamed(OpenAIChatCompletionsModel),
    }
)
