"""What a request does not show need not be held; what it hides must be."""

import json

import msgspec
import pytest

from proxy.core.dialects.base import Bounds
from proxy.core.dialects.chat import CHAT
from proxy.core.dialects.completions import COMPLETIONS
from proxy.core.dialects.exposing import (
    USUAL_SEARCHES,
    exposure_of,
    longest_write,
    scanned_write,
)
from proxy.core.dialects.messages import MESSAGES
from proxy.core.dialects.responses import RESPONSES
from proxy.core.exposure import PLAIN, Exposure

FIVE = {"cache_control": {"type": "ephemeral"}}
HOUR = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
TEXT = {"type": "text", "text": "Hi"}
USER = {"role": "user", "content": "Hi"}


def shown(dialect: str, **body: object) -> Exposure:
    read = {"chat": CHAT, "messages": MESSAGES, "responses": RESPONSES}[dialect]
    sent = {"model": "m", "messages": [USER], "max_tokens": 9}
    sent |= {"input": "Hi"} if dialect == "responses" else {}
    return read.parse(json.dumps(sent | body).encode(), Bounds()).exposure


@pytest.mark.parametrize(
    ("body", "writes"),
    [
        ({}, "none"),
        ({"messages": [{"role": "user", "content": [TEXT]}]}, "none"),
        (FIVE, "5m"),
        (HOUR, "1h"),
        ({"system": [TEXT | FIVE]}, "5m"),
        ({"tools": [{"name": "look", **HOUR}]}, "1h"),
        ({"messages": [{"role": "user", "content": [TEXT, TEXT | FIVE]}]}, "5m"),
        ({"messages": [{"role": "assistant", "content": [TEXT | HOUR]}]}, "1h"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "tool_result", "content": [TEXT | HOUR]}]}
                ]
            },
            "1h",
        ),
        ({"system": [TEXT | FIVE], "messages": [{"role": "user", "content": [TEXT | HOUR]}]}, "1h"),
        ({"system": [TEXT | {"cache_control": None}]}, "none"),
        ({"system": [TEXT | {"cache_control": {"ttl": "5m"}}]}, "5m"),
        ({"system": [TEXT | {"cache_control": {"ttl": "1d"}}]}, "1h"),
        ({"system": [TEXT | {"cache_control": "odd"}]}, "5m"),
        ({"messages": [{"role": "user", "content": json.dumps(HOUR)}]}, "none"),
    ],
)
def test_a_marker_anywhere_in_a_messages_request_is_seen(
    body: dict[str, object], writes: str
) -> None:
    """The longest counts; a text that has one in it does not."""
    assert shown("messages", **body).cache_writes == writes


def test_the_markers_of_claude_are_seen_in_its_other_dialects() -> None:
    """Others have no such markers, and their bodies are not searched."""
    content = [TEXT | HOUR]
    messages = [{"role": "user", "content": content}]

    assert shown("chat", model="anthropic/claude-opus-5", messages=messages).cache_writes == "1h"
    assert shown("chat", model="anthropic/Claude-opus-5").cache_writes == "none"
    assert shown("chat", model="qwen/qwen3", messages=messages) == PLAIN
    assert shown("responses", model="anthropic/claude-opus-5").cache_writes == "1h"
    assert shown("responses", model="gpt-5") == PLAIN


@pytest.mark.parametrize(
    ("body", "writes"),
    [
        (b"{}", "none"),
        (b'{"cache_control": {"type": "ephemeral"}}', "5m"),
        (b'{"cache_control":{"type":"ephemeral"},"x":{"cache_control" : {"ttl" : "1h"}}}', "1h"),
        (b'{"text": "\\"cache_control\\" \\"1h\\""}', "none"),
        (rb'{"\u0063ache_control": {}}', "1h"),
        (rb'{"caf\u00e9": 1}', "none"),
    ],
)
def test_markers_are_found_in_the_text_of_a_body(body: bytes, writes: str) -> None:
    """One that is spelt in escapes is assumed the worst of."""
    assert scanned_write(body) == writes


def test_without_marks_nothing_is_written() -> None:
    assert longest_write(()) == "none"
    assert longest_write((msgspec.Raw(b"null"), msgspec.Raw())) == "none"


@pytest.mark.parametrize(
    ("dialect", "body", "terms"),
    [
        ("chat", {"service_tier": "priority"}, ("priority",)),
        ("chat", {"service_tier": "auto"}, ()),
        ("responses", {"service_tier": "flex"}, ("flex",)),
        ("messages", {"service_tier": "standard_only"}, ()),
        ("messages", {"speed": "fast", "inference_geo": "us"}, ("speed:fast", "geo:us")),
        ("messages", {"speed": {"odd": 1}}, ()),
    ],
)
def test_the_terms_asked_for_are_seen(
    dialect: str, body: dict[str, object], terms: tuple[str, ...]
) -> None:
    assert shown(dialect, **body) == Exposure(terms=terms)


@pytest.mark.parametrize(
    ("dialect", "body", "audio"),
    [
        ("chat", {"modalities": ["text"]}, False),
        ("chat", {"modalities": ["text", "audio"]}, True),
        ("chat", {"audio": {"voice": "alloy"}}, True),
        ("chat", {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, True),
        ("chat", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, False),
        (
            "responses",
            {"input": [{"role": "user", "content": [{"type": "input_audio", "data": "a"}]}]},
            True,
        ),
        ("messages", {"messages": [{"role": "user", "content": [{"type": "document"}]}]}, True),
    ],
)
def test_audio_is_held_only_where_it_may_be(
    dialect: str, body: dict[str, object], audio: bool
) -> None:
    """A file may be a recording."""
    assert shown(dialect, **body).audio is audio


@pytest.mark.parametrize(
    ("dialect", "body", "searches"),
    [
        ("messages", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, 10),
        ("messages", {"tools": [{"type": "web_search_20250305", "max_uses": 3}]}, 3),
        ("messages", {"tools": [{"type": "web_search_20250305", "max_uses": "odd"}]}, 10),
        ("messages", {"tools": [{"name": "web_search", "input_schema": {}}]}, 0),
        ("responses", {"tools": [{"type": "web_search"}, {"type": "file_search"}]}, 10),
        ("responses", {"tools": [{"type": "web_search_preview"}], "max_tool_calls": 2}, 2),
        ("responses", {"tools": [{"type": "function", "name": "web_search"}]}, 0),
        ("chat", {"web_search_options": {}}, 10),
        ("chat", {"plugins": [{"id": "web"}]}, 10),
        ("chat", {"model": "openai/gpt-5:online"}, 10),
        ("chat", {"tools": [{"type": "openrouter:web_search"}]}, 10),
        ("chat", {"tools": [{"type": "function", "function": {"name": "web_search"}}]}, 0),
    ],
)
def test_searches_that_the_provider_may_bill_are_held(
    dialect: str, body: dict[str, object], searches: int
) -> None:
    """As many as the request allows, else a usual number; the client's own tools cost nothing."""
    assert USUAL_SEARCHES == 10
    assert shown(dialect, **body).searches == searches


def test_a_plain_request_shows_nothing() -> None:
    """The same value for all of them, which costs nothing to make."""
    assert exposure_of({}) is PLAIN
    assert shown("chat") is PLAIN
    assert shown("messages") is PLAIN
    assert shown("responses") is PLAIN
    assert COMPLETIONS.parse(b'{"model":"m","prompt":"Hi"}', Bounds()).exposure is PLAIN
