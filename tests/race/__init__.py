"""Hundreds of calls at once on one budget, against a provider that bills honestly.

`python -m tests.race` runs every scenario and prints a line for each.
"""
