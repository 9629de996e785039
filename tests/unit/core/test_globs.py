"""Globs on names that clients and models choose."""

import gc
import weakref

import pytest

from proxy.core.globs import any_matches, matches


class Name(str):
    """A name of which can be seen whether anybody still has it."""


@pytest.mark.parametrize(
    ("globs", "name", "expected"),
    [
        ((), "send_email", False),
        (("send_*",), "send_email", True),
        (("pay_*", "send_*"), "send_email", True),
        (("Send_*",), "send_email", False),
        (("*" + "x" * 300,), "y" + "x" * 300, True),
        (("send_*",), "x" * 300, False),
    ],
)
def test_any_glob_will_do_and_case_counts(
    globs: tuple[str, ...], name: str, expected: bool
) -> None:
    for _ in range(2):  # the second time it may be remembered
        assert matches(globs, name) == expected
        assert any_matches(globs, ("other", name)) == expected
        assert any_matches(globs, ()) is False


def test_no_long_name_is_kept() -> None:
    """A request may name a tool in 60 MB: a few dozen of them would fill the memory."""
    alone, offered, short = Name("x" * 300), Name("x" * 20_000), Name("look")
    kept = [weakref.ref(name) for name in (alone, offered, short)]
    matches(("send_*",), alone)
    any_matches(("send_*",), (offered, "look"))
    matches(("send_*",), short)

    del alone, offered, short
    gc.collect()

    assert [name() is not None for name in kept] == [False, False, True]
