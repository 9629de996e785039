"""Carries a call into the dialect that a provider speaks, and its answer back."""
