"""LiteLLM's own hook for keys, in place of its key table, which needs a database: one agent's."""

# LiteLLM's venv has these.
from fastapi import Request  # type: ignore[import-not-found]
from litellm.proxy._types import UserAPIKeyAuth  # type: ignore[import-not-found]
from litellm.proxy.agent_endpoints.agent_registry import (  # type: ignore[import-not-found]
    global_agent_registry,
)


async def user_api_key_auth(request: Request, api_key: str) -> UserAPIKeyAuth:
    """Every key is the agent's."""
    agent = global_agent_registry.get_agent_by_name("racer")
    return UserAPIKeyAuth(api_key=api_key, agent_id=agent.agent_id)
