"""Needs the clients installed by setup.sh: skips without them, or fails where they are required."""

import os
import subprocess
import threading
from collections import deque
from collections.abc import Iterator

import pytest

from tests.clients.kit import AIMOCK, HERE, missing, node_command


@pytest.fixture(autouse=True)
def installed(request: pytest.FixtureRequest) -> None:
    """HOLDFAST_REQUIRE_CLIENTS=1: what is not installed is a failure (CI)."""
    agents = request.node.get_closest_marker("agents") is not None
    why = missing(agents=agents)
    if why is not None and os.environ.get("HOLDFAST_REQUIRE_CLIENTS") == "1":
        pytest.fail(why)
    if why is not None:
        pytest.skip(why)


@pytest.fixture(scope="session")
def aimock() -> Iterator[str]:
    """The origin of a running aimock: a provider that nobody here wrote."""
    fixtures = str(HERE / "fixtures" / "aimock.json")
    command = [node_command(), str(AIMOCK), "-p", "0", "-f", fixtures, "--validate-on-load"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        drain = threading.Thread(target=deque, args=(process.stdout, 0))
        try:
            said = next(line for line in process.stdout if "listening on http" in line)
            drain.start()
            yield said[said.index("http") :].strip()
        finally:
            process.terminate()
            drain.join()
