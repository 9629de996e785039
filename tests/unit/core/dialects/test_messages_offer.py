"""Tools taken off a `/v1/messages` request: no other byte moves, and the choice can be met."""

import pytest

from proxy.core.changes import Changes
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.messages import MESSAGES

HEAD = '{"model":"m","max_tokens":9,"messages":[]'
F = '{"name":"f", "input_schema":{"name":"g"}}'
G = '{"name":"g","input_schema":{}}'
SEARCH = '{"type":"web_search_20250305","name":"web_search"}'
SERVER = '{"type":"mcp_toolset","mcp_server_name":"s"}'


def without(fields: str, *names: str) -> str:
    body = f"{HEAD}{fields}}}".encode()
    changed = MESSAGES.rewrite(body, MESSAGES.parse(body, Bounds()), Changes(without_tools=names))
    assert (changed is body) == (changed == body)
    return changed.decode().removeprefix(HEAD).removesuffix("}")


@pytest.mark.parametrize(
    ("names", "left"),
    [
        (("f",), f"[ {G},{SEARCH},{SERVER}]"),
        (("g",), f"[ {F},{SEARCH},{SERVER}]"),
        (("f", "g", "web_search"), f"[ {SERVER}]"),
        (("s",), f"[ {F} , {G},{SEARCH}]"),
        (("input_schema", "F"), f"[ {F} , {G},{SEARCH},{SERVER}]"),
    ],
)
def test_tools_are_taken_off_by_name(names: tuple[str, ...], left: str) -> None:
    """The others stay as they are."""
    assert without(f',"tools":[ {F} , {G},{SEARCH},{SERVER}],"stream":true', *names) == (
        f',"tools":{left},"stream":true'
    )


@pytest.mark.parametrize(
    "choice", ['"any"', '"auto","disable_parallel_tool_use":true', '"tool","name":"f"']
)
def test_where_none_is_left_none_may_be_called(choice: str) -> None:
    """A history with `tool_use` is refused without tools."""
    assert without(f',"tools":[{F}],"tool_choice":{{"type":{choice}}}', "f") == (
        f',"tools":[{F}],"tool_choice":{{"type":"none"}}'
    )
    assert without(f',"tools":[{F}]', "f") == f',"tools":[{F}],"tool_choice":{{"type":"none"}}'


@pytest.mark.parametrize(
    ("choice", "left"),
    [
        ('{"type":"any"}', '{"type":"any"}'),
        ('{"type":"tool","name":"g"}', '{"type":"tool","name":"g"}'),
        ('{"type":"tool", "name":"f"}', '{"type":"auto"}'),
        (
            '{"name":"f","type":"tool","disable_parallel_tool_use":true}',
            '{"type":"auto","disable_parallel_tool_use":true}',
        ),
    ],
)
def test_a_choice_that_asks_for_one_leaves_it_to_the_model(choice: str, left: str) -> None:
    """As much in parallel as before."""
    assert without(f',"tool_choice":{choice},"tools":[{F},{G}]', "f") == (
        f',"tool_choice":{left},"tools":[{G}]'
    )


def test_servers_are_taken_off_by_name() -> None:
    """Their tools are the provider's to call."""
    s, t = '{"name":"s","url":"u"}', '{"name":"t"}'

    assert without(f',"mcp_servers":[{s},{t}],"tools":[{F},{SERVER}]', "s") == (
        f',"mcp_servers":[{t}],"tools":[{F}]'
    )
    assert without(f',"mcp_servers":[{s}],"tools":[{F}]', "s") == f',"tools":[{F}]'


@pytest.mark.parametrize("fields", ["", ',"tools":null', ',"tools":[ ]', ',"mcp_servers":[]'])
def test_where_nothing_is_offered_nothing_changes(fields: str) -> None:
    """The same object: untouched bytes are what fidelity means."""
    assert without(fields, "f") == fields
