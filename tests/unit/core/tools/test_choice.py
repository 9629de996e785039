"""Which tool a request forces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.tools.choice import chosen_tool


@pytest.mark.parametrize(
    ("choice", "tool"),
    [
        (None, None),
        (b'"required"', None),
        (b'"none"', None),
        (b'{"type":"function","function":{"name":"pay"}}', "pay"),
        (b'{"type":"custom","custom":{"name":"pay"}}', "pay"),
        (b'{"type":"function","name":"pay"}', "pay"),
        (b'{"type":"tool","name":"pay"}', "pay"),
        (b'{"name":"pay"}', "pay"),
        (b'{"type":"web_search"}', "web_search"),
        (b'{"type":7,"name":7}', None),
        (b'{"function":{"name":7}}', None),
        (b'{"function":7,"name":"pay"}', "pay"),
        (b"{", None),
    ],
)
def test_a_forced_tool_is_read_in_every_dialects_spelling(
    choice: bytes | None, tool: str | None
) -> None:
    assert chosen_tool(choice) == tool


@given(st.binary(max_size=99))
def test_bytes_are_never_an_error(choice: bytes) -> None:
    chosen_tool(b"{" + choice)
