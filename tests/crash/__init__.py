"""Crash safety: `python -m tests.crash`, and a short run in the suite
(tests/integration/test_crash.py).

A real sidecar on a real file is killed with SIGKILL at each place where a governed call waits, and
before, within and after the statements of its store's threads, under load; it is started again on
the same file, and what clients were given, what the provider billed and what the ledger says are
held against each other. The waits are found by running: nothing in the product knows of them.
"""
