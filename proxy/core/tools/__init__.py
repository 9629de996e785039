"""Tools: which calls the agent is handed, and which it is not."""
