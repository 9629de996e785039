"""What the policy says of the record of sessions: what of them is kept, for how long, and where."""

from dataclasses import dataclass
from typing import Final, Literal

DAY_SECONDS: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """content: what is kept of bodies and answers: all, only what tells whether one is the same, or
    nothing. retention_seconds: for how long a session is kept that nobody uses.

    encrypt_key_env: the environment variable with the key that contents are sealed with; None: they
    are stored as they are. archive: the directory that a session is written to before retention
    deletes it; None: it is not.
    """

    content: Literal["full", "hashes", "off"] = "full"
    retention_seconds: float = 7 * DAY_SECONDS
    encrypt_key_env: str | None = None
    archive: str | None = None
