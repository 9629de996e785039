"""Changes of a request: what was decided, and not a byte more."""

import json

import pytest

from proxy.core.dialects.base import Bounds
from proxy.core.dialects.chat import CHAT
from proxy.core.request import Changes

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
