"""Needs what setup.sh installs: skips without it, or fails where it is required."""

import os

import pytest

from tests.helm.kit import missing


@pytest.fixture(autouse=True)
def installed() -> None:
    """HOLDFAST_REQUIRE_HELM=1: what is not installed is a failure (CI)."""
    why = missing()
    if why is not None and os.environ.get("HOLDFAST_REQUIRE_HELM") == "1":
        pytest.fail(why)
    if why is not None:
        pytest.skip(why)
