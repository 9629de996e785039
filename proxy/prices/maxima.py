"""How much a model can generate in one answer, as its maker says (genai-prices does not).

Read 2026-11-22: https://platform.claude.com/docs/en/about-claude/models/overview,
https://developers.openai.com/api/docs/models, https://ai.google.dev/gemini-api/docs/models,
https://api-docs.deepseek.com/quick_start/pricing; older models from LiteLLM's table of 2026-07-24
(MIT). What counts is the most that comes *without* a bound in the request: Gemini 4 can do more
where it is asked to. A family that is not here gets `DEFAULT_MAX_OUTPUT_TOKENS`.
"""

import re

_VENDOR = re.compile(r"^.*[/.:](?=(?:gpt|chatgpt|o\d|codex|claude|gemini|deepseek)(?:[-\d]|$))")

_MAXIMA: tuple[tuple[str, int], ...] = (
    (r"gpt-[56][\d-]*-chat", 16_384),
    (r"gpt-[56]|codex", 128_000),
    (r"gpt-oss", 131_072),
    (r"gpt-4-1($|-)", 32_768),
    (r"gpt-realtime-2($|-)", 32_000),
    (r"gpt-4-5|gpt-4o-(?!.*realtime)|gpt-4o$|chatgpt-4o|gpt-audio", 16_384),
    (r"gpt-4-(turbo|1106|0125|vision)|gpt-3-5|.*realtime", 4_096),
    (r"gpt-4$|gpt-4-(0314|0613)", 8_192),
    (r"o1-mini", 65_536),
    (r"o1-preview", 32_768),
    (r"o[134]$|o[134]-", 100_000),
    (r"claude-(2|instant|v2|3-(haiku|opus|sonnet))", 4_096),
    (r"claude-3-5", 8_192),
    (r"claude-(opus-4($|-[01]($|[-@])|-20|@)|4-(1-)?opus)", 32_000),
    (r"claude-(sonnet-4($|-0|-20|@)|4-sonnet)", 64_000),
    (r"claude-((sonnet|opus|haiku)-4-5|4-5-)", 64_000),
    (r"claude-", 128_000),  # 3.7 (with its long-output beta) and everything since 4.6
    (r"gemini-(1|2-0|pro($|-1|-vision))", 8_192),
    (r"gemini-", 65_536),
    (r"deepseek-(v4|flash|chat|reasoner)", 393_216),
)


def published_max_output_tokens(model: str) -> int | None:
    """The published maximum of one answer of this model, under any provider's name for it."""
    bare = _VENDOR.sub("", model.lower()).replace(".", "-")
    for pattern, most in _MAXIMA:
        if re.match(pattern, bare):
            return most
    return None
