"""All dialects in one place."""

from typing import get_args

from proxy.core.dialects.registry import DIALECTS
from proxy.core.request import DialectName


def test_every_dialect_is_there_under_its_own_name() -> None:
    """A request is answered by the dialect that it names."""
    assert set(DIALECTS) == set(get_args(DialectName))
    assert all(dialect.name == name for name, dialect in DIALECTS.items())
