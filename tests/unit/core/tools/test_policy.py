"""Which tools the policy names."""

import pytest

from proxy.core.globs import matches
from proxy.core.tools.policy import NO_TOOLS, Tools


@pytest.mark.parametrize("key", ["side_effects", "deny", "require_approval"])
def test_a_tool_is_guarded_by_whichever_key_names_it(key: str) -> None:
    tools = Tools(**{key: ("send_*",)})  # type: ignore[arg-type]

    assert tools.names("send_email")
    assert not tools.names("search")
    assert tools.guards(("search", "send_email"))
    assert not tools.guards(("search",))


def test_a_policy_that_names_none_guards_none() -> None:
    assert not NO_TOOLS.guards(("send_email",))
    assert NO_TOOLS.globs == ()


def test_names_are_told_apart_by_case() -> None:
    assert not matches(("send_*",), "Send_email")
