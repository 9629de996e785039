"""The keys of `breakers` and `retries`."""

from typing import Final

from proxy.config.containers import Key, Struct
from proxy.config.scalars import Number, Whole
from proxy.core.failing import BreakerPolicy, Retries

_SHARE: Final = Number(0, 1, above=True)
_SECONDS: Final = Number(0, 86_400, above=True)

BREAKERS: Final = Struct(
    BreakerPolicy,
    (
        Key("failure_rate", _SHARE, "Share of failures in the window at which one opens."),
        Key("slow_rate", _SHARE, "Share of slow answers in the window at which one opens; it is "
            "then still asked where nothing else is left."),
        Key("slow_seconds", _SECONDS, "A stream is slow that has not begun after so long."),
        Key("answer_seconds", _SECONDS, "An unstreamed answer is slow that is not there after so "
            "long; null: the call's deadline.", nullable=True),
        Key("stall_seconds", _SECONDS, "A stream that has begun and says nothing for so long is "
            "slow, and ended."),
        Key("window_seconds", Number(1, 3_600), "What both rates are taken over."),
        Key("minimum_calls", Whole(1, 10_000), "No rate counts of fewer calls, and so many "
            "slow ones in a row open one."),
        Key("consecutive_failures", Whole(1, 10_000), "So many failures in a row open one."),
        Key("open_seconds", _SECONDS, "It is left alone for so long, then one call tries it; each "
            "failed try doubles it, with jitter."),
        Key("open_seconds_max", _SECONDS, "Never for longer, but for a rate limit's reset."),
    ),
)  # fmt: skip

RETRIES: Final = Struct(
    Retries,
    (
        Key("join_seconds", Number(0, 3_600),
            "How long a call is kept for the SDK that gave it up and sends it again."),
        Key("max", Whole(0, 10), "Attempts more at the same target, all in one call; 0: none."),
        Key("ratio", Number(0, 1), "Retries may be this share of an upstream's recent calls, and "
            "ten more; 0: none."),
        Key("wait_seconds", Number(0, 3_600), "How long a call waits where all it lacks is the "
            "known reset of a rate limit."),
    ),
)  # fmt: skip
