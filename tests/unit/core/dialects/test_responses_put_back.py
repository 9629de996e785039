"""Calls put back into a `/v1/responses` request, where its client or its provider has the rest."""

import pytest

from proxy.core.changes import Changes, Given
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.responses import RESPONSES
from proxy.core.usage import ToolCall

RS = '{"type":"reasoning","id":"rs1","summary":[]}'
REFERENCE = '{"type":"item_reference","id":"fc1"}'
USER = '{"role":"user","content":"a"}'
SAID = '{"role":"assistant","content":"So"}'
P = Given(ToolCall("p", "f", "{ }"), "A")
PUT = '{"type":"function_call","call_id":"p","name":"f","arguments":"{ }"}'


def call(call_id: str, kind: str = "function_call") -> str:
    return f'{{"type":"{kind}","id":"i{call_id}","call_id":"{call_id}","name":"f"}}'


def heard(call_id: str, kind: str = "function_call", output: str = '"A"') -> str:
    return f'{{"type":"{kind}_output","call_id":"{call_id}","output":{output}}}'


def back(given_input: str, *given: Given, fields: str = "") -> str:
    """The input with these put back."""
    body = f'{{"model":"m"{fields},"input":{given_input}}}'.encode()
    request = RESPONSES.parse(body, Bounds())
    changed = RESPONSES.rewrite(body, request, Changes(put_back=given))
    assert (changed is body) == (changed == body)
    return changed.decode().partition('"input":')[2].removesuffix("}")


@pytest.mark.parametrize(
    "items",
    [
        f"[{RS},{call('a')} , CALL{heard('a')}RESULT\n,{USER}]",
        f"[{call('a')},{call('b')},CALL{heard('a')}, {heard('b')}RESULT]",
        f"[{call('a')},{heard('a')},{call('b')},CALL{heard('b')}RESULT]",
        f"[{REFERENCE},CALL{heard('a')}RESULT]",
        f"[CALL{heard('a')}RESULT]",
    ],
)
@pytest.mark.parametrize("fields", ["", ',"store":false', ',"previous_response_id":"r"'])
def test_what_was_withheld_is_put_back_beside_the_others(items: str, fields: str) -> None:
    """Its call behind theirs, its result behind theirs and before what is said then. A provider
    that keeps the calls wants results alone."""
    before = items.replace("CALL", "").replace("RESULT", "")
    kept = "previous" in fields and items.startswith("[CALL")
    after = items.replace("CALL", "" if kept else PUT + ",").replace("RESULT", "," + heard("p"))

    assert back(before, P, fields=fields) == after


def test_a_conversation_has_the_calls() -> None:
    """As a response that is gone on from has them."""
    assert back(f"[{heard('a')}]", P, fields=',"conversation":"c"') == (
        f"[{heard('a')},{heard('p')}]"
    )


def test_several_are_put_back_in_their_order() -> None:
    """Each with its own result."""
    q = Given(ToolCall("q", "g", ""), "B")
    other = '{"type":"function_call","call_id":"q","name":"g","arguments":""}'

    results = f"{heard('a')},{heard('p')},{heard('q')}".replace(
        '"q","output":"A"', '"q","output":"B"'
    )

    assert back(f"[{call('a')},{heard('a')}]", P, q) == f"[{call('a')},{PUT},{other},{results}]"


@pytest.mark.parametrize(
    "items",
    [
        '"a"',
        "null",
        "[]",
        f"[{USER}]",
        f"[{call('a')}]",
        f"[{call('a')},{heard('a')},{SAID}]",
        f"[{call('a')},{heard('a')},{RS}]",
        f"[{call('a')},{heard('a')},{call('b')}]",
        f"[{call('a')},{heard('a')},{REFERENCE}]",
        f"[{call('p')},{call('a')},{heard('p')},{heard('a')}]",
    ],
)
def test_where_there_are_no_others_nothing_is_put_back(items: str) -> None:
    """A client that has made its history anew has no place for it."""
    assert back(items, P) == items


@pytest.mark.parametrize(
    ("name", "arguments", "item", "kind"),
    [
        ("f", "{}", '"name":"f","arguments":"{}"', "function_call"),
        ("g", "text", '"name":"g","input":"text"', "custom_tool_call"),
        ("h", "text", '"name":"h","input":"text"', "custom_tool_call"),
        ("shell", "{}", '"name":"shell","arguments":"{}"', "function_call"),
        ("other", "{}", '"name":"other","arguments":"{}"', "function_call"),
        ("local_shell", '{"b": 1}', '"action":{"b": 1},"status":"completed"', "local_shell_call"),
        ("computer", "odd", '"action":"odd","status":"completed"', "computer_call"),
    ],
)
def test_a_call_is_put_back_as_what_was_offered(
    name: str, arguments: str, item: str, kind: str
) -> None:
    """A function of the client's may have the name of a provider's tool."""
    tools = '{"type":"function","name":"f"},{"type":"custom","name":"g"}'
    tools += ',{"type":"function","name":"shell"},{"type":"local_shell"}'
    tools += ',{"type":"namespace","name":"n","tools":[{"type":"custom","name":"h"}]}'
    given = Given(ToolCall("p", name, arguments), "A")

    assert back(f"[{call('a')},{heard('a')}]", given, fields=f',"tools":[{tools}]') == (
        f'[{call("a")},{{"type":"{kind}","call_id":"p",{item}}},{heard("a")},{heard("p", kind)}]'
    )


def test_a_note_stands_behind_what_is_put_back() -> None:
    """As the last that is said."""
    body = f'{{"model":"m","input":[{call("a")},{heard("a")}]}}'.encode()
    request = RESPONSES.parse(body, Bounds())

    changed = RESPONSES.rewrite(body, request, Changes(notes=("n",), put_back=(P,))).decode()

    assert changed.index(heard("p")) < changed.index('"text":"n"')
