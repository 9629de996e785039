"""Both ends of the wire run on asyncio's loop and on uvloop; the rest on asyncio's alone.

What is served runs on uvloop; asyncio's loop is stricter with whoever misuses a transport.
"""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, LoopFactory]:
    """Called by pytest-asyncio for each test."""
    factories: dict[str, LoopFactory] = {"asyncio": asyncio.new_event_loop}
    if item.path.name.startswith("test_wire_"):
        factories["uvloop"] = uvloop.new_event_loop
    return factories
