"""The keys for providers that fail."""

from typing import Final

from proxy.config.containers import Key, Struct, unbuilt
from proxy.config.scalars import Number
from proxy.core.failing import Retries

RETRIES: Final = Struct(
    Retries,
    (
        Key("join_seconds", Number(0, 3_600),
            "How long a call is kept for the SDK that gave it up and sends it again."),
        *unbuilt("max", "ratio"),
    ),
)  # fmt: skip
