"""The figures of docs/checkpoints.md are measured on what is really kept."""

from pathlib import Path

from bench.recording import bodies, check, deflated, drawn, record, recorded

SAMPLE = Path(__file__).parents[2] / "data" / "trajectories_sample.jsonl.gz"


async def test_a_recorded_trajectory_costs_less_than_half_more_than_its_messages() -> None:
    """Of a real agent, with all that it was answered."""
    tools, messages = recorded(SAMPLE)
    steps = bodies(tools, messages)
    session = await record(steps)
    said = b"".join([str(message).encode() for message in messages])

    assert sum(map(sum, session.sizes)) < 1.5 * deflated(said + b"".join([a for _, a in steps]))
    assert await check(session, steps) < 5


async def test_a_step_costs_the_same_late_as_early() -> None:
    session = await record(bodies(*drawn(120, 96_000)))

    early, late = [sum(map(sum, session.sizes[at : at + 9])) for at in (10, 110)]
    assert late < 1.3 * early
