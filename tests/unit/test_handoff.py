"""What the client of a session that waits is told: an error, or a finished answer."""

import json

import pytest
from msgspec.structs import replace

from proxy.callers import NO_BUDGET
from proxy.core import events as ev
from proxy.core.closed import refuse_awaiting
from proxy.core.decision import Refusal
from proxy.core.engine import Rules
from proxy.core.identity import Identified
from proxy.core.policy import Caller, Limits, Policy, Route, Upstream
from proxy.core.request import Request
from proxy.core.routing import Candidate
from proxy.core.session import SessionKey, SessionState
from proxy.core.tools.facts import HeldTool
from proxy.handoff import Handoffs, awaiting, reply_to
from proxy.intake import Call
from proxy.wire import Head
from tests.fakes import FakeClock
from tests.fakes_identity import request_of, user
from tests.unit.test_ledger import ASK

STOP = ev.HandedOff(at=1.0, handoff="h1", limit="steps", message="Why.", blocking=True)
REQUEST = request_of(user("hi"), model="m")
CANDIDATE = Candidate(0, Upstream("u", "http://u"), "m", "chat", named=False)
CALL = Call(
    call_id="c1",
    key=SessionKey("t", "s1"),
    identified=Identified("s1", "path"),
    request=REQUEST,
    raw=b"",
    body=b"",
    head=Head("POST", "/v1/chat/completions", ()),
    policy=Policy({}, ()),
    rules=Rules(Limits()),
    own=NO_BUDGET,
    price=None,
    ask=ASK,
    caller=Caller("t"),
    received=0.0,
    rest="/v1/chat/completions",
    route=Route(),
    candidates=(CANDIDATE,),
    candidate=CANDIDATE,
    credential=None,
)


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


@pytest.mark.parametrize(
    ("call_id", "named"),
    [
        ("call_7", "call_7"),
        ("toolu_01.a:b-c", "toolu_01.a:b-c"),
        ("x; rm -rf ~", "ho_1"),
        ("--json", "ho_1"),
        ("$(id)", "ho_1"),
        ("call\n", "ho_1"),
        ("a" * 129, "ho_1"),
        ("", "ho_1"),
    ],
)
def test_what_a_human_copies_into_a_shell_is_no_providers_words(call_id: str, named: str) -> None:
    """The line names the call by an id that cannot be anything else."""
    handoffs = Handoffs("me", FakeClock(), lambda: "ho_1")

    held = handoffs.hold(CALL, HeldTool(call_id, "send", b"d"), "approval_required", "Why.")

    assert held.message == f"Why. To go on: holdfast sessions approve s1 {named}, or deny."
    assert (held.handoff, held.owner, held.blocking, held.notify) == ("ho_1", "me", True, False)
    assert awaiting(CALL, SessionState(seq=1, handoffs=(held,))).code == "awaiting_human"


def replace_code(refusal: Refusal, code: str) -> Refusal:
    return Refusal(refusal.status, code, refusal.type, refusal.message, refusal.facts)
