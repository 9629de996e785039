"""Usage as the providers spell it: None is not 0, and no token is counted in two classes."""

import msgspec
import pytest

from proxy.core.dialects.chat_usage import read_usage
from proxy.core.usage import Extras, Usage


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        # OpenAI
        (
            (
                '{"prompt_tokens":100,"completion_tokens":30,"total_tokens":130,"prompt_tokens_details":'
                '{"cached_tokens":64,"audio_tokens":10},"completion_tokens_details":'
                '{"reasoning_tokens":12,"audio_tokens":5}}'
            ),
            Usage(36, 64, 0, 0, 30, 12, 10, 5),
        ),
        # DeepSeek
        (
            (
                '{"prompt_tokens":12,"completion_tokens":3,"prompt_cache_hit_tokens":8,'
                '"prompt_cache_miss_tokens":4}'
            ),
            Usage(4, 8, 0, 0, 3),
        ),
        # Moonshot, Together
        ('{"prompt_tokens":9,"completion_tokens":1,"cached_tokens":5}', Usage(4, 5, 0, 0, 1)),
        # OpenRouter: cache writes, and what it billed in USD
        (
            (
                '{"prompt_tokens":2572,"completion_tokens":63,"total_tokens":2635,"cost":0.01058775,'
                '"is_byok":false,"prompt_tokens_details":{"cache_write_tokens":2569,"cached_tokens":0},'
                '"cost_details":{"upstream_inference_cost":0.01058775}}'
            ),
            Usage(3, 0, 2569, 0, 63, billed_cost_micro_usd=10588),
        ),
        # OpenRouter with the caller's own provider key: its fee, and what the provider billed
        (
            (
                '{"prompt_tokens":1,"completion_tokens":1,"cost":0,"is_byok":true,'
                '"cost_details":{"upstream_inference_cost":0.00417}}'
            ),
            Usage(1, output_tokens=1, billed_cost_micro_usd=4170),
        ),
        # Perplexity
        (
            (
                '{"prompt_tokens":1,"completion_tokens":1,"reasoning_tokens":1,'
                '"cost":{"total_cost":0.00507}}'
            ),
            Usage(1, output_tokens=1, reasoning_tokens=1, billed_cost_micro_usd=5070),
        ),
        # reasoning beside completion_tokens (xAI, Gemini): only the total shows it
        (
            (
                '{"prompt_tokens":10,"completion_tokens":2,"total_tokens":112,'
                '"completion_tokens_details":{"reasoning_tokens":100}}'
            ),
            Usage(10, output_tokens=102, reasoning_tokens=100),
        ),
        # … or nothing but its own figure
        (
            (
                '{"prompt_tokens":10,"completion_tokens":2,'
                '"completion_tokens_details":{"reasoning_tokens":100}}'
            ),
            Usage(10, output_tokens=102, reasoning_tokens=100),
        ),
        # … which also shows where a provider miscounts the part
        (
            (
                '{"prompt_tokens":43,"completion_tokens":10,"total_tokens":53,'
                '"completion_tokens_details":{"reasoning_tokens":11}}'
            ),
            Usage(43, output_tokens=10, reasoning_tokens=10),
        ),
        # Writer: another spelling of the details
        (
            (
                '{"prompt_tokens":40,"completion_tokens":300,"total_tokens":340,"prompt_token_details":'
                '{"cached_tokens":8},"completion_token_details":{"reasoning_tokens":100}}'
            ),
            Usage(32, 8, output_tokens=300, reasoning_tokens=100),
        ),
        # Qwen and LiteLLM: what is kept for an hour
        (
            (
                '{"prompt_tokens":100,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":10,'
                '"cache_creation_input_tokens":80,"cache_creation":{"ephemeral_1h_input_tokens":30}}}'
            ),
            Usage(10, 10, 50, 30, 1),
        ),
        (
            (
                '{"prompt_tokens":100,"completion_tokens":1,"prompt_tokens_details":{'
                '"cache_creation_tokens":80,"cache_creation_token_details":'
                '{"ephemeral_1h_input_tokens":80}},"cache_read_input_tokens":10}'
            ),
            Usage(10, 10, 0, 80, 1),
        ),
        # no more is kept for an hour than was written
        (
            (
                '{"prompt_tokens":100,"completion_tokens":1,"prompt_tokens_details":{'
                '"cache_write_tokens":80,"cache_creation":{"ephemeral_1h_input_tokens":500}}}'
            ),
            Usage(20, 0, 0, 80, 1),
        ),
        # Claude's names and its way to count: the cache beside the prompt
        (
            (
                '{"prompt_tokens":10,"completion_tokens":1,"cache_read_input_tokens":5000,'
                '"cache_creation_input_tokens":200}'
            ),
            Usage(10, 5000, 200, 0, 1),
        ),
        # Mistral: its service tier stands in the usage
        (
            '{"prompt_tokens":9,"completion_tokens":1,"num_cached_tokens":4,"service_tier":"flex"}',
            Usage(5, 4, output_tokens=1, extras=Extras(terms=("flex",))),
        ),
        # images and audio from the cache
        (
            (
                '{"prompt_tokens":100,"completion_tokens":30,"prompt_tokens_details":{"cached_tokens":50,'
                '"audio_tokens":60,"image_tokens":7,"cached_tokens_details":{"audio_tokens":40}},'
                '"completion_tokens_details":{"image_tokens":20}}'
            ),
            Usage(50, 50, output_tokens=30, input_audio_tokens=20, extras=Extras(40, 7, 20)),
        ),
        # searches that OpenRouter or the provider ran
        (
            (
                '{"prompt_tokens":1,"completion_tokens":1,'
                '"server_tool_use_details":{"web_search_requests":2}}'
            ),
            Usage(1, output_tokens=1, extras=Extras(web_searches=2)),
        ),
        (
            (
                '{"prompt_tokens":1,"completion_tokens":1,"search_context_size":"high",'
                '"num_search_queries":4}'
            ),
            Usage(1, output_tokens=1, extras=Extras(web_searches=4, search_context="high")),
        ),
        # odd values beside the figures cost us none of them
        (
            (
                '{"prompt_tokens":1,"completion_tokens":1,"server_tool_use":7,"service_tier":[],'
                '"search_context_size":{},"is_byok":"no","cost_in_usd_ticks":"x"}'
            ),
            Usage(1, output_tokens=1),
        ),
        # xAI's bill
        (
            '{"prompt_tokens":1,"completion_tokens":1,"cost_in_usd_ticks":6306000}',
            Usage(1, output_tokens=1, billed_cost_micro_usd=631),
        ),
        # explicit zeros and nulls
        ('{"prompt_tokens":0,"completion_tokens":0}', Usage()),
        (
            (
                '{"prompt_tokens":5,"completion_tokens":null,"total_tokens":5,"cost":null,'
                '"prompt_tokens_details":null,"completion_tokens_details":null}'
            ),
            Usage(5),
        ),
        # embeddings
        ('{"prompt_tokens":5,"total_tokens":5}', Usage(5)),
        # nonsense is bounded
        (
            (
                '{"prompt_tokens":-5,"completion_tokens":1e300,"cost":-1,'
                '"prompt_tokens_details":{"cached_tokens":7}}'
            ),
            Usage(0, output_tokens=10**9),
        ),
        ('{"total_tokens":5}', Usage(5)),  # Voyage's embeddings
        ('{"prompt_tokens":1,"cost":"much"}', Usage(1)),
        ('{"prompt_tokens":1,"cost":1e99999}', Usage(1)),
        ('{"prompt_tokens":1,"cost":"NaN"}', Usage(1)),
        (
            (
                '{"prompt_tokens":1,"cost":1,"is_byok":true,'
                '"cost_details":{"upstream_inference_cost":"sNaN"}}'
            ),
            Usage(1),
        ),
        ('{"prompt_tokens":1,"cost":{"total_cost":null}}', Usage(1)),
    ],
)
def test_each_spelling_has_its_record(raw: str, usage: Usage) -> None:
    """The ledger books this record: streamed and not, from whatever provider."""
    assert read_usage(msgspec.Raw(raw.encode())) == usage


