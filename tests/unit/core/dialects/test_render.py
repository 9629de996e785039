"""What a client is told when it is not served."""

import json

from proxy.core.decision import LimitFacts, Refusal
from proxy.core.dialects.render import error_frame, error_object, openai_error

REFUSAL = Refusal(
    status=422,
    code="budget_exceeded",
    type="session_limit",
    message="Session s1 has spent $1.98 of $2.00.",
    facts=LimitFacts("s1", "cost_usd", "session", 2.0, 1.98, 0.11, True, "s1@7"),
)


def test_an_error_carries_all_that_the_contract_names() -> None:
    """Agents act on the code, humans on the message, tools on the facts."""
    assert json.loads(openai_error(REFUSAL)) == {
        "error": {
            "message": "Session s1 has spent $1.98 of $2.00.",
            "type": "session_limit",
            "code": "budget_exceeded",
            "param": None,
            "holdfast": {
                "session": "s1",
                "limit": "cost_usd",
                "scope": "session",
                "max": 2.0,
                "used": 1.98,
                "requested": 0.11,
                "resumable": True,
                "checkpoint": "s1@7",
            },
        }
    }


def test_an_error_without_a_session_has_no_facts() -> None:
    """A malformed request belongs to no session."""
    refusal = Refusal(400, "invalid_request", "invalid_request_error", "n: expected …", param="n")

    assert error_object(refusal) == {
        "message": "n: expected …",
        "type": "invalid_request_error",
        "code": "invalid_request",
        "param": "n",
    }


def test_the_frame_is_one_event_that_every_sdk_raises_on() -> None:
    """`event: error` with the error inside an object: the only form that all four SDKs raise on."""
    frame = error_frame(REFUSAL, "req_1").decode()

    assert frame.startswith("event: error\ndata: ")
    assert frame.endswith("}\n\n")
    assert frame.count("\n\n") == 1
    data = json.loads(frame.splitlines()[1].removeprefix("data: "))
    assert data == {"type": "error", "error": error_object(REFUSAL), "request_id": "req_1"}
    assert b"request_id" not in error_frame(REFUSAL)
