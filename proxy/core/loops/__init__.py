"""Loops: an agent that does the same again and again, and gets the same again and again."""
