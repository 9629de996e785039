"""One record a call, for metrics and the log: facts only, no content, no credential."""

import msgspec

from proxy.core.decision import Refusal
from proxy.core.events import Outcome
from proxy.core.request import DialectName
from proxy.core.usage import Usage


class CallRecord(msgspec.Struct, frozen=True):
    """What came of a call. Times in seconds; None where there was none.

    decision: the admitted one's name, "reject", "handoff", or for what never was a call whose fault
        it was: "client" or "error". reason: a refusal's code, the loop that is warned of, or "".
    overhead_seconds: from the whole request to its forwarding. first_byte_seconds: from then to the
    first byte of the answer's body. replays: how often its model was given a recorded result.
    cycles: turns in its history that called tools and came back, since the user said something new;
    None where nobody looks for loops. repeats: the detector of the loop that its turn goes on with.
    replay: what came of a call that asked for the record: how a recorded answer was given again
    (exact, messages, skipped), or live or diverged. retries: attempts more at the same target.
    fallbacks: why another one was asked, each time.
    """

    dialect: DialectName
    decision: str
    status: int
    request_id: str
    reason: str = ""
    stream: bool = False
    upstream: str = ""
    model: str = ""
    tenant: str = ""
    session: str = ""
    agent: str | None = None
    step: int = 0
    outcome: Outcome | None = None
    usage: Usage | None = None
    cost_micro_usd: int = 0
    overspend_micro_usd: int = 0
    overhead_seconds: float | None = None
    first_byte_seconds: float | None = None
    duration_seconds: float | None = None
    tool_calls: tuple[str, ...] = ()
    cycles: int | None = None
    repeats: str = ""
    replays: int = 0
    replay: str = ""
    retries: int = 0
    fallbacks: tuple[str, ...] = ()

    @staticmethod
    def refused(
        dialect: DialectName, decision: str, refusal: Refusal, request_id: str
    ) -> "CallRecord":
        """The record of a request that ended before it was a call of a session."""
        return CallRecord(dialect, decision, refusal.status, request_id, reason=refusal.code)
