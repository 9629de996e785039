"""A model's published maximum is found under every name that it goes by."""

import pytest

from proxy.prices.maxima import published_max_output_tokens


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("gpt-5.1", 128_000),
        ("openai/gpt-5-mini-2025-08-07", 128_000),
        ("gpt-5.2-chat-latest", 16_384),
        ("gpt-4.1-mini", 32_768),
        ("ft:gpt-4.1-2025-04-14:org:name:Bz", 32_768),
        ("gpt-4-1106-preview", 4_096),
        ("gpt-4o", 16_384),
        ("gpt-4o-mini-realtime-preview", 4_096),
        ("openai/o3", 100_000),
        ("claude-3-5-haiku-latest", 8_192),
        ("claude-opus-4-20250514", 32_000),
        ("claude-opus-4-1@20250805", 32_000),
        ("anthropic/claude-4.5-sonnet-20250929", 64_000),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", 64_000),
        ("claude-sonnet-4-6", 128_000),
        ("claude-opus-5-5", 128_000),
        ("models/gemini-2.5-pro", 65_536),
        ("deepseek/deepseek-chat", 393_216),
    ],
)
def test_a_model_is_known_by_any_of_its_names(model: str, tokens: int) -> None:
    assert published_max_output_tokens(model) == tokens


@pytest.mark.parametrize("model", ["", "grok-4.5", "my-claude", "llama-3.3-70b"])
def test_a_model_that_is_not_listed_is_not_guessed(model: str) -> None:
    assert published_max_output_tokens(model) is None
