"""Parallel calls race for one session's budget: what the provider bills through each proxy."""
