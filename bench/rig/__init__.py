"""The rig: a load generator and an upstream in C, and what runs them from Python."""
