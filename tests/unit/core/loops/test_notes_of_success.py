"""Jobs in bulk: many different calls get one answer rightly, and nobody may be stopped for it."""

import json

import pytest

from proxy.core.loops.finding import Finding
from tests.unit.core.loops.kit import begun, call

TODOS = (
    "Todos have been modified successfully. Ensure that you continue to use the todo list to track "
    "your progress. Please proceed with the current tasks if applicable"
)
SILENT = (
    "[The command completed with exit code 0.]\n[Current working directory: /w]\n[Python "
    "interpreter: /usr/bin/python]\n[Command finished with exit code 0]"
)
CREATED = (
    '{"id": "0d1c3c9e-6a4b-4a3e-9d2f-3f2a1b0c9d8e", "url": "https://example.org", "state": "open", '
    '"labels": ["bug"], "assignee": null, "created": "2026-11-30T10:00:00Z"}'
)
ACKNOWLEDGED = (
    *(TODOS, SILENT, CREATED),
    "Tool ran without output or errors",
    "Your command ran successfully and did not produce any output.",
    '{"output":"Success. Updated the following files:\\nM a.py\\n","metadata":{"exit_code":0}}',
    "1 row affected",
    "available",
    *("Processed.", "archived", "Uploaded", "Refund issued", "Thought recorded.", "clicked"),
    *("Your thought has been logged.", "Marked as read", "Task #5 assigned to bob."),
    *("All tests passed", "The label has been attached", "Lint passed"),
    *("spam", "label=spam", '{"sentiment":"positive"}', '{"code": 0, "msg": ""}', "valid"),
    "Email sent successfully; it will be delivered within five minutes. Thank you for waiting.",
)
FULL = (
    '{"available": false, "reason": "Nothing is free on that day, please choose another one, or '
    'ask the front desk, which is open from nine in the morning until five."}'
)
LIMITED = (
    "The list of guests was not updated: you sent far too many requests, and reached the limit of "
    "today. Come back tomorrow."
)
USELESS = (
    FULL,
    *("User not found", "Session expired", "Access was denied", "rejected", "Request blocked."),
    *("Login required", '{"message": "unavailable"}', "The server crashed", "locked"),
    "Sorry, the page that you are looking for cannot be shown now. Please try again later. Thanks.",
    LIMITED,
)


def asked_for(result: str, times: int = 20) -> Finding | None:
    """One tool, other arguments each time, this result."""
    agent = begun()
    found = [agent.turn((call("do", json.dumps({"n": n})), result)) for n in range(times)]
    return found[-1]


@pytest.mark.parametrize("result", ACKNOWLEDGED)
def test_a_note_that_all_went_well_is_no_stall(result: str) -> None:
    """Ten files are written, fifty mails are sent."""
    assert asked_for(result) is None


@pytest.mark.parametrize("result", USELESS)
def test_one_page_for_whatever_is_asked_is_a_stall(result: str) -> None:
    """A word of success beside one of failure is none, and so is a short one of failure alone."""
    finding = asked_for(result)

    assert finding is not None
    assert (finding.detector, finding.rung) == ("stall", "stop")


def test_where_nothing_comes_back_it_is_counted_as_that_alone() -> None:
    """A shell says nothing where all went well, so the count is a long one."""
    finding = asked_for("", 19)

    assert finding is not None
    assert (finding.detector, finding.rung) == ("empty", "warn")
    assert asked_for("", 20) is not None
