"""${NAME} in the values of a policy."""

import pytest

from proxy.config.environment import Expanded, expand

ENV = {"A": "1", "EMPTY": "", "TRICKY": "${A}"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain $A {A}", Expanded("plain $A {A}")),
        ("${A}", Expanded("1", used=True)),
        ("x${A}y${A}", Expanded("x1y1", used=True)),
        ("${NO:-default}", Expanded("default", used=True)),
        ("${NO:-}", Expanded("", used=True)),
        ("${NO:-a:-b$c{d}", Expanded("a:-b$c{d", used=True)),
        ("${A:-default}", Expanded("1", used=True)),
        ("${EMPTY}", Expanded("", used=True)),
        ("${EMPTY:-default}", Expanded("default", used=True)),
        ("${TRICKY}", Expanded("${A}", used=True)),
        ("$${A}", Expanded("${A}")),
    ],
)
def test_a_reference_becomes_its_value(text: str, expected: Expanded) -> None:
    """As in a shell; what comes out is not expanded again."""
    assert expand(text, ENV) == expected


@pytest.mark.parametrize("text", ["${", "${A", "${}", "${1A}", "${A:x}", "${NO:-${A}}", "a ${ b"])
def test_what_looks_like_a_reference_and_is_none_is_a_fault(text: str) -> None:
    """Left as it stands it would reach a provider as part of a URL or a key."""
    assert "not closed" in str(expand(text, ENV).fault)


def test_a_variable_that_is_not_set_is_a_fault_that_names_it() -> None:
    """An empty key would be found out only by the first call at night."""
    assert (
        expand("${NO}", ENV).fault == "${NO} is not set (allowed: set it, or give ${NO:-default})"
    )
