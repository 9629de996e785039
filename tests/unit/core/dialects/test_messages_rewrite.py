"""Changes of a `/v1/messages` request: in the right place, and not a byte more."""

import pytest

from proxy.core.changes import Changes
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.messages import MESSAGES

HEAD = '{"model":"claude", "max_tokens":9'
NOTE = '{"type":"text","text":"read_file × 3"}'
RESULT = '{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"{\\""}]}'
USE = '{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{"a":{}}}]}'


def rewritten(fields: str, changes: Changes) -> str:
    body = f"{HEAD}{fields}}}".encode()
    request = MESSAGES.parse(body, Bounds())
    changed = MESSAGES.rewrite(body, request, changes)
    assert (changed is body) == (changed == body)
    return changed.decode().removeprefix(HEAD)


def noted(messages: str) -> str:
    changed = rewritten(f',"messages":{messages}', Changes(notes=("read_file × 3",)))
    return changed.removeprefix(',"messages":').removesuffix("}")


SAID = '{"role":"user","content":[{"type":"text","text":"a"}NOTE]}'
PREFIX = '{"role":"assistant","content":"So {"}'
SYSTEM = '{"role":"system","content":"s"}'
MESSAGE = '{"role":"user","content":[{"type":"text","text":"read_file × 3"}]}'


@pytest.mark.parametrize(
    "messages",
    [
        f'[{USE},{{"content":[ {RESULT}\nNOTE],"role":"user"}}]',  # after the results
        '[{"role":"user","content":[ NOTE]}]',
        '[{"role":"user","content":"b","content":[NOTE]}]',  # of keys given twice the last counts
        f'[{{"role":"user","content":"b"}},{SAID},{PREFIX}]',
        f"[{SAID},{SYSTEM},{PREFIX},{PREFIX}]",
        '[{"role":"user","content":null},MESSAGE]',
        '[{"role":"user"},MESSAGE]',
        f'[{{"role":"user","content":"b"}},{SYSTEM},MESSAGE]',
        f"[{PREFIX},MESSAGE]",
        "[ MESSAGE]",
    ],
)
def test_a_note_ends_what_the_user_says_last(messages: str) -> None:
    """Results of tools come first in their message; roles go on to alternate."""
    before = messages.replace(",MESSAGE", "").replace("MESSAGE", "").replace("NOTE", "")
    first = "[ NOTE]" in messages or "[NOTE]" in messages
    after = messages.replace("MESSAGE", MESSAGE).replace("NOTE", NOTE if first else "," + NOTE)

    assert noted(before) == after


@pytest.mark.parametrize(
    ("messages", "result"),
    [
        ('[{"role":"user","content":""}]', f'[{{"role":"user","content":[{NOTE}]}}]'),
        ("null", f"[{MESSAGE}]"),
        (
            '[{"role":"user","content":"a \\u00e9"}\n]',
            f'[{{"role":"user","content":[{{"type":"text","text":"a \\u00e9"}},{NOTE}]}}\n]',
        ),
    ],
)
def test_a_text_becomes_a_block_beside_the_note(messages: str, result: str) -> None:
    """As it was spelt; one that is empty goes, for it is refused in a block."""
    assert noted(messages) == result


def test_a_note_is_a_message_where_there_is_none() -> None:
    """Whatever is read can be told."""
    assert rewritten("", Changes(notes=("a", "b"))) == (
        ',"messages":[{"role":"user","content":[{"type":"text","text":"a\\n\\nb"}]}]}'
    )


TOOLS = ',"tools":[{"name":"f","input_schema":{}}]'


@pytest.mark.parametrize(
    ("fields", "result"),
    [
        ("", "}"),
        (',"tools":[ ]', ',"tools":[ ]}'),
        (',"tools":null,"tool_choice":{"type":"auto"}', None),
        (TOOLS, TOOLS + ',"tool_choice":{"type":"none"}}'),
        (TOOLS + ',"tool_choice":{ "type":"none" }', None),
        (
            ',"tool_choice":{"type":"any","disable_parallel_tool_use":true}' + TOOLS,
            ',"tool_choice":{"type":"none"}' + TOOLS + "}",
        ),
        (
            ',"tool_choice":{"type":"tool","name":"f"}' + TOOLS,
            ',"tool_choice":{"type":"none"}' + TOOLS + "}",
        ),
        (',"mcp_servers":[{"name":"s"}]', None),
    ],
)
def test_tools_are_withheld_by_the_choice_alone(fields: str, result: str | None) -> None:
    """A history with `tool_use` is refused without tools; a choice is, too."""
    expected = f"{fields}}}" if result is None else result

    assert rewritten(fields, Changes(withhold_tools=True)) == expected


def test_all_changes_are_made_at_once() -> None:
    """Wherever they stand."""
    fields = ',"messages":[{"role":"user","content":"a"}]' + TOOLS
    changes = Changes(5, model="n", notes=("b",), withhold_tools=True)

    assert (
        MESSAGES.rewrite(
            (HEAD + fields + "}").encode(),
            MESSAGES.parse((HEAD + fields + "}").encode(), Bounds()),
            changes,
        )
        == (
            '{"model":"n", "max_tokens":5,"messages":[{"role":"user","content":'
            '[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]'
            + TOOLS
            + ',"tool_choice":{"type":"none"}}'
        ).encode()
    )
