"""The keys of `checkpoints`."""

from typing import Final

from proxy.config.containers import Key, Struct
from proxy.config.scalars import Choice, Text
from proxy.config.table_handoff import VARIABLE
from proxy.core.checkpoints import Checkpoints

_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def seconds_of(duration: str) -> float:
    """Of a text that RETENTION takes."""
    return float(duration[:-1]) * _SECONDS[duration[-1]]


RETENTION: Final = Text(
    "a number and its unit: 90m, 12h, 7d, 4w", r"[1-9][0-9]{0,8}[smhdw]", make=seconds_of
)
DIRECTORY: Final = Text("the path of a directory", r"[^\x00]*\S[^\x00]*", 1024)

CHECKPOINTS: Final = Struct(
    Checkpoints,
    (
        Key("content", Choice(("full", "hashes", "off")), "What is kept of requests and answers: "
            "all of them, only their hashes, or nothing."),
        Key("retention", RETENTION, "How long a session is kept that nobody uses.",
            "retention_seconds"),
        Key("encrypt_key_env", VARIABLE, "The environment variable with the key that they are "
            "sealed with; null: they are stored in clear.", nullable=True),
        Key("archive", DIRECTORY, "Where a session is written to before retention deletes it; "
            "null: nowhere.", nullable=True),
    ),
)  # fmt: skip
