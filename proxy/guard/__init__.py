"""Calls whose tools are guarded (policy: `tools`): what the agent is handed, and what it is not."""
