"""What the client of a session that waits is told: an error, or a finished answer."""

import json

import pytest
from msgspec.structs import replace

from proxy.core import events as ev
from proxy.core.closed import refuse_awaiting
from proxy.core.decision import Refusal
from proxy.core.request import Request
from proxy.core.session import SessionState
from proxy.handoff import reply_to
from tests.fakes_identity import request_of, user

STOP = ev.HandedOff(at=1.0, handoff="h1", limit="steps", message="Why.", blocking=True)
REQUEST = request_of(user("hi"), model="m")


def waits() -> Refusal:
    refusal = refuse_awaiting(422, SessionState(seq=1, handoffs=(STOP,)), "s1")
    assert refusal is not None
    return refusal


def test_a_text_ends_the_run_of_an_agent_that_may_answer_in_text() -> None:
    reply = reply_to(REQUEST, waits(), "Call Bob.", "req_1", (("x-a", "b"),), 7)

    choice = json.loads(reply.body)["choices"][0]
    assert reply.status == 200
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Call Bob.", "stop")
    assert ("x-request-id", "req_1") in reply.headers
    assert ("x-a", "b") in reply.headers


def test_a_stream_ends_with_the_dialects_own_end() -> None:
    reply = reply_to(replace(REQUEST, stream=True), waits(), "Call Bob.", "req_1", (), 7)

    assert reply.body.endswith(b"data: [DONE]\n\n")
    assert ("content-type", "text/event-stream; charset=utf-8") in reply.headers


@pytest.mark.parametrize(
    "request_",
    [
        replace(REQUEST, forces_tool=True),
        replace(REQUEST, forces_format=True),
        replace(REQUEST, stream=True, forces_tool=True),
        replace(REQUEST, dialect="embeddings"),
    ],
)
def test_where_a_text_would_not_end_the_loop_it_is_an_error(request_: Request) -> None:
    """smolagents asked eight times, instructor four, and `.parse()` broke on the text."""
    reply = reply_to(request_, waits(), "Call Bob.", "req_1", (), 7)

    assert reply.status == 422
    assert json.loads(reply.body)["error"]["code"] == "awaiting_human"
    assert ("x-should-retry", "false") in reply.headers


def test_without_a_text_it_is_an_error() -> None:
    assert reply_to(REQUEST, waits(), None, "req_1", (), 7).status == 422


def test_other_refusals_are_never_dressed_up_as_answers() -> None:
    """A limit that is only rejected must not look like work done."""
    refusal = replace_code(waits(), "step_limit_exceeded")

    assert reply_to(REQUEST, refusal, "Call Bob.", "req_1", (), 7).status == 422


def replace_code(refusal: Refusal, code: str) -> Refusal:
    return Refusal(refusal.status, code, refusal.type, refusal.message, refusal.facts)
