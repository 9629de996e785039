"""Fuzzers of everything that comes from outside: `python -m tests.fuzz`, and a short run in the
suite (tests/integration/test_fuzz.py). A real sidecar in a process of its own, as a black box."""
