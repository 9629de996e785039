"""Clients of the Messages API, served by a provider of chat completions."""
