"""What a human has to say to the model, put before the session's next step."""

from typing import Final

from proxy.core.ask import Ask
from proxy.core.request import CONVERSATIONS
from proxy.core.state import SessionState

MOST_MESSAGES: Final = 16
MOST_CHARACTERS: Final = 16_384
"""Of one message, and how many may wait for a step."""
_BYTES_PER_TOKEN: Final = 2
_TOKENS_AROUND: Final = 16
"""Few languages take more tokens than one for two bytes; around each stands its role."""


def carried(state: SessionState, ask: Ask) -> tuple[str, ...]:
    """The messages that this call carries, if it is admitted; what no model reads carries none."""
    return state.guidance if ask.dialect in CONVERSATIONS else ()


def tokens_of(guidance: tuple[str, ...]) -> int:
    """At most so many tokens of input."""
    sizes = (len(message.encode("utf-8", "replace")) for message in guidance)
    return sum(size // _BYTES_PER_TOKEN + _TOKENS_AROUND for size in sizes)
