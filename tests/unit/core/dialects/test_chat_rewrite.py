"""Changes of a request: what was decided, and not a byte more."""

import json

import pytest

from proxy.core.changes import Changes
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.chat import CHAT

HEAD = '{"model": "m",\n "messages":[{"role":"user","content":"é \\u00e9"}]'


def rewritten(fields: str, changes: Changes) -> str:
    body = (HEAD + fields + "}").encode()
    request = CHAT.parse(body, Bounds())
    return CHAT.rewrite(body, request, changes).decode().removeprefix(HEAD)


@pytest.mark.parametrize(
    ("fields", "bound", "result"),
    [
        ("", 5, ',"max_completion_tokens":5}'),
        (',"max_tokens":null', 5, ',"max_tokens":null,"max_completion_tokens":5}'),
        (',"max_tokens": 50', 5, ',"max_tokens": 5}'),
        (',"max_completion_tokens":50', 5, ',"max_completion_tokens":5}'),
        (
            ',"max_tokens":50,"max_completion_tokens":60',
            5,
            ',"max_tokens":5,"max_completion_tokens":5}',
        ),
        (
            ',"max_tokens":4,"max_completion_tokens":60',
            5,
            ',"max_tokens":4,"max_completion_tokens":5}',
        ),
        (',"max_tokens":4', 5, ',"max_tokens":4}'),
        (',"max\\u005ftokens":50', 5, ',"max\\u005ftokens":5}'),
    ],
)
def test_bounds_are_lowered_where_the_client_put_them(fields: str, bound: int, result: str) -> None:
    """Under each key that a provider might read, and never raised."""
    assert rewritten(fields, Changes(output_bound=bound)) == result


@pytest.mark.parametrize(
    ("fields", "result"),
    [
        (',"stream":true', ',"stream":true,"stream_options":{"include_usage":true}}'),
        (
            ',"stream_options":null,"stream":true',
            ',"stream_options":{"include_usage":true},"stream":true}',
        ),
        (
            ',"stream":true,"stream_options":{"include_usage": false,"x":1}',
            ',"stream":true,"stream_options":{"include_usage": true,"x":1}}',
        ),
        (
            ',"stream":true,"stream_options":{"include_usage":true}',
            ',"stream":true,"stream_options":{"include_usage":true}}',
        ),
        (',"stream":false', ',"stream":false}'),
    ],
)
def test_usage_is_asked_for_on_streams_that_do_not(fields: str, result: str) -> None:
    """Without it OpenAI's streams carry no usage at all; unstreamed calls refuse the option."""
    assert rewritten(fields, Changes(ask_usage=True)) == result


def test_the_model_is_renamed_for_its_target() -> None:
    """A fallback may call it by another name."""
    body = (HEAD + "}").encode()
    request = CHAT.parse(body, Bounds())

    renamed = CHAT.rewrite(body, request, Changes(model='b"2'))

    assert json.loads(renamed)["model"] == 'b"2'
    assert renamed.replace(b'"b\\"2"', b'"m"') == body


def test_nothing_to_change_is_the_same_object() -> None:
    """Untouched bytes are what fidelity means."""
    body = (
        HEAD + ',"stream":true,"stream_options":{"include_usage":true},"max_tokens":5}'
    ).encode()
    request = CHAT.parse(body, Bounds())

    assert CHAT.rewrite(body, request, Changes()) is body
    assert CHAT.rewrite(body, request, Changes(5, ask_usage=True, model="m")) is body


NOTE = Changes(notes=("read_file × 3",))
TOLD = '{"role":"user","content":"read_file × 3"}'
CALL = '{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}'
ASKED = '{"role":"assistant","content":null,"tool_calls":[' + CALL + "]}"
RESULT = '{"role":"tool","tool_call_id":"c","content":"{\\"r\\":1}"}'


def noted(messages: str, model: str = "gpt-5", changes: Changes = NOTE) -> str:
    body = f'{{"messages": {messages}, "model":"{model}" }}'.encode()
    changed = CHAT.rewrite(body, CHAT.parse(body, Bounds()), changes).decode()
    head, tail = '{"messages": ', ', "model":"%s" }' % (changes.model or model)
    assert changed.startswith(head)
    assert changed.endswith(tail)
    return changed.removeprefix(head).removesuffix(tail)


