"""Names that no other process gives."""

import secrets
from collections.abc import Callable
from itertools import count


def unique_ids(prefix: str = "") -> Callable[[], str]:
    """Drawn once, then counted."""
    drawn, numbers = secrets.token_hex(8), count(1)
    return lambda: f"{prefix}{drawn}{next(numbers):08x}"
