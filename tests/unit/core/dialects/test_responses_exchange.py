"""Answers of the Responses API as the next request has them, and answers with fewer calls."""

import pytest

from proxy.core.changes import Given
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.responses import RESPONSES
from proxy.core.usage import ToolCall

RS = '{"type":"reasoning","id":"rs1","summary":[]}'
SEALED = '{"type":"reasoning","id":"rs2","summary":[],"encrypted_content":"gA=="}'
MSG = '{"type":"message","id":"m1","role":"assistant","content":[]}'
SEARCH = '{"type":"web_search_call","id":"ws1","status":"completed"}'


def call(call_id: str, kind: str = "function_call", more: str = "") -> str:
    return f'{{"type":"{kind}","id":"i{call_id}","call_id":"{call_id}","name":"f"{more}}}'


def answer(items: str) -> str:
    return f'{{"id":"resp","status":"completed","output": [{items}],"usage":{{}}}}'


def given(call_id: str, text: str = "A", **more: object) -> Given:
    return Given(ToolCall(call_id, "f", "{}"), text, **more)  # type: ignore[arg-type]


def result(call_id: str, kind: str = "function_call", output: str = '"A"') -> str:
    return f'{{"type":"{kind}_output","call_id":"{call_id}","output":{output}}}'


def followed(fields: str, items: str, *given: Given, response_id: str | None = "resp") -> str:
    body = f'{{"model":"m"{fields}}}'.encode()
    request = RESPONSES.parse(body, Bounds())
    turn = f"[{items}]".encode()
    after = RESPONSES.follow_up(body, request, turn, given, response_id)
    assert RESPONSES.parse(after, Bounds()).model == "m"
    return after.decode().removeprefix('{"model":"m"').removesuffix("}")


def test_a_turn_is_the_output_as_it_came() -> None:
    """Reasoning has to go with the calls that it led to."""
    items = f"{RS}, {call('c')} ,{SEARCH}"

    assert RESPONSES.answer_turn(answer(items).encode()).decode() == f"[{items}]"


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"output":"a"}', b'{"output":null}'])
def test_what_is_no_answer_is_no_turn(body: bytes) -> None:
    """A provider may send anything."""
    assert RESPONSES.answer_turn(body) == b""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (',"input":[]', ',"input":[%s]'),
        (f',"input":[{MSG} ],"store":true', f',"input":[{MSG} ,%s],"store":true'),
        (',"input":"a"', ',"input":[{"role":"user","content":"a"},%s]'),
        ("", ',"input":[%s]'),
    ],
)
def test_a_follow_up_is_the_items_and_their_results_at_the_end(before: str, after: str) -> None:
    """Where the client keeps the conversation."""
    items = f"{RS},{call('c')},{call('d')}"
    sent = f"{items},{result('c')},{result('d')}"

    assert followed(before, items, given("c"), given("d")) == after.replace("%s", sent)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            ',"input":[1],"previous_response_id":"old"'.replace("1", result("b")),
            ',"input":[%s],"previous_response_id":"resp"',
        ),
        (',"conversation":{"id":"c"},"input":"a"', ',"conversation":{"id":"c"},"input":[%s]'),
        (
            ',"conversation":"c","store":false,"input":"a"',
            ',"conversation":"c","store":false,"input":[%s]',
        ),
    ],
)
def test_what_the_provider_keeps_is_not_sent_again(before: str, after: str) -> None:
    """It has the turn: sent twice, an item is refused, or said twice."""
    assert followed(before, f"{RS},{call('c')}", given("c")) == after.replace("%s", result("c"))


@pytest.mark.parametrize("fields", ["", ',"store":false'])
def test_an_answer_that_was_not_kept_is_not_gone_on_from(fields: str) -> None:
    """Without its id, or where it was not to be stored, the items are sent behind the old ones."""
    before = f',"previous_response_id":"old","input":[]{fields}'
    sent = f',"previous_response_id":"old","input":[{call("c")},{result("c")}]{fields}'
    response_id = "resp" if fields else None

    assert followed(before, call("c"), given("c"), response_id=response_id) == sent


def test_reasoning_that_nobody_has_kept_is_left_out() -> None:
    """By its id it is not found; and calls that have theirs ask for it."""
    before = ',"input":[],"store":false'
    bare, told = call("c").replace('"id":"ic",', ""), MSG.replace('"id":"m1",', "")
    sent = f"{SEALED},{SEARCH},{told},{bare},{result('c')}"

    assert followed(before, f"{SEALED},{SEARCH},{RS},{MSG},{call('c')}", given("c")) == (
        f',"input":[{sent}],"store":false'
    )


def test_reasoning_that_came_encrypted_is_sent_back() -> None:
    """With all ids, as it came."""
    items = f"{SEALED},{call('c')}"

    assert followed(',"store":false,"input":[]', items, given("c")) == (
        f',"store":false,"input":[{items},{result("c")}]'
    )


