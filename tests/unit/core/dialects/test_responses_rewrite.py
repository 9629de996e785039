"""Changes of a `/v1/responses` request: in the right place, and not a byte more."""

import pytest

from proxy.core.changes import Changes
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.responses import RESPONSES


def rewritten(fields: str, changes: Changes, model: str = "gpt-5") -> str:
    body = f'{{"model": "{model}"{fields}}}'.encode()
    request = RESPONSES.parse(body, Bounds())
    changed = RESPONSES.rewrite(body, request, changes)
    assert (changed is body) == (changed == body)
    return changed.decode().removeprefix(f'{{"model": "{changes.model or model}"')


def item(role: str = "developer", text: str = "read_file × 3") -> str:
    part = f'{{"type":"input_text","text":"{text}"}}'
    return f'{{"type":"message","role":"{role}","content":[{part}]}}'


NOTE = Changes(notes=("read_file × 3",))
RESULT = '{"type":"function_call_output","call_id":"c","output":"{\\"a\\":1}"}'


@pytest.mark.parametrize(
    ("fields", "result"),
    [
        (f',"input":[{RESULT}\n],"a":1', f',"input":[{RESULT}\n,{item()}],"a":1}}'),
        (',"input":[ ]', f',"input":[ {item()}]}}'),
        (
            ',"input": "a \\u00e9","b":1',
            f',"input": [{{"role":"user","content":"a \\u00e9"}},{item()}],"b":1}}',
        ),
        (
            ',"previous_response_id":"r","input":null',
            f',"previous_response_id":"r","input":[{item()}]}}',
        ),
        (',"conversation":"c"', f',"conversation":"c","input":[{item()}]}}'),
    ],
)
def test_a_note_is_a_developers_item_at_the_end(fields: str, result: str) -> None:
    """In a list, after a text, and where all else is kept by the provider."""
    assert rewritten(fields, NOTE) == result


@pytest.mark.parametrize(
    ("model", "target", "role"),
    [
        ("gpt-5.1-codex", None, "developer"),
        ("openai/o4-mini", None, "developer"),
        ("ft:gpt-4.1:acme", None, "developer"),
        ("gpt-oss:20b", None, "user"),
        ("openai/gpt-oss-120b", None, "user"),
        ("Qwen/Qwen3-8B", None, "user"),
        ("my-o4-gpt-4", None, "user"),
        ("gpt-5", "grok-4", "user"),
        ("fast", "gpt-5-mini", "developer"),
    ],
)
def test_a_developer_speaks_only_where_one_is_known(
    model: str, target: str | None, role: str
) -> None:
    """Ollama drops what a developer says, and Qwen's template refuses it."""
    changes = Changes(notes=NOTE.notes, model=target)

    assert rewritten(',"input":[]', changes, model) == f',"input":[{item(role)}]}}'


def test_several_notes_are_one_item() -> None:
    """In their order."""
    both = item(text=r"a\n\nb")

    assert rewritten(',"input":[]', Changes(notes=("a", "b"))) == f',"input":[{both}]}}'


SEARCH = ',"tools":[{"type":"web_search"}]'
LATER = ',"input":[{"type":"additional_tools","tools":[{"type":"function","name":"g"}]}]'
TOOLS = ',"tools":[{"type":"function","name":"f"}]'


@pytest.mark.parametrize(
    ("fields", "result"),
    [
        ("", None),
        (',"tools":[]', None),
        (TOOLS, TOOLS + ',"tool_choice":"none"}'),
        (
            ',"tools":[{"type":"web_search"}]',
            ',"tools":[{"type":"web_search"}],"tool_choice":"none"}',
        ),
        (TOOLS + ',"tool_choice":"none"', None),
        (
            ',"tool_choice":{"type":"function","name":"f"},"parallel_tool_calls":true' + TOOLS,
            ',"tool_choice":"none","parallel_tool_calls":true' + TOOLS + "}",
        ),
        (
            ',"tool_choice":{"type":"allowed_tools","mode":"required","tools":[]}' + TOOLS,
            ',"tool_choice":"none"' + TOOLS + "}",
        ),
        (LATER, LATER + ',"tool_choice":"none"}'),
        (',"prompt":{"id":"p"}', ',"prompt":{"id":"p"},"tool_choice":"none"}'),
    ],
)
def test_tools_are_withheld_by_the_choice_alone(fields: str, result: str | None) -> None:
    """Those of the client, those of the provider, those of a stored prompt."""
    expected = f"{fields}}}" if result is None else result

    assert rewritten(fields, Changes(withhold_tools=True)) == expected


def test_all_changes_are_made_at_once() -> None:
    """Wherever they stand."""
    changes = Changes(5, model="grok-4", notes=("b",), withhold_tools=True)

    assert rewritten(',"input":"a"' + TOOLS, changes) == (
        f',"input":[{{"role":"user","content":"a"}},{item("user", "b")}]{TOOLS}'
        ',"max_output_tokens":5,"tool_choice":"none"}'
    )
