"""What a webhook format is."""

from collections.abc import Callable
from dataclasses import dataclass

from proxy.core.notices import Json, Notice


@dataclass(frozen=True, slots=True)
class Format:
    """name: in the policy and as a label. body: of a notice and of the secret, for what carries it.

    own_key: what the secret is called where it is the receiver's own key: then the body carries it,
    instead of being signed with it, and nothing can be sent without. None: it signs.
    """

    name: str
    body: Callable[[Notice, bytes], Json]
    own_key: str | None = None
