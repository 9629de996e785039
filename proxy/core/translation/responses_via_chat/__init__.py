"""A call of the Responses API that a chat model answers."""
