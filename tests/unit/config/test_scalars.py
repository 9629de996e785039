"""The kinds of single values: what each takes, exactly, and what it says of the rest."""

from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.config.nodes import Scalar, compose
from proxy.config.problems import Place
from proxy.config.reading import INVALID, Reading
from proxy.config.scalars import (
    Choice,
    Flag,
    Kind,
    Number,
    Secret,
    Text,
    Usd,
    UsdPerMillion,
    Whole,
)

law = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

ENV = {"TEN": "10", "WORD": "word", "NOTHING": "", "KEY": "sk-1", "BAD": "a b", "NO": "no"}
WORD = Text("a word", "[a-z0-9]+", 5)


def read(kind: Kind, yaml: str) -> object:
    """The value, or the problem instead of it."""
    reading = Reading(ENV)
    reading.places[()] = Place("f")
    value = kind.read(compose(yaml, "f").root, reading, ("k",))
    return [str(p) for p in reading.problems] if value is INVALID else value


@pytest.mark.parametrize(
    ("kind", "yaml", "value"),
    [
        (Whole(), "7", 7),
        (Whole(), "007", 7),
        (Whole(), "+7", 7),
        (Whole(), "7.0", 7),
        (Whole(), "7e2", 700),
        (Whole(), '"${TEN}"', 10),
        (Whole(), "${TEN}0", 100),
        (Whole(), "${UNSET:-3}", 3),
        (Number(), "2.5", 2.5),
        (Number(), ".5", 0.5),
        (Number(0, 1, above=True), "1", 1.0),
        (Usd(), "10.00", 10_000_000),
        (Usd(), "0.000001", 1),
        (Usd(), "0.1", 100_000),
        (Usd(), "1e-6", 1),
        (Usd(), "1000000000", 10**15),
        (UsdPerMillion(), "3.75", "3.75"),
        (UsdPerMillion(), "1e2", "100"),
        (Flag(), "true", True),
        (Flag(), "False", False),
        (Choice(("no", "1h")), "no", "no"),
        (Choice(("no", "1h")), "${NO}", "no"),
        (WORD, "no", "no"),
        (WORD, '"12"', "12"),
        (WORD, "x${TEN}", "x10"),
        (WORD, "${TEN}", "10"),
        (Text("", ".*", make=len), "abc", 3),
        (Secret(), "${KEY}", "sk-1"),
    ],
)
def test_a_good_value_is_read_exactly(kind: Kind, yaml: str, value: object) -> None:
    """As YAML 1.2 has it, and money without a float in between."""
    got = read(kind, yaml)

    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("kind", "yaml", "message"),
    [
        (Whole(), "no", "no is not valid (allowed: a whole number of 0 or more)"),
        (Whole(), '"7"', '"7" is not valid (allowed: a whole number of 0 or more)'),
        (Whole(), "7.5", "7.5 is not valid (allowed: a whole number of 0 or more)"),
        (Whole(), "5_000", "5_000 is not valid (allowed: a whole number of 0 or more)"),
        (Whole(), "12:30:45", "12:30:45 is not valid (allowed: a whole number of 0 or more)"),
        (Whole(), "0x10", "0x10 is not valid (allowed: a whole number of 0 or more)"),
        (Whole(), "true", "true is not valid (allowed: a whole number of 0 or more)"),
        (Whole(), "~", "null is not valid (allowed: a whole number of 0 or more)"),
        (Whole(), "1e999", "1e999 is not valid (allowed: a whole number of 0 or more)"),
        (Whole(), "9" * 70, "9" * 60 + "… is not valid (allowed: a whole number of 0 or more)"),
        (Whole(), "${WORD}", "${WORD} is not valid (allowed: a whole number of 0 or more)"),
        (Whole(4, 5), "6", "6 is not valid (allowed: a whole number from 4 to 5)"),
        (Whole(1, 1), "2", "2 is not valid (allowed: 1)"),
        (Whole(), "[1]", "a list is not valid (allowed: a whole number of 0 or more)"),
        (Whole(), "{a: 1}", "a mapping is not valid (allowed: a whole number of 0 or more)"),
        (Number(), "-1", "-1 is not valid (allowed: a number of 0 or more)"),
        (Number(above=True), "0", "0 is not valid (allowed: a number above 0)"),
        (Number(0, 1, above=True), "2", "2 is not valid (allowed: a number above 0, up to 1)"),
        (Number(), ".inf", ".inf is not valid (allowed: a number of 0 or more)"),
        (Number(), ".nan", ".nan is not valid (allowed: a number of 0 or more)"),
        (Flag(), "yes", "yes is not valid (allowed: true, false)"),
        (Flag(), '"true"', '"true" is not valid (allowed: true, false)'),
        (Choice(("1h", "1d")), "1", "1 is not valid (allowed: 1h, 1d)"),
        (Choice(("a",), unbuilt=("b",)), "b", "b: not available in this version (allowed: a)"),
        (WORD, "12", "12 is not valid (allowed: a word)"),
        (WORD, "true", "true is not valid (allowed: a word)"),
        (WORD, "toolong", "toolong is not valid (allowed: a word)"),
        (WORD, "${NOTHING}", "${NOTHING} is not valid (allowed: a word)"),
        (WORD, '"a\\nb"', '"a\\nb" is not valid (allowed: a word)'),
        (WORD, "${X}", "${X} is not set (allowed: set it, or give ${X:-default})"),
        (Text("a word", ".*", unbuilt=("${WORD",)), "$${WORD}",
         "${WORD: not available in this version (allowed: a word)"),
        (Text("a word", "x", hidden=True), "sk-1", "this value is not valid (allowed: a word)"),
        (Secret(), "s k", "this value is not valid (allowed: printable ASCII without spaces)"),
        (Secret(), "${BAD}", "this value is not valid (allowed: printable ASCII without spaces)"),
        (Secret(), "12", "this value is not valid (allowed: printable ASCII without spaces)"),
    ],
)  # fmt: skip
def test_a_bad_value_is_refused_by_name(kind: Kind, yaml: str, message: str) -> None:
    """Shown as the file has it, never as the environment filled it; a secret is not shown."""
    problems = read(kind, yaml)

    assert isinstance(problems, list)
    assert [p.split(": ", 2)[2] for p in problems] == [message]


@law
@given(st.decimals(0, 10**9, places=6))
def test_money_is_read_to_the_last_micro_usd(amount: Decimal) -> None:
    """0.1 + 0.2 has no place in a ledger."""
    assert read(Usd(), f"{amount:f}") == int(amount * 10**6)


@pytest.mark.parametrize("yaml", ["1.0000001", "-1", "1e10", "$5", '"5"', "null", "0.1 USD"])
def test_money_that_cannot_be_exact_is_refused(yaml: str) -> None:
    """Rather than rounded in secret."""
    assert isinstance(read(Usd(), yaml), list)
    assert isinstance(read(UsdPerMillion(), yaml), list)


def test_a_key_written_out_in_the_file_is_warned_of() -> None:
    """Policies are committed; keys must not be. The warning does not repeat it."""
    reading = Reading({})
    node = Scalar(Place("f", 1, 1), "sk-secret", plain=True)
    reading.places[("api_key",)] = node.place

    assert Secret().read(node, reading, ("api_key",)) == "sk-secret"
    assert [str(p) for p in reading.problems] == [
        "f:1:1: warning: api_key: a key written out; take it from the environment: ${NAME}"
    ]