@pytest.mark.parametrize(
    ("messages", "result"),
    [
        ('[{"role":"user","content":"a"}]', '[{"role":"user","content":"a"},TOLD]'),
        ('[ {"role":"system"}\n ]', '[ {"role":"system"}\n ,TOLD]'),
        (f"[{ASKED},{RESULT}]", f"[{ASKED},{RESULT},TOLD]"),
        (
            '[{"role":"function","name":"f","content":"1"}]',
            '[{"role":"function","name":"f","content":"1"},TOLD]',
        ),
        (
            '[{"role":"user","content":"a"}, {"role":"assistant","content":"So {"}]',
            '[{"role":"user","content":"a"}, TOLD,{"role":"assistant","content":"So {"}]',
        ),
    ],
)
def test_a_note_is_a_users_message_at_the_end(messages: str, result: str) -> None:
    """After the results, which have to follow their calls; before an answer to be gone on with."""
    assert noted(messages) == result.replace("TOLD", TOLD)


def test_several_notes_are_one_message() -> None:
    """Few providers like two of a role in a row."""
    changes = Changes(notes=("a", "b"))

    assert noted('[{"role":"user"}]', changes=changes) == (
        '[{"role":"user"},{"role":"user","content":"a\\n\\nb"}]'
    )


@pytest.mark.parametrize(
    ("model", "target"),
    [
        ("mistral-large-latest", None),
        ("mistralai/Devstral-Small-2", None),
        ("coder", "openrouter/mistralai/codestral-2508"),
    ],
)
def test_mistral_has_its_answer_between_a_result_and_a_user(model: str, target: str | None) -> None:
    """It refuses a user's message right after a tool's."""
    changes = Changes(notes=NOTE.notes, model=target)
    bridge = '{"role":"assistant","content":"I have the results."}'

    assert noted(f"[{ASKED},{RESULT}]", model, changes) == f"[{ASKED},{RESULT},{bridge},{TOLD}]"
    assert noted('[{"role":"user"}]', model, changes) == f'[{{"role":"user"}},{TOLD}]'


TOOLS = ',"tools":[{"type":"function","function":{"name":"f"}}]'
FUNCTIONS = ',"functions":[{"name":"f"}]'


@pytest.mark.parametrize(
    ("fields", "result"),
    [
        ("", "}"),
        (',"tools":[ ],"tool_choice":"auto"', ',"tools":[ ],"tool_choice":"auto"}'),
        (',"tools":null', ',"tools":null}'),
        (TOOLS, TOOLS + ',"tool_choice":"none"}'),
        (',"tool_choice": "none"' + TOOLS, ',"tool_choice": "none"' + TOOLS + "}"),
        (',"tool_choice":"required"' + TOOLS, ',"tool_choice":"none"' + TOOLS + "}"),
        (
            TOOLS + ',"tool_choice":{"type":"function","function":{"name":"f"}}',
            TOOLS + ',"tool_choice":"none"}',
        ),
        (
            TOOLS
            + ',"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"required"}}'
            + ',"parallel_tool_calls":false',
            TOOLS + ',"tool_choice":"none","parallel_tool_calls":false}',
        ),
        (FUNCTIONS, FUNCTIONS + ',"function_call":"none"}'),
        (FUNCTIONS + ',"function_call":{"name":"f"}', FUNCTIONS + ',"function_call":"none"}'),
    ],
)
def test_tools_are_withheld_by_the_choice_alone(fields: str, result: str) -> None:
    """They stay where a provider has cached them; without any, the choice is refused."""
    assert rewritten(fields, Changes(withhold_tools=True)) == result


def test_all_changes_are_made_at_once() -> None:
    """Wherever they stand."""
    said = '"messages":[{"role":"user","content":"a"}'
    body = f'{{"max_tokens":9,{said}],"stream":true{TOOLS},"model":"m"}}'.encode()
    changes = Changes(5, ask_usage=True, model="n", notes=("b",), withhold_tools=True)
    added = ',"stream_options":{"include_usage":true},"tool_choice":"none"'

    assert CHAT.rewrite(body, CHAT.parse(body, Bounds()), changes).decode() == (
        f'{{"max_tokens":5,{said},{{"role":"user","content":"b"}}],"stream":true{TOOLS}'
        f',"model":"n"{added}}}'
    )