@pytest.mark.parametrize(
    ("kind", "item"),
    [
        ("function_call", result("c")),
        ("custom_tool_call", result("c", "custom_tool_call")),
        ("local_shell_call", result("c", "local_shell_call")),
        ("computer_call", result("c", "computer_call")),
        (
            "shell_call",
            result(
                "c",
                "shell_call",
                '[{"stdout":"A","stderr":"","outcome":{"type":"exit","exit_code":0}}]',
            ),
        ),
        (
            "apply_patch_call",
            '{"type":"apply_patch_call_output","call_id":"c","output":"A","status":"completed"}',
        ),
    ],
)
def test_each_kind_of_call_has_its_kind_of_result(kind: str, item: str) -> None:
    """Another is refused."""
    asked = call("c", kind)

    assert followed(',"input":[]', asked, given("c")) == f',"input":[{asked},{item}]'


def test_a_call_that_failed_says_so_where_there_is_a_place_for_it() -> None:
    """Of a shell and of a patch; elsewhere its text has to say it."""
    shell = given("c", is_error=True)

    assert '"exit_code":1' in followed(',"input":[]', call("c", "shell_call"), shell)
    assert '"status":"failed"' in followed(',"input":[]', call("c", "apply_patch_call"), shell)
    assert followed(',"input":[]', call("c"), shell).endswith(result("c") + "]")


def test_a_result_that_is_known_as_it_was_sent_is_sent_so() -> None:
    """A screenshot is no text; another dialect's parts are none here."""
    shot = b'{"type":"computer_screenshot"}'
    printed = b'[{"stdout":"B"}]'
    known = given("c", content=shot, dialect="responses")
    other = given("c", content=b"[]", dialect="chat")

    assert followed(',"input":[]', call("c", "computer_call"), known).endswith(
        result("c", "computer_call", shot.decode()) + "]"
    )
    assert followed(
        ',"input":[]',
        call("c", "shell_call"),
        given("c", content=printed, dialect="responses"),
    ).endswith(result("c", "shell_call", printed.decode()) + "]")
    assert followed(',"input":[]', call("c"), other).endswith(result("c") + "]")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("approved", '"approve":true'),
        ("A human said no.", '"approve":false,"reason":"A human said no."'),
    ],
)
def test_a_request_for_approval_is_answered(text: str, told: str) -> None:
    """It is the one call that is answered with yes or no."""
    asked = '{"type":"mcp_approval_request","id":"c","name":"f","arguments":"{}"}'
    item = f'{{"type":"mcp_approval_response","approval_request_id":"c",{told}}}'

    assert followed(',"input":[]', asked, given("c", text)) == f',"input":[{asked},{item}]'


@pytest.mark.parametrize(
    ("items", "left"),
    [
        (f"{RS}, {call('c')}, {call('d')}", f"{RS}, {call('d')}"),
        (f"{RS}, {call('d')}, {call('c')}", f"{RS}, {call('d')}"),
        (f"{MSG}, {RS}, {call('c')}", MSG),
        (f"{RS}, {RS}, {call('c')}", ""),
        (f"{RS}, {call('c')}, {SEALED}, {call('d')}", f"{SEALED}, {call('d')}"),
        (f"{RS}, {call('c')}, {MSG}", f"{RS}, {MSG}"),
        (f"{RS}, {call('d')}, {SEALED}, {call('c')}", f"{RS}, {call('d')}"),
        (f"{RS}, {SEALED}, {call('d')}, {call('c')}", f"{RS}, {SEALED}, {call('d')}"),
        (f"7, {call('c')}, {RS}", f"7, {RS}"),  # it led to nothing before
        (call("c", "custom_tool_call", ',"input":"x"'), ""),
    ],
)
def test_calls_are_taken_out_with_the_reasoning_that_led_to_them_alone(
    items: str, left: str
) -> None:
    """Reasoning that nothing follows is refused when it is sent back."""
    body = answer(items).encode()

    assert RESPONSES.without_calls(body, ["c"]).decode() == answer(left)


@pytest.mark.parametrize(
    "body",
    [
        answer(f"{RS},{call('d')}").encode(),
        answer('7,{"type":"function_call","call_id":7},{"type":"custom_tool_call"}').encode(),
        answer('{"type":"function_call","call_id":"c","arguments":"?"}')
        .encode()
        .replace(b"?", b"\xff"),
        b'{"output":null}',
        b"{}",
    ],
)
def test_an_answer_without_these_calls_is_the_same_object(body: bytes) -> None:
    """Untouched bytes are what fidelity means."""
    assert RESPONSES.without_calls(body, ["c"]) is body


def test_what_a_provider_invents_is_sent_back_as_it_is() -> None:
    """Though nothing of it can be read, and what is made of it is no request to us."""
    body = b'{"model":"m","input":[]}'
    request = RESPONSES.parse(body, Bounds())

    assert RESPONSES.follow_up(body, request, b"[7]", [given("c")]) == (
        b'{"model":"m","input":[7,%b]}' % result("c").encode()
    )
