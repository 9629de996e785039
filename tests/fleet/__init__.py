"""Replicas on one Redis, under load, while processes and servers are killed."""
