"""Tools taken off a `/v1/responses` request: no other byte moves, and the choice can be met."""

import pytest

from proxy.core.changes import Changes
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.responses import RESPONSES

HEAD = '{"model":"m"'
F = '{"type":"function", "name":"f","parameters":{"name":"g"}}'
G = '{"type":"custom","name":"g"}'
SEARCH = '{"type":"web_search"}'
SERVER = '{"type":"mcp","server_label":"s"}'


def without(fields: str, *names: str) -> str:
    body = f"{HEAD}{fields}}}".encode()
    request = RESPONSES.parse(body, Bounds())
    changed = RESPONSES.rewrite(body, request, Changes(without_tools=names))
    assert (changed is body) == (changed == body)
    return changed.decode().removeprefix(HEAD).removesuffix("}")


def space(*tools: str) -> str:
    return f'{{"type":"namespace","name":"n","tools":[{",".join(tools)}]}}'


def later(*tools: str) -> str:
    return f'{{"type":"additional_tools","tools":[{",".join(tools)}]}}'


@pytest.mark.parametrize(
    ("names", "left"),
    [
        (("f",), f"[ {G},{SEARCH},{SERVER}]"),
        (("g",), f"[ {F},{SEARCH},{SERVER}]"),
        (("web_search",), f"[ {F} , {G},{SERVER}]"),
        (("s", "g"), f"[ {F},{SEARCH}]"),
        (("function", "F", "mcp"), f"[ {F} , {G},{SEARCH},{SERVER}]"),
    ],
)
def test_tools_are_taken_off_by_name(names: tuple[str, ...], left: str) -> None:
    """The others stay as they are."""
    assert without(f',"tools":[ {F} , {G},{SEARCH},{SERVER}],"input":"a"', *names) == (
        f',"tools":{left},"input":"a"'
    )


@pytest.mark.parametrize(
    ("tools", "left"),
    [
        (f"[{space(F, G)},{SEARCH}]", f"[{space(G)},{SEARCH}]"),
        (f"[{SEARCH} ,{space(F)}]", f"[{SEARCH}]"),
        (f"[{space(F, space(F, G))}]", f"[{space(space(G))}]"),
        (f"[{space(F, space(F))},{G}]", f"[{G}]"),
        (f"[{space()},{G}]", f"[{space()},{G}]"),
    ],
)
def test_a_namespace_is_nothing_without_its_tools(tools: str, left: str) -> None:
    """Calls name them by their own names."""
    assert without(f',"tools":{tools}', "f") == f',"tools":{left}'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f',"input":[{later(F, G)}]', f',"input":[{later(G)}]'),
        (
            f',"input":[{later(F)} , {{"role":"user","content":"a"}}],"tools":[{G}]',
            f',"input":[{{"role":"user","content":"a"}}],"tools":[{G}]',
        ),
        (
            f',"input":[{later(F)},{later(space(F, G))},{later()}]',
            f',"input":[{later(space(G))},{later()}]',
        ),
        (f',"input":[{later(G)}],"tools":[{F}]', f',"input":[{later(G)}],"tools":[]'),
        (f',"input":[{later(F)}]', f',"input":[{later(F)}],"tool_choice":"none"'),
        (
            f',"input":[{later(F)}],"tools":[{F}]',
            f',"input":[{later(F)}],"tools":[{F}],"tool_choice":"none"',
        ),
    ],
)
def test_tools_that_an_item_offers_are_taken_off_too(before: str, after: str) -> None:
    """An item that offers nothing goes."""
    assert without(before, "f") == after


@pytest.mark.parametrize("choice", ["", ',"tool_choice":"required"', f',"tool_choice":{F}'])
def test_where_none_is_left_none_may_be_called(choice: str) -> None:
    """Not even what stands there."""
    assert without(f',"tools":[{F}]{choice}', "f") == f',"tools":[{F}],"tool_choice":"none"'


ALLOWED = '"tool_choice":{"type":"allowed_tools","mode":"auto","tools":[%s]}'


@pytest.mark.parametrize(
    ("choice", "left"),
    [
        ('"tool_choice":"required"', '"tool_choice":"required"'),
        ('"tool_choice":{"type":"function","name":"f"}', '"tool_choice":"auto"'),
        (
            '"tool_choice":{"type":"function","name":"g"}',
            '"tool_choice":{"type":"function","name":"g"}',
        ),
        ('"tool_choice":{"type":"mcp","server_label":"s","name":"x"}', '"tool_choice":"auto"'),
        ('"tool_choice":{"type":"web_search"}', '"tool_choice":{"type":"web_search"}'),
        (ALLOWED.replace("%s", f"{G} , {F},{SERVER}"), ALLOWED.replace("%s", G)),
        (ALLOWED.replace("%s", F), '"tool_choice":"none"'),
        (ALLOWED.replace("%s", ""), ALLOWED.replace("%s", "")),
        (ALLOWED.replace("[%s]", "null"), ALLOWED.replace("[%s]", "null")),
    ],
)
def test_a_choice_that_asks_for_one_leaves_it_to_the_model(choice: str, left: str) -> None:
    """One that asks for others asks for them still."""
    assert without(f',{choice},"tools":[{F},{G},{SERVER}]', "f", "s") == f',{left},"tools":[{G}]'


@pytest.mark.parametrize(
    "fields", ["", ',"tools":null', ',"tools":[]', ',"input":[{"type":"additional_tools"}]']
)
def test_where_nothing_is_offered_nothing_changes(fields: str) -> None:
    """The same object: untouched bytes are what fidelity means."""
    assert without(fields, "f") == fields
