"""The soak: `python -m tests.soak`, and a short one in the suite (tests/integration/test_soak.py).

Looked for are chunks that come late because the ledger's WAL is checkpointed, and memory or a file
that grows with what is over. Provider and clients share a process and so a clock: each chunk says
when it was sent. The same streams without a sidecar tell what of a delay is the rig's own.
"""
