"""Who can be asked in whose place."""

from typing import get_args

import pytest

from proxy.core.endpoints import classify
from proxy.core.request import DialectName
from proxy.core.translation.registry import path_of, translation

DIALECTS: tuple[DialectName, ...] = get_args(DialectName)


@pytest.mark.parametrize("name", DIALECTS)
def test_a_dialect_is_served_where_its_path_says(name: DialectName) -> None:
    endpoint = classify("POST", path_of(name))

    assert endpoint.kind == "governed"
    assert endpoint.dialect == name


@pytest.mark.parametrize("name", DIALECTS)
def test_nothing_is_translated_into_itself(name: DialectName) -> None:
    """A call in the client's own dialect passes byte for byte."""
    assert translation(name, name) is None
