"""Agents that do well: none is stopped, made to conclude or told anything."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.loops.finding import strength
from tests.healthy_sessions import PARTS, Session


@pytest.mark.timeout(60)
@settings(max_examples=250)
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_no_healthy_session_is_told_anything(seed: int, parts: int) -> None:
    """A header at the most. Ten thousand of them: `python -m tests.healthy_sessions`."""
    worst = Session(seed).play(parts).worst

    assert worst is None or strength(worst.rung) <= strength("warn"), worst


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_each_of_what_healthy_agents_do_is_fine_by_itself(part: object) -> None:
    """Where this fails, it names what was held up."""
    for seed in range(20):
        session = Session(seed)
        assert callable(part)
        part(session)
        assert session.worst is None or session.worst.rung == "warn", session.worst
