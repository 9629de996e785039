"""What the demo's model says: it reads page after page, writes too much, or costs a cent."""

from decimal import Decimal

from proxy.simulator import Price, ToolCall, Turn
from proxy.simulator.conversation import Conversation, mapping, string
from proxy.simulator.faults import parse_faults
from proxy.simulator.tokens import Json, split

NAME = "demo-model"
INPUT_USD, OUTPUT_USD = "3.00", "15.00"
PRICES = {NAME: Price(Decimal(INPUT_USD), Decimal(OUTPUT_USD))}
"""USD per million tokens: what the provider bills, and what the policy tells the sidecar."""

STREAM_TASK = "Write the report on all open tickets."
RACE_TASK = "Summarise this ticket:"
FOUND = "refund"

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
_READING = (
    "This page was about something else again, and the question was about refunds. I cannot say "
    "that there is no refund among the open tickets before I have seen every one of them, and the "
    "search does not say how many pages there are. The newest tickets come first, and the customer "
    "wrote to us some days ago, so it will be further down. I will read the next page and compare "
    "what it says with what I was asked, and go on like this until I find it or the pages end."
)
_ANSWER = Turn(text="There is one: T-17, a refund that the customer has waited for since Monday.")


class DemoModel:
    """Goes by its task, and by what its tools brought. An actor of the simulated provider."""

    def turn(self, conversation: Conversation) -> Turn:
        """The answer to this request."""
        messages = [mapping(part) for part in conversation.parts]
        task = next(string(m.get("content")) for m in messages if m.get("role") == "user")
        if task == STREAM_TASK:
            return _REPORT
        if task.startswith(RACE_TASK):
            return _SUMMARY
        return _read_on([string(m.get("content")) for m in messages if m.get("role") == "tool"])


def _read_on(pages: list[str]) -> Turn:
    """Reads page after page until one brings what was asked for: never the same, and no end."""
    if pages and FOUND in pages[-1]:
        return _ANSWER
    following: Json = {"status": "open", "page": len(pages) + 1}
    return Turn(text=_READING, tool_calls=(ToolCall("search_tickets", following),))
