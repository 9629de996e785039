"""What a policy says for providers that fail, as frozen values. Its defaults are those of
`policies/default.yaml`; a test holds the two together."""

from dataclasses import dataclass
from typing import Literal

OnUnavailable = Literal["reject", "handoff"]


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When the breaker of one (upstream, model) opens, and for how long. Times in seconds.

    slow_seconds: to the first token of a stream. answer_seconds: of an unstreamed answer; None:
        the call's deadline. stall_seconds: of silence within a stream.
    window_seconds, minimum_calls: what both rates are taken over, and the least that they count of.
    open_seconds doubles with every reopening, with jitter, up to open_seconds_max.
    """

    failure_rate: float = 0.5
    slow_rate: float = 0.5
    slow_seconds: float = 30.0
    answer_seconds: float | None = None
    stall_seconds: float = 300.0
    window_seconds: float = 60.0
    minimum_calls: int = 5
    consecutive_failures: int = 5
    open_seconds: float = 15.0
    open_seconds_max: float = 30.0


@dataclass(frozen=True, slots=True)
class Retries:
    """What is sent again after a failure, and by whom.

    join_seconds: how long a call goes on, and its answer is kept, for an SDK that gave it up and
        sends it again; 0: it ends with its client.
    max: attempts more within one call. ratio: of them to the recent calls of an upstream.
    wait_seconds: how long a call waits where all it lacks is a rate limit's known reset.
    """

    join_seconds: float = 60.0
    max: int = 2
    ratio: float = 0.1
    wait_seconds: float = 20.0


@dataclass(frozen=True, slots=True)
class Hedge:
    """The next target is asked beside one that has not begun to answer after so long."""

    after_seconds: float
