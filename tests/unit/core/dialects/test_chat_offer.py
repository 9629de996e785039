"""Tools taken off a chat request: no other byte moves, and the choice is one that can be met."""

import pytest

from proxy.core.changes import Changes
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.chat import CHAT

HEAD = '{"model":"m","messages":[{"role":"user","content":"a"}]'
F = '{"type":"function", "function":{"name":"f","parameters":{"name":"g"}}}'
G = '{"function":{"name":"g"}}'
TEXT = '{"type":"custom","custom":{"name":"text"}}'
ALLOWED = '"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[%s]}}'


def without(fields: str, *names: str) -> str:
    body = f"{HEAD}{fields}}}".encode()
    changed = CHAT.rewrite(body, CHAT.parse(body, Bounds()), Changes(without_tools=names))
    assert (changed is body) == (changed == body)
    assert not set(names) & set(CHAT.parse(changed, Bounds()).offered_tools) or b'"none"' in changed
    return changed.decode().removeprefix(HEAD).removesuffix("}")


@pytest.mark.parametrize(
    ("names", "left"),
    [
        (("g",), f"[ {F},{TEXT}]"),
        (("text",), f"[ {F} , {G}]"),
        (("f",), f"[ {G},{TEXT}]"),
        (("f", "g"), f"[ {TEXT}]"),
        (("f", "text"), f"[ {G}]"),
        (("parameters", "function", "F", ""), f"[ {F} , {G},{TEXT}]"),
    ],
)
def test_tools_are_taken_off_by_name(names: tuple[str, ...], left: str) -> None:
    """The others stay as they are."""
    assert without(f',"tools":[ {F} , {G},{TEXT}],"n":1', *names) == f',"tools":{left},"n":1'


@pytest.mark.parametrize("offered", [f"[{F},{F}]", f"[{F}]"])
@pytest.mark.parametrize("choice", [',"tool_choice":"required"', "", ',"tool_choice":null'])
def test_where_none_is_left_none_may_be_called(offered: str, choice: str) -> None:
    """A list of none is refused, and a call of what stands there is not asked for."""
    assert without(f',"tools":{offered}{choice}', "f") == (
        f',"tools":{offered},"tool_choice":"none"'
    )


@pytest.mark.parametrize(
    ("choice", "left"),
    [
        ('"tool_choice":"required"', '"tool_choice":"required"'),
        (f'"tool_choice":{F}', '"tool_choice":"auto"'),
        (f'"tool_choice":{G}', f'"tool_choice":{G}'),
        (f'"tool_choice": {TEXT}', f'"tool_choice": {TEXT}'),
        ('"tool_choice":{"type":"f","allowed_tools":null}', '"tool_choice":"auto"'),
        ('"tool_choice":{"function":7}', '"tool_choice":{"function":7}'),
        (ALLOWED.replace("%s", f"{G} , {F}"), ALLOWED.replace("%s", G)),
        (ALLOWED.replace("%s", f"{F}"), '"tool_choice":"none"'),
        (ALLOWED.replace("%s", "7"), ALLOWED.replace("%s", "7")),
        (ALLOWED.replace("%s", ""), ALLOWED.replace("%s", "")),
        (ALLOWED.replace("[%s]", "7"), ALLOWED.replace("[%s]", "7")),
    ],
)
def test_a_choice_that_asks_for_one_leaves_it_to_the_model(choice: str, left: str) -> None:
    """One that asks for others asks for them still."""
    assert without(f',{choice},"tools":[{F},{G},{TEXT}]', "f") == f',{left},"tools":[{G},{TEXT}]'


def test_functions_of_old_are_taken_off_too() -> None:
    """With what chooses among them."""
    both = '[{"name":"f"},{"name":"g"}]'

    assert without(f',"functions":{both}', "f") == ',"functions":[{"name":"g"}]'
    assert without(f',"functions":{both},"function_call":{{"name":"f"}}', "f") == (
        ',"functions":[{"name":"g"}],"function_call":"auto"'
    )
    assert without(f',"functions":{both},"function_call":{{"name":"g"}}', "f") == (
        ',"functions":[{"name":"g"}],"function_call":{"name":"g"}'
    )
    assert (
        without(f',"functions":{both}', "f", "g") == f',"functions":{both},"function_call":"none"'
    )


@pytest.mark.parametrize("fields", ["", ',"tools":null', ',"tools":[ ]', f',"tool_choice":{F}'])
def test_where_nothing_is_offered_nothing_changes(fields: str) -> None:
    """The same object: untouched bytes are what fidelity means."""
    assert without(fields, "f") == fields
