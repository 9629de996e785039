"""What names of models tell of how chat is to be asked for them."""

import re

_CURRENT = re.compile(r"(?:.*/)?(?:ft:)?(?:o\d|gpt-[5-9]|gpt-\d\d|chatgpt-|codex)", re.I)


def is_current_openais(model: str) -> bool:
    """OpenAI's models that refuse `max_tokens`, and any temperature or top_p but the default. All
    others know `max_tokens`, and several (Mistral, Ollama) refuse or ignore
    `max_completion_tokens`."""
    return _CURRENT.match(model) is not None
