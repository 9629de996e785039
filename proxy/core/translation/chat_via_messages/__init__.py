"""Chat clients, served by a provider of the Messages API."""