@pytest.mark.parametrize("raw", ["", "null", "{}", "5", '{"prompt_tokens":"5"}'])
def test_what_says_nothing_is_none_and_not_zero(raw: str) -> None:
    """Taken for 0, a call without figures would be free."""
    assert read_usage(msgspec.Raw(raw.encode())) is None


def test_a_billed_cost_is_rounded_up_from_its_decimal() -> None:
    """0.00014 is 140 micro-USD, though the float times a million is more."""
    usage = read_usage(msgspec.Raw(b'{"prompt_tokens":1,"cost":0.00014}'))

    assert usage is not None
    assert usage.billed_cost_micro_usd == 140


def test_a_bill_that_is_a_text_is_none() -> None:
    """Some gateways count in units of their own, and write them as they like."""
    usage = read_usage(msgspec.Raw(b'{"prompt_tokens":1,"cost":"0.5"}'))

    assert usage == Usage(1)


def test_the_service_tier_beside_the_usage_is_the_one_it_was_served_at() -> None:
    """The answer's, not the one that was asked for."""
    raw = msgspec.Raw(b'{"prompt_tokens":1,"completion_tokens":1}')

    assert read_usage(raw, "default") == Usage(1, output_tokens=1)
    assert read_usage(raw, "priority") == Usage(
        1, output_tokens=1, extras=Extras(terms=("priority",))
    )
