"""What the demo's model says: it goes round in circles, reads on and on, or writes too much."""

from decimal import Decimal

from proxy.simulator import Price, ToolCall, Turn
from proxy.simulator.conversation import Conversation, mapping, string
from proxy.simulator.faults import parse_faults
from proxy.simulator.tokens import Json, split

NAME = "demo-model"
INPUT_USD, OUTPUT_USD = "3.00", "15.00"
PRICES = {NAME: Price(Decimal(INPUT_USD), Decimal(OUTPUT_USD))}
"""USD per million tokens: what the provider bills, and what the policy tells the sidecar."""

SALES_TASK = "What did we sell in March?"
FILE_TASK = "Read report.csv and tell me the total."
OTHER_FILE = "report-q3.csv"
EMAIL_TASK = "Tell Ann that her parcel is on its way."
STREAM_TASK = "Write the report on all open tickets."
RACE_TASK = "Summarise this ticket:"
FOUND = "refund"

_SEARCH = Turn(tool_calls=(ToolCall("search", {"q": "sales March"}),))
_PARSE = Turn(tool_calls=(ToolCall("parse", {"file": "sales-march.csv"}),))
_UNREADABLE = Turn(text="sales-march.csv is there, but it is not a table. Somebody has to look.")
_READ = Turn(tool_calls=(ToolCall("read_file", {"path": "report.csv"}),))
_READ_OTHER = Turn(tool_calls=(ToolCall("read_file", {"path": OTHER_FILE}),))
_EMAIL = Turn(tool_calls=(ToolCall("send_email", {"to": "ann@example.org", "text": "Soon!"}),))
_EMAILS = 2  # it is not sure that the first has gone out
_TOLD = Turn(text="Ann has been told.")
_TOTAL = Turn(text="The total is 1,204 EUR.")
_REPORT_TEXT = "".join(
    f"Ticket {number} is open: the customer has asked for a refund and still waits for us.\n"
    for number in range(100, 200)
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
        results = [string(m.get("content")) for m in messages if m.get("role") == "tool"]
        if task == SALES_TASK:
            return _search_and_parse(results, may_call=conversation.tool_choice != "none")
        if task == FILE_TASK:
            return _read_file(results, told=string(messages[-1].get("content")))
        if task == EMAIL_TASK:
            return _EMAIL if len(results) < _EMAILS else _TOLD
        if task == STREAM_TASK:
            return _REPORT
        return _SUMMARY if task.startswith(RACE_TASK) else _read_on(results)


def _search_and_parse(results: list[str], *, may_call: bool) -> Turn:
    """Goes round in circles for as long as it may call its tools, and then says what it knows."""
    if not may_call:
        return _UNREADABLE
    return _PARSE if len(results) % 2 else _SEARCH


def _read_file(results: list[str], told: str) -> Turn:
    """Reads the same file for ever, unless a human names another one."""
    if results and "EUR" in results[-1]:
        return _TOTAL
    return _READ_OTHER if OTHER_FILE in told else _READ


def _read_on(pages: list[str]) -> Turn:
    """Reads page after page until one brings what was asked for: never the same, and no end."""
    if pages and FOUND in pages[-1]:
        return _ANSWER
    following: Json = {"status": "open", "page": len(pages) + 1}
    return Turn(text=_READING, tool_calls=(ToolCall("search_tickets", following),))
