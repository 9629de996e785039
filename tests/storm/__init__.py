"""What a provider's bad night comes to: an outage, slowness, and hedging against it:
`python -m tests.storm`."""
