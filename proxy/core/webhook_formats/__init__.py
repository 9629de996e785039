"""Webhook formats, one file each: how a receiver is told of a handoff."""
