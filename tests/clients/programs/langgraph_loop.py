# mypy: ignore-errors
"""A tool loop on LangGraph with langchain-openai; `parallel`: three of them at once."""

import asyncio

from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from report import MODEL, MOST_STEPS, PROMPT, run_tool, tell

TOOLS = [tool(run_tool)]


def graph(**options):
    model = ChatOpenAI(model=MODEL, **options).bind_tools(TOOLS)

    async def think(state):
        return {"messages": [await model.ainvoke(state["messages"])]}

    built = StateGraph(MessagesState)
    built.add_node("think", think)
    built.add_node("tools", ToolNode(TOOLS))
    built.add_edge(START, "think")
    built.add_conditional_edges("think", tools_condition)
    built.add_edge("tools", "think")
    return built.compile()


async def run(**options):
    bounded = {"recursion_limit": 2 * MOST_STEPS}
    end = await graph(**options).ainvoke({"messages": [HumanMessage(PROMPT)]}, bounded)
    return end["messages"][-1].text


async def parallel():
    return await asyncio.gather(run(), run(), run())


tell(
    {
        "chat": run,
        "chat-stream": lambda: run(streaming=True),
        "responses": lambda: run(use_responses_api=True),
        "responses-stream": lambda: run(use_responses_api=True, streaming=True),
        "parallel": parallel,
    }
)
