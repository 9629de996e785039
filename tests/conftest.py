"""The loops that tests run on, and what is done once for all of them.

Both ends of the wire run on asyncio's loop and on uvloop; the rest on asyncio's alone. What is
served runs on uvloop; asyncio's loop is stricter with whoever misuses a transport. It is a patient
one where nobody in another process goes by a time of its own.
"""

import asyncio
import gc
from collections.abc import Callable, Mapping

import pytest
import uvloop

from tests.fakes_loop import PatientLoop

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, LoopFactory]:
    """Called by pytest-asyncio for each test."""
    is_alone = not any(map(item.get_closest_marker, ("process", "sdk")))
    factories: dict[str, LoopFactory] = {
        "asyncio": PatientLoop if is_alone else asyncio.new_event_loop
    }
    if item.path.name.startswith("test_wire_"):
        factories["uvloop"] = uvloop.new_event_loop
    return factories


def pytest_collection_finish() -> None:
    """Ten thousand collected tests stay until the end: to look through them again at each garbage
    collection takes half a second, in which whatever is tested stands still."""
    gc.collect()
    gc.freeze()
