"""`holdfast demo`: a real agent, a real sidecar and the simulated provider, on loopback only."""
