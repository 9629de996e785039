"""Handing a session over to a human: what is written down, and what its client is told."""

import re
from collections.abc import Callable

from proxy.clock import Clock
from proxy.core import events as ev
from proxy.core.closed import refuse_awaiting
from proxy.core.decision import Refusal
from proxy.core.request import Request
from proxy.core.session import SessionState
from proxy.core.tools.facts import HeldTool
from proxy.intake import Call
from proxy.replies import Reply, dialect_of, ids_of, json_reply, refusal_reply, send
from proxy.wire import Answering, Headers

_PLAIN_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}")
_STREAM: Headers = (
    ("content-type", "text/event-stream; charset=utf-8"),
    ("cache-control", "no-cache"),
    ("x-accel-buffering", "no"),
)


class Handoffs:
    """Makes the facts. One for each process; owner: the name by which its holds are known."""

    def __init__(self, owner: str, clock: Clock, new_id: Callable[[], str]) -> None:
        self._owner = owner
        self._clock = clock
        self._new_id = new_id

    def hold(self, call: Call, held: HeldTool, code: str, why: str) -> ev.HandedOff:
        """A tool call that the agent is not handed until a human has approved it: to be appended
        with the settlement of the answer that asked for it. why: a sentence."""
        session, handoff = call.key.session, self._new_id()
        # A provider chose the call's id, and a human copies the line into a shell.
        name = held.call_id if _PLAIN_ID.fullmatch(held.call_id) else handoff
        ways = f"holdfast sessions approve {session} {name}, or deny"
        return ev.HandedOff(
            at=self._clock.now(),
            handoff=handoff,
            code=code,
            message=f"{why} To go on: {ways}.",
            blocking=True,
            notify=call.rules.handoff.webhook is not None,
            owner=self._owner,
            held=held,
        )


def awaiting(call: Call, state: SessionState) -> Refusal:
    """What the client of a session is told that waits for its human. `state` has the handoff."""
    refusal = refuse_awaiting(call.rules.refusal_status, state, call.key.session)
    assert refusal is not None
    return refusal


async def tell(
    exchange: Answering,
    call: Call,
    refusal: Refusal,
    request_id: str,
    stamps: Headers,
    created: int,
) -> int:
    """Answers a refused call: with an error, or where the policy says so and the session waits for
    a human, with a normal completion. created: epoch seconds. Returns the status."""
    handoff = call.rules.handoff
    text = handoff.message if handoff.reply == "message" else None
    reply = reply_to(call.request, refusal, text, request_id, stamps, created)
    await send(exchange, reply)
    return reply.status


def reply_to(
    request: Request,
    refusal: Refusal,
    text: str | None,
    request_id: str,
    stamps: Headers,
    created: int,
) -> Reply:
    """text: that of the completion which a session that waits is answered with, where it may be."""
    if text is None or refusal.code != "awaiting_human" or not _ends_with_text(request):
        return refusal_reply(refusal, request.dialect, request_id, stamps)
    return _completion(request, text, request_id, stamps, created)


def _ends_with_text(request: Request) -> bool:
    """Whether a text is an answer that ends the agent's run. Where a tool must be called or the
    output has a form, agents ask again and again (smolagents 8 times) or fail to read it."""
    is_generated = request.dialect != "embeddings"
    return is_generated and not (request.forces_tool or request.forces_format)


def _completion(
    request: Request, text: str, request_id: str, stamps: Headers, created: int
) -> Reply:
    dialect, answer_id = dialect_of(request.dialect), request_id.replace("req_", "handoff_")
    if request.stream:
        body = dialect.stream_text(text, request, answer_id, created)
        return Reply(200, (*_STREAM, *ids_of(request_id), *stamps), body)
    body = dialect.render_text(text, request, answer_id, created)
    return json_reply(200, body, request_id, stamps)
