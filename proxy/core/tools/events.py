"""Events of guarded tool calls."""

from proxy.core.event import Event
from proxy.core.tools.facts import Handed, Withheld


class CallsHanded(Event, frozen=True):
    """Guarded tool calls went to the agent. Uses up what a human approved of them."""

    calls: tuple[Handed, ...] = ()


class CallsWithheld(Event, frozen=True):
    """Calls that the agent was not given, beside others of their turn that it was. They are put
    back into the request that brings the results of the others."""

    calls: tuple[Withheld, ...] = ()


class ResultRecorded(Event, frozen=True):
    """What a guarded call came to; the first one of a call holds. call: its digest (`effect_of`).

    text: the result; content: the same as JSON, as `dialect` writes it, where that was kept.
    source: agent (a later request brought it) or claim (the executor told it).
    """

    call: bytes = b""
    tool: str = ""
    call_id: str = ""
    text: str = ""
    is_error: bool = False
    content: bytes = b""
    dialect: str = ""
    source: str = "agent"


class AnswerKept(Event, frozen=True):
    """An answer with calls that wait for a human (`waits_for`: their digests), for who sends the
    same body again."""

    body_digest: bytes = b""
    stream: bool = False
    body: bytes = b""
    waits_for: tuple[bytes, ...] = ()


class CallClaimed(Event, frozen=True):
    """An executor said that it carries the call out now, and is believed until then (epoch s)."""

    call: bytes = b""
    tool: str = ""
    until: float = 0.0


class ResponseRenamed(Event, frozen=True):
    """The agent knows a response by another id than the provider that keeps it."""

    given: str = ""
    kept: str = ""


ToolEvent = (
    CallsHanded | CallsWithheld | ResultRecorded | AnswerKept | CallClaimed | ResponseRenamed
)
