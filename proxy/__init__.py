"""Holdfast: a reverse proxy that keeps an agent's model calls inside hard limits."""

__version__ = "0.1.0"
