"""How many tokens a request will be billed as input: an upper estimate, made before it is sent.

A prior from bytes that real requests stay below; and a calibration that takes its place once enough
settled calls of the model have shown what its bytes come to. What a provider adds by itself cannot
be seen here: state it keeps (`previous_response_id`), results of tools that it runs.
"""

import re
from bisect import bisect_left, insort
from functools import lru_cache

import msgspec

from proxy.core.request import Request

_MILLI = 1000

_OVERHEAD_TOKENS = 256
"""What a provider puts around any prompt: up to 200 tokens were seen (Grok), 10 are usual."""

_TOOLS_OVERHEAD_TOKENS = 384
"""What it adds where tools are offered: 346 (https://platform.claude.com/docs/en/agents-and-tools/
tool-use/overview#pricing); up to 530 in all were seen."""

_NEW_CLAUDE = r"claude-(opus-4[-.][789]|[a-z]+-[5-9])"

_PRIOR_MILLITOKENS_PER_BYTE: tuple[tuple[str, int], ...] = (
    # 30 % more tokens since Opus 4.7 and the fifth generation:
    # https://platform.claude.com/docs/en/build-with-claude/token-counting, read 2026-11-22
    (_NEW_CLAUDE, 650),
    (r"claude", 500),
    (r"gpt-(4o|4\.1|[5-9]|oss)|\bo[134]($|-)", 350),  # the o200k tokeniser
    (r"", 400),
)

_IMAGE_TOKENS: tuple[tuple[str, int], ...] = (
    # 2,576 and 1,568 pixels a side: https://platform.claude.com/docs/en/build-with-claude/vision
    (_NEW_CLAUDE, 4_784),
    (r"claude", 1_600),
    # base + 8 tiles (768 × 2048), or patches × at most 2.46 (1,536 of them) or 1.62 (10,000 since
    # 5.4, 30,000 since 5.6): https://developers.openai.com/api/docs/guides/images-vision
    (r"gpt-4o-mini", 48_169),
    (r"gpt-4|gpt-5($|-|\.[123])|\bo[134]($|-)", 3_779),
    (r"gpt-5\.[45]", 16_200),
    (r"gpt-", 48_600),
    # 8 tiles of 258, or 2,240 at ultra-high: https://ai.google.dev/gemini-api/docs/media-resolution
    (r"gemini", 2_240),
    # Qwen-VL's maximum of pixels, the largest of the open models
    (r"", 16_384),
)

_FILES_TOKENS = 300_000
"""All files of a request: 100 pages of at most 3,000 tokens (https://platform.claude.com/docs/en/
build-with-claude/pdf-support; 2,481 were measured); Gemini's 1,000 pages of 258 are fewer."""

_SAMPLES_KEPT = 64
_SAMPLES_NEEDED = 16
_OUTLIERS = 2
_SAMPLE_BYTES = 4096
_MARGIN_MILLI = 1150
_CREDIBLE_MILLITOKENS_PER_BYTE = 1500


class Calibration(msgspec.Struct, frozen=True, gc=False):
    """What settled calls of one model taught: tokens per thousand bytes, the newest last.

    A small request says more of its overhead than of its bytes, and one with images or files says
    nothing of them; neither is taken.

    learned: millitokens per byte to reckon with; None until there are samples enough. The third
    largest with a margin: one or two odd calls change nothing, and what is large and repeated
    counts at once.
    """

    millitokens_per_byte: tuple[int, ...] = ()
    by_size: tuple[int, ...] = ()
    learned: int | None = None

    def observe(self, text_bytes: int, attachments: int, actual_tokens: int) -> "Calibration":
        """With one more settled call: its size, its images and files, what the provider counted."""
        if attachments or text_bytes < _SAMPLE_BYTES or actual_tokens <= 0:
            return self
        ratio = min(-(-actual_tokens * _MILLI // text_bytes), _CREDIBLE_MILLITOKENS_PER_BYTE)
        known, by_size = self.millitokens_per_byte, list(self.by_size)
        if len(known) == _SAMPLES_KEPT:
            del by_size[bisect_left(by_size, known[0])]
            known = known[1:]
        insort(by_size, ratio)
        enough = len(by_size) >= _SAMPLES_NEEDED
        learned = by_size[-1 - _OUTLIERS] * _MARGIN_MILLI // _MILLI if enough else None
        return Calibration((*known, ratio), tuple(by_size), learned)


UNTAUGHT = Calibration()


def estimate_input_tokens(
    request: Request, calibration: Calibration | None, *, context_window: int | None = None
) -> int:
    """Input tokens that this request will hardly exceed.

    The learned rate never falls below half the prior, whatever samples it was fed.
    context_window: of the model; files cannot come to more.
    """
    model = request.model.lower()
    rate = _prior_rate(model)
    if calibration is not None and calibration.learned is not None:
        rate = max(calibration.learned, rate // 2)
    tokens = _OVERHEAD_TOKENS - (-request.text_bytes * rate // _MILLI)
    if request.offered_tools:
        tokens += _TOOLS_OVERHEAD_TOKENS
    if request.image_count:
        tokens += request.image_count * _first(_IMAGE_TOKENS, model)
    if request.file_count:
        tokens += min(_FILES_TOKENS, context_window or _FILES_TOKENS)
    return tokens


@lru_cache(1024)
def _prior_rate(model: str) -> int:
    return _first(_PRIOR_MILLITOKENS_PER_BYTE, model)


def _first(table: tuple[tuple[str, int], ...], model: str) -> int:
    return next(value for pattern, value in table if re.search(pattern, model))
