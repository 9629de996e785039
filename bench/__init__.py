"""Measurements: `python -m bench` compares with other proxies. Never imported by the product."""
