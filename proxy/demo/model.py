"""What the demo's model says: it is stuck on an empty search, writes too much, or costs a cent."""

from decimal import Decimal

from proxy.simulator import Price, ToolCall, Turn
from proxy.simulator.conversation import Conversation, mapping, string
from proxy.simulator.faults import parse_faults
from proxy.simulator.tokens import split

NAME = "demo-model"
INPUT_USD, OUTPUT_USD = "3.00", "15.00"
PRICES = {NAME: Price(Decimal(INPUT_USD), Decimal(OUTPUT_USD))}
"""USD per million tokens: what the provider bills, and what the policy tells the sidecar."""

STREAM_TASK = "Write the report on all open tickets."
RACE_TASK = "Summarise this ticket:"
FOUND = "found"

_REPORT_TEXT = "".join(
    f"Ticket {number} is open: the customer has asked for a refund and still waits for us.\n"
    for number in range(100, 500)
)
REPORT_TOKENS = len(split(_REPORT_TEXT))
_REPORT = Turn(
    text=_REPORT_TEXT,
    chunk_gap_seconds=0.001,
    faults=parse_faults("ignore_bound"),
)
_SUMMARY = Turn(text_tokens=830, latency_seconds=0.25)
_SEARCH = Turn(
    text="The search came back without a single ticket, and that cannot be right, because two "
    "customers wrote to us this morning and neither of them has had a reply. The index may be "
    "late, or the filter too narrow, or the search may not have been run at all. Before I tell "
    "anybody that nothing is open I will look for the open tickets once more, with the same "
    "filter, and compare what comes back with what I was told. If there is nothing again, again.",
    tool_calls=(ToolCall("search_tickets", {"status": "open"}),),
)
_ANSWER = Turn(text="There are two open tickets: a refund (T-17) and a lost parcel (T-23).")


class StuckModel:
    """Asks for the same search until it brings something. An actor of the simulated provider."""

    def turn(self, conversation: Conversation) -> Turn:
        """The answer to this request."""
        if conversation.user == STREAM_TASK:
            return _REPORT
        if conversation.user.startswith(RACE_TASK):
            return _SUMMARY
        last = string(mapping(conversation.parts[-1]).get("content"))
        return _ANSWER if FOUND in last else _SEARCH
